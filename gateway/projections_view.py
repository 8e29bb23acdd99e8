"""How read models and their rebuilds look at a terminal, and to machines.

Shapes  For machines a line of JSON an item. A table fits 80 columns; what to do next stands
        beneath the row it is about.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from application.ports import Recorded
from domain.events import Event
from gateway.tables import Listing
from projections.comparing import Comparison
from projections.parked import Parked, Retried
from projections.rebuild import OnProgress, Progress
from projections.renewal import Renewed
from projections.standing import Standing, Trouble
from projections.switching import Switched

COLUMNS = ("projection", "v", "state", "position", "lag", "rate", "parked")
WORDS = frozenset({"projection", "state"})
# What it is, and what to do about it.
TROUBLES: dict[Trouble, str] = {
    "no_leader": "nobody keeps it up to date: start `gateway project`",
    "behind": "it does not keep up: look at the log of `gateway project`, and at the load",
    "parked": "streams are left aside: `gateway projections parked {name}` says which and why",
    "interrupted": "its rebuild was ended: `gateway projections rebuild {name}` goes on from here",
    "not_shown": "rebuilt, not shown: `gateway projections rebuild {name}` compares and shows it, "
    "`gateway projections drop {name}` throws it away",
    "failed": "the database refused something: `gateway projections rebuild {name}` tries again "
    "from here, with --restart from the beginning",
}


# ---------------------------------------------------------------- list


def standings_table(standings: Sequence[Standing]) -> Listing:
    table = Listing("Projections", *COLUMNS, left=WORDS)
    for each in standings:
        table.add_row(
            each.projection,
            str(each.version),
            each.state,
            f"{each.position:,}",
            f"{each.lag_events:,} ({duration(each.lag_seconds)})",
            "-" if each.rate is None else f"{each.rate:,.0f}/s",
            f"{each.parked:,}",
            notes=_notes(each),
        )
    return table


def _notes(each: Standing) -> list[str]:
    notes = []
    if each.state != "live" or each.schema != f"rm_{each.projection}_v{each.version}":
        notes.append(f"in {each.schema}{_since(each)}")
    if each.leader is not None:
        doing = "kept up to date" if each.state in {"live", "kept"} else "rebuilt"
        left = each.seconds_left if each.lag_events and doing == "rebuilt" else None
        more = "" if left is None else f", {duration(left)} left"
        notes.append(f"{doing} by {each.leader}{more}")
    if each.trouble is not None:
        notes.append(TROUBLES[each.trouble].format(name=each.projection))
    if each.error is not None:
        notes.append(each.error)
    return notes


def _since(each: Standing) -> str:
    if each.since is None:
        return ""
    by = "" if each.by is None or each.state in {"live", "kept"} else f", asked for by {each.by}"
    return f", since {moment(each.since)}{by}"


def standing_json(each: Standing) -> dict[str, Any]:
    return {
        "projection": each.projection,
        "version": each.version,
        "schema": each.schema,
        "state": each.state,
        "trouble": each.trouble,
        "position": each.position,
        "head": each.head,
        "lag_events": each.lag_events,
        "lag_seconds": round(each.lag_seconds, 3),
        "rate": None if each.rate is None else round(each.rate, 1),
        "parked": each.parked,
        "leader": each.leader,
        "since": None if each.since is None else each.since.isoformat(),
        "by": each.by,
        "error": each.error,
        "this_code": each.ours,
    }


# ---------------------------------------------------------------- rebuild and compare


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[OnProgress]:
    """A bar on stderr with rate and time left, for as long as the block lasts."""
    if not shown:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.fields[doing]}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, doing="beginning", said="")
        yield lambda progress: _step(bar, task, progress)


def _step(bar: Bar, task: TaskID, progress: Progress) -> None:
    doing = progress.phase if progress.projection is None else f"{progress.phase} "
    left = progress.seconds_left
    said = f"{progress.position:,} of {progress.head:,}, {progress.pace:,.0f}/s"
    if left is not None:
        said += f", {duration(left)} left"
    bar.update(
        task,
        completed=progress.position,
        total=max(progress.head, 1),
        doing=doing + (progress.projection or ""),
        said=said,
    )


def renewed_lines(done: Renewed, *, accepted: bool) -> list[str]:
    name = done.projection.name
    begun = "gone on with" if done.resumed else "begun"
    said = [f"{name}: {done.schema} ({begun}) contains position {done.position:,}"]
    if done.parked:
        said.append(f"  {done.parked:,} streams are left aside in it: `… parked {name}`")
    if done.comparison is None:
        said.append("  not compared: what was shown is of another version")
    else:
        said += comparison_lines(done.comparison)
    if done.switched is not None:
        how = ", with the differences that were accepted" if accepted and differs(done) else ""
        said += [f"  it is shown now{how}; {switched_words(done.switched)}"]
        said.append(
            f"  {done.switched.replaced} is kept behind it: `gateway projections switch-back "
            f"{name}` shows it again, `… drop {name}` throws it away"
        )
    else:
        said.append(
            "  it is NOT shown: look at the differences; if they are what the rebuild is for, "
            "ask again with --accept-differences --reason WHY"
        )
    return said


def differs(done: Renewed) -> bool:
    return done.comparison is not None and bool(done.comparison.differences)


def switched_words(done: Switched) -> str:
    tries = "at the first try" if done.tries == 1 else f"at try {done.tries}"
    return (
        f"the runner waited {done.held_ms:.0f} ms, readers at most {done.views_ms:.0f} ms, {tries}"
    )


def comparison_lines(comparison: Comparison) -> list[str]:
    said = []
    wrong = {each.table: each for each in comparison.differences}
    for table, (live, other) in comparison.rows.items():
        if table not in wrong:
            said.append(f"  {table}: {live:,} rows, the same at position {comparison.position:,}")
            continue
        said.append(f"  {table}: DIFFERS, {live:,} rows shown, {other:,} in {comparison.other}")
        said += [f"    {key}" for key in wrong[table].keys]
    return said


def comparison_json(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "shown": comparison.live,
        "other": comparison.other,
        "position": comparison.position,
        "rows": {table: list(rows) for table, rows in comparison.rows.items()},
        "differences": [
            {"table": each.table, "rows": list(each.rows), "keys": list(each.keys)}
            for each in comparison.differences
        ],
    }


def renewed_json(done: Renewed) -> dict[str, Any]:
    return {
        "projection": done.projection.name,
        "version": done.projection.version,
        "schema": done.schema,
        "position": done.position,
        "resumed": done.resumed,
        "parked": done.parked,
        "compared": comparison_json(done.comparison),
        "shown": done.switched is not None,
        "switched": None if done.switched is None else switched_json(done.switched),
    }


def switched_json(done: Switched) -> dict[str, Any]:
    return {
        "schema": done.schema,
        "replaced": done.replaced,
        "position": done.position,
        "held_ms": round(done.held_ms, 1),
        "views_ms": round(done.views_ms, 1),
        "tries": done.tries,
    }


# ---------------------------------------------------------------- parked streams


def parked_table(parked: Sequence[Parked]) -> Listing:
    columns = ("projection", "stream", "position", "since (UTC)", "tries")
    table = Listing("Parked streams", *columns, left=frozenset(columns) - {"position", "tries"})
    for each in parked:
        table.add_row(
            each.projection,
            each.stream.type,
            f"{each.position:,}",
            f"{each.parked_at:%Y-%m-%d %H:%M:%S}",
            str(each.attempts),
            notes=[
                f"{each.stream.type}/{each.stream.id}",
                f"in {each.schema}{' (shown)' if each.live else ''}, by {each.parked_by}",
                each.error,
            ],
        )
    return table


def parked_json(each: Parked) -> dict[str, Any]:
    return {
        "projection": each.projection,
        "schema": each.schema,
        "shown": each.live,
        "stream": f"{each.stream.type}/{each.stream.id}",
        "position": each.position,
        "error": each.error,
        "parked_at": each.parked_at.isoformat(),
        "parked_by": each.parked_by,
        "tries": each.attempts,
    }


def retried_line(done: Retried) -> str:
    what = f"{done.projection} {done.stream.type}/{done.stream.id}"
    if done.settled:
        return f"{what}: folded again, in {', '.join(done.schemas)}"
    return f"{what}: FAILED again in {', '.join(done.left)}: {done.error}"


def retried_json(done: Retried) -> dict[str, Any]:
    return {
        "projection": done.projection,
        "stream": f"{done.stream.type}/{done.stream.id}",
        "settled": done.settled,
        "schemas": list(done.schemas),
        "left": list(done.left),
        "error": done.error,
    }


# ---------------------------------------------------------------- history

_TOLD = {
    "tables": "tables",
    "replaced": "instead of",
    "position": "from position",
    "differing": "differing",
    "stream_id": "stream",
    "settled": "settled",
}


def history_table(name: str, facts: Sequence[Recorded[Event]]) -> Listing:
    columns = ("at (UTC)", "what", "by")
    table = Listing(f"What was done to {name} by hand", *columns, left=frozenset(columns))
    for fact in facts:
        said = fact.event.model_dump(mode="json")
        about = [f"{word} {_shown(said[key])}" for key, word in _TOLD.items() if said.get(key)]
        notes = [", ".join(about), said.get("reason") or ""]
        table.add_row(
            f"{fact.event.at:%Y-%m-%d %H:%M:%S}",
            fact.event.name,
            fact.context.actor,
            notes=[note for note in notes if note],
        )
    return table


def history_json(fact: Recorded[Event]) -> dict[str, Any]:
    said = fact.event.model_dump(mode="json")
    return {"what": fact.event.name, "by": fact.context.actor, **said}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).lower()


# ---------------------------------------------------------------- words


def duration(seconds: float) -> str:
    """Two figures at most: 0.3 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
