"""Plants a defect and lets the simulator look for it: a simulator that finds nothing must bite.

Shapes  Each file of tests/simulation/mutants is a patch with a headline that says what is broken.
        The gateway's packages are copied into a folder of their own, the patch is applied there,
        and `gateway simulate` runs from the copy until the first violation.
        `python -m tests.simulation.mutating [NAME ...]` runs those named, or all; status 1 when
        one survives.
Units   histories; seconds of wall-clock.
Errors  PatchStale when the code a patch speaks of has moved: write the defect anew.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = Path(__file__).parent / "mutants"
PACKAGES = (
    "domain",
    "application",
    "adapters",
    "projections",
    "chain_ingest",
    "workers",
    "api",
    "web",
    "simulation",
    "gateway",
)
SEED = 1
HISTORIES_MAX = 2_000
SECONDS_MAX = 1_800  # for one mutant


class PatchStale(Exception):  # noqa: N818 - named for what is wrong with it
    """The patch does not fit the code any more."""


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    headline: str
    patch: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    caught_by: str | None  # the first violated invariant
    histories: int
    seconds: float


def mutants() -> list[Mutant]:
    found = sorted(MUTANTS.glob("*.patch"))
    return [Mutant(p.stem, p.read_text(encoding="utf-8").partition("\n")[0], p) for p in found]


def copy_with(mutant: Mutant, folder: Path) -> None:
    """The gateway's packages in `folder`, with the defect in them."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    applied = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(mutant.patch)],
        cwd=folder,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if applied.returncode != 0:
        raise PatchStale(f"{mutant.name}: {applied.stderr.strip()}")


def hunt(mutant: Mutant, histories: int = HISTORIES_MAX) -> Outcome:
    """Run the simulator on the broken gateway until it notices, or has run all histories."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_with(mutant, folder)
        began = time.monotonic()
        command = [sys.executable, "-m", "gateway", "simulate", "--json", "--stop"]
        command += ["--seed", str(SEED), "--histories", str(histories)]
        ran = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        seconds = time.monotonic() - began
    if ran.returncode not in {0, 1} or not ran.stdout.strip():
        raise RuntimeError(f"{mutant.name}: the simulator broke:\n{ran.stderr[-2_000:]}")
    told = json.loads(ran.stdout.strip().splitlines()[-1])
    violations = told["violations"]
    caught_by = violations[0]["invariant"] if violations else None
    return Outcome(caught_by, told["histories"], seconds)


def main(names: Sequence[str]) -> int:
    chosen = [mutant for mutant in mutants() if not names or mutant.name in names]
    unknown = set(names) - {mutant.name for mutant in chosen}
    if unknown or not chosen:
        Console(stderr=True).print(f"no such mutant: {', '.join(sorted(unknown))}")
        return 2
    console = Console()
    survivors = 0
    for mutant in chosen:
        with console.status(f"looking for: {mutant.headline}"):
            outcome = hunt(mutant)
        survivors += outcome.caught_by is None
        said = f"caught as {outcome.caught_by}" if outcome.caught_by else "[red]NOT CAUGHT[/red]"
        console.print(
            f"{mutant.headline}\n"
            f"  {said} in {outcome.histories} histories, {outcome.seconds:.0f} s ({mutant.name})"
        )
    console.print(f"{len(chosen) - survivors} of {len(chosen)} planted defects were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
