"""What has been read of each chain: `gateway coverage`.

Shapes  A network is whole when its blocks have been scanned without a gap, on one chain of hashes.
        With --close a period is vouched for, or refused with the reason.
Errors  GatewayError for a network that is not served, or a range nobody can read.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

import orjson
from rich.text import Text

from adapters.ingest_store import PostgresIngestStore
from adapters.reconciling import PostgresReconcileBook
from application.ingest import CoverageGap, CoveredRange
from application.reconciling import Examined, Reconciliation
from chain_ingest.coverage import Survey, close, picture, surveyed
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings
from gateway.tables import Listing, console, lines

SPANS_SHOWN_MAX = 50  # the newest; --json has them all
GAPS_SHOWN_MAX = 20
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")
_COLOURS = {"#": "green", "~": "yellow", ".": "bold red"}


async def coverage(
    settings: Settings, network: str | None, period: str | None, *, as_json: bool
) -> int:
    """Print it; the exit status."""
    names = named(settings, network)
    if period is not None and network is None:
        raise GatewayError("--close needs --network: a period is one of a chain")
    wanted = None if period is None else range_of(period)
    async with bootstrap.core(settings, "coverage") as core:
        store, book = PostgresIngestStore(core.postgres), PostgresReconcileBook(core.postgres)
        found = [await surveyed(store, book, name) for name in names]
    if wanted is not None:
        return _closed(found[0], *wanted, as_json=as_json)
    for survey in found:
        if as_json:
            sys.stdout.write(orjson.dumps(as_line(survey)).decode() + "\n")
        else:
            show(survey)
    return 0 if all(survey.coverage.whole for survey in found) else 1


def named(settings: Settings, network: str | None) -> tuple[str, ...]:
    """The one asked for, if we serve it, or all we serve."""
    if network is None:
        return settings.networks
    if network not in settings.networks:
        served = ", ".join(settings.networks)
        raise GatewayError(f"{network!r} is not among NETWORKS, which has: {served}")
    return (network,)


def range_of(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise GatewayError(f"{text!r} is no range of blocks: write FIRST..LAST, such as 100..200")
    return int(found[1]), int(found[2])


def _closed(survey: Survey, first: int, last: int, *, as_json: bool) -> int:
    network = survey.coverage.network
    try:
        close(survey.coverage.ranges, first, last)
        refused = None
    except CoverageGap as gap:
        refused = str(gap)
    if as_json:
        said = {"network": network, "first": first, "last": last, "refused": refused}
        sys.stdout.write(orjson.dumps(said).decode() + "\n")
    elif refused is None:
        sys.stdout.write(
            f"{network}: blocks {first} to {last} were scanned, each once, on one chain\n"
        )
    else:
        sys.stdout.write(f"{network}: blocks {first} to {last} cannot be closed: {refused}\n")
    return 0 if refused is None else 1


# ---------------------------------------------------------------- for people


def show(survey: Survey) -> None:
    out, coverage_ = console(), survey.coverage
    if not coverage_.ranges:
        lines(out, Text(coverage_.network, style="bold"), "  nothing has been read yet", "")
        return
    ranges = coverage_.ranges
    first, last = ranges[0].first, ranges[-1].last
    share = _share(survey.attested, survey.blocks)
    title = Text.assemble((coverage_.network, "bold"), f"  blocks {first} to {last}")
    bar = Text("  ").append_text(_coloured(picture(ranges)))
    legend = Text("  # attested  ~ on one provider's word  . a gap", style="dim")
    sums = f"  {survey.blocks} blocks scanned, {share} attested, {survey.proved} proved"
    lines(out, title, bar, legend, f"{sums} (each with a transfer to us)")
    lines(out, f"  from {ranges[0].parent_hash}", f"  to   {ranges[-1].last_hash}")
    for wrong in _wrong(survey):
        lines(out, Text(f"  {wrong}", style="bold red"))
    lines(out, f"  {reconciled_text(survey.reconciled)}", "")
    out.print(_table(survey))


def _wrong(survey: Survey) -> Sequence[str]:
    missing = [f"GAP: blocks {first} to {last}" for first, last in survey.coverage.gaps]
    said = [*missing, *(f"BROKEN: {each}" for each in survey.coverage.breaks)]
    more = len(said) - GAPS_SHOWN_MAX
    return [*said[:GAPS_SHOWN_MAX], f"and {more} more"] if more > 0 else said


def _table(survey: Survey) -> Listing:
    words = "on the word of"
    columns = ("first", "last", "blocks", "attested", "proved", words)
    table = Listing("Spans, the newest first", *columns, left=frozenset({words}))
    pairs = list(zip(survey.spans, survey.examined, strict=True))
    for span, examined in pairs[::-1][:SPANS_SHOWN_MAX]:
        blocks = span.last - span.first + 1
        table.add_row(
            str(span.first),
            str(span.last),
            str(blocks),
            _share(examined.attested, blocks),
            str(examined.proved),
            "a quorum" if span.attested else "one provider",
            notes=[", ".join(span.providers)],
        )
    return table


def _coloured(cells: str) -> Text:
    return Text.assemble(*((cell, _COLOURS[cell]) for cell in cells))


def _share(part: int, whole: int) -> str:
    """Rounded down: 100 % only when it is all of it."""
    tenths = part * 1_000 // whole if whole else 0
    return f"{tenths // 10}.{tenths % 10} %"


def reconciled_text(run: Reconciliation | None) -> str:
    if run is None:
        return "never reconciled: no balance has been read yet"
    kind = "final" if run.final else "deep"
    said = (
        f"reconciled {run.at:%Y-%m-%d %H:%M:%S} UTC at {kind} block {run.block_number}: "
        f"{run.checked} balances, {run.differing} above what was seen"
    )
    more = [f"{run.found} missed and fed in"] if run.found else []
    more += [f"{run.undecided} that no two providers agree on"] if run.undecided else []
    more += [f"{run.unexplained} NOT EXPLAINED"] if run.unexplained else []
    return ", ".join((said, *more))


# ---------------------------------------------------------------- for machines


def as_line(survey: Survey) -> dict[str, Any]:
    coverage_ = survey.coverage
    return {
        "network": coverage_.network,
        "whole": coverage_.whole,
        "blocks": survey.blocks,
        "attested": survey.attested,
        "proved": survey.proved,
        "ranges": len(coverage_.ranges),
        "gaps": [[first, last] for first, last in coverage_.gaps],
        "breaks": list(coverage_.breaks),
        "spans": [_span(*each) for each in zip(survey.spans, survey.examined, strict=True)],
        "reconciled": None if survey.reconciled is None else run_line(survey.reconciled),
    }


def _span(span: CoveredRange, examined: Examined) -> dict[str, Any]:
    return {
        "first": span.first,
        "parent_hash": span.parent_hash,
        "last": span.last,
        "last_hash": span.last_hash,
        "attested": examined.attested,
        "proved": examined.proved,
        "providers": list(span.providers),
        "updated_at": span.updated_at.isoformat(),
    }


def run_line(run: Reconciliation) -> dict[str, Any]:
    return {
        "at": run.at.isoformat(),
        "block_number": run.block_number,
        "block_hash": run.block_hash,
        "final": run.final,
        "checked": run.checked,
        "undecided": run.undecided,
        "differing": run.differing,
        "found": run.found,
        "unexplained": run.unexplained,
    }
