"""`gateway simulate`: histories with every fault, judged by an oracle; what people see of it.

Shapes  A progress bar with the rate while it runs, then the faults as a table and each violation
        with the command that repeats it. With --json one line at the end: histories, steps,
        faults (a count per kind), violations, trace_hash, seconds, interrupted.
        Ctrl-C ends it early, with what was found so far and the command that goes on from there.
Errors  exit status 1 when any invariant did not hold, when it was ended early, or when a history
        file cannot be read.
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gateway.failures import GatewayError
from simulation import campaign as c
from simulation.evidence import Violation
from simulation.shrink import shrink
from simulation.steps import History, HistoryMalformed, decode, encode
from simulation.story import story

VIOLATIONS_SHOWN_MAX = 5  # of one history
SHRUNK_MAX = 3  # histories
FAULT_COLUMNS = 2


def simulate(
    *,
    seed: int,
    histories: int,
    steps: int = c.STEPS_MAX_DEFAULT,
    processes: int = c.PROCESSES_DEFAULT,
    as_json: bool = False,
    stop: bool = False,
    shrink_into: Path | None = None,
) -> int:
    """Run the campaign and say how it went; the exit status. `stop` at the first that fails."""
    failing_max = 1 if stop else c.FAILING_MAX
    wanted = c.Campaign(seed, histories, steps, processes, failing_max)
    totals = c.run(wanted) if as_json else _with_progress(wanted)
    if as_json:
        print(json.dumps(_line(totals, steps)))  # noqa: T201 - what was asked for
    else:
        _show(totals, wanted)
    if shrink_into is not None:
        for failing in totals.failing[:SHRUNK_MAX]:
            _shrink(story(failing.seed, steps), failing.violations, shrink_into)
    return 1 if totals.failing or totals.interrupted else 0


def repeat(path: Path) -> int:
    """Run one history from its file, such as a shrunk one; the exit status."""
    try:
        history = decode(path.read_text(encoding="utf-8"))
    except (OSError, HistoryMalformed) as error:
        raise GatewayError(f"{path} is no history that can be run: {error}") from error
    examined = c.examine(history)
    console = Console()
    console.print(f"seed {history.seed}, {len(history.steps)} steps, trace {examined.trace_hash}")
    for violation in examined.violations:
        console.print(f"  {violation.invariant}: {violation.detail}", markup=False, soft_wrap=True)
    return 1 if examined.violations else 0


def _line(totals: c.Totals, steps_max: int) -> dict[str, object]:
    return {
        "histories": totals.histories,
        "steps": totals.steps,
        "faults": dict(sorted(totals.faults.items())),
        "violations": [
            {
                "seed": failing.seed,
                "invariant": violation.invariant,
                "detail": violation.detail,
                "repeat": command_for(failing.seed, steps_max),
            }
            for failing in totals.failing
            for violation in failing.violations
        ],
        "trace_hash": totals.trace_hash,
        "seconds": round(totals.seconds, 1),
        "interrupted": totals.interrupted,
    }


def _with_progress(wanted: c.Campaign) -> c.Totals:
    progress = Progress(
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with progress:
        task = progress.add_task("", total=wanted.histories, rate="")

        def step(totals: c.Totals) -> None:
            rate = totals.histories / totals.seconds if totals.seconds else 0.0
            said = f"{rate:.1f} a second, {sum(totals.faults.values()):,} faults"
            progress.update(task, completed=totals.histories, rate=said)

        return c.run(wanted, step)


def _show(totals: c.Totals, wanted: c.Campaign) -> None:
    console = Console()
    console.print(_faults(totals))
    rate = totals.histories / totals.seconds if totals.seconds else 0.0
    console.print(
        f"{totals.histories:,} histories, {totals.steps:,} steps in {totals.seconds:,.1f} seconds "
        f"({rate:.1f} a second)"
    )
    console.print(f"trace {totals.trace_hash}", soft_wrap=True)
    if totals.interrupted:
        left = wanted.histories - totals.histories
        go_on = f"gateway simulate --seed {wanted.seed + totals.histories} --histories {left}"
        console.print(f"ended early; the rest: {go_on}", soft_wrap=True)
    if not totals.failing:
        console.print("[green]every invariant held[/green]")
        return
    console.print(f"[red]{totals.violations} violations[/red]")
    for failing in totals.failing:
        console.print(f"\n{command_for(failing.seed, wanted.steps_max)}", soft_wrap=True)
        for violation in failing.violations[:VIOLATIONS_SHOWN_MAX]:
            console.print(
                f"  {violation.invariant}: {violation.detail}", markup=False, soft_wrap=True
            )
        more = len(failing.violations) - VIOLATIONS_SHOWN_MAX
        if more > 0:
            console.print(f"  and {more} more")


def command_for(seed: int, steps_max: int) -> str:
    """What repeats one history."""
    steps = "" if steps_max == c.STEPS_MAX_DEFAULT else f" --steps {steps_max}"
    return f"gateway simulate --seed {seed} --histories 1{steps}"


def _faults(totals: c.Totals) -> Table:
    table = Table(title="faults injected", show_header=False)
    for _ in range(FAULT_COLUMNS):
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
    cells = [(kind, f"{count:,}") for kind, count in sorted(totals.faults.items())]
    height = -(-len(cells) // FAULT_COLUMNS)
    for place in range(height):
        row = [cell for pair in cells[place::height] for cell in pair]
        table.add_row(*row)
    return table


def _shrink(history: History, violations: tuple[Violation, ...], folder: Path) -> None:
    shrunk = shrink(history, violations, lambda one: c.examine(one).violations)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{history.seed}-{shrunk.violations[0].invariant}.json"
    path.write_text(encode(shrunk.history), encoding="utf-8")
    said = f"{len(shrunk.history.steps)} steps after {shrunk.runs} runs: {path}"
    print(said, file=sys.stderr)  # noqa: T201 - to a person
