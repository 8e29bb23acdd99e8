"""The last line of a benchmark, and the table before it.

Shapes  figure, unit   what was measured
        baseline       the same unit, measured in the same run on the same machine
        ratio          figure / baseline
        goal, met      what design.md asks for, in words, and whether this run reached it
        conditions     whatever a reader needs to compare two runs
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FSYNC_SAMPLES = 50
PAGE_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Report:
    figure: float
    unit: str
    baseline: float | None  # None where there was none to measure; then no goal is reached
    ratio: float | None
    goal: str
    met: bool
    conditions: Mapping[str, Any]

    def __post_init__(self) -> None:
        """A goal is reached by what was measured: by numbers, beside a baseline."""
        measured = (self.figure, self.baseline, self.ratio)
        assert not self.met or all(x is not None and math.isfinite(x) for x in measured), self


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser


def finish(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(report)), flush=True)
        return
    verdict = "[green]reached[/green]" if report.met else "[red]missed[/red]"
    console = Console()
    beside = "no baseline" if report.ratio is None else f"{report.ratio:.1f} x the baseline"
    console.print(f"{report.figure:,.0f} {report.unit}, {beside}")
    console.print(f"Goal {verdict}: {report.goal}")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def growth(memory: Sequence[float]) -> float:
    """From a tenth of the way on, when everything has been used once, to the end."""
    return max(memory[-len(memory) // 10 :]) / max(memory[: max(len(memory) // 10, 1)]) - 1


def machine(folder: Path) -> dict[str, Any]:
    """What decides about speed here; `folder` lies on the disk that is written to."""
    return {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "fdatasync_ms": _fdatasync_ms(folder / "fdatasync.probe"),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _fdatasync_ms(path: Path) -> float:
    """The median time until one page is really on the disk."""
    samples = []
    with path.open("wb", buffering=0) as file:
        for _ in range(FSYNC_SAMPLES):
            file.seek(0)
            file.write(b"x" * PAGE_BYTES)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append(time.perf_counter() - begun)
    path.unlink()
    return round(statistics.median(samples) * 1_000, 3)
