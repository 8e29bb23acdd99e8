"""Reading a transaction or a range of blocks again: `gateway recheck`.

Shapes  A transaction is 0x and 64 hex digits, a range FIRST..LAST. Nothing is written without
        --apply; with it, what was missed is fed in as the ingester does it, also while it runs.
Errors  GatewayError for what cannot be read, and when nothing can be said now.
"""

import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from adapters.ingest_store import PostgresIngestStore
from application.policies import Policies
from application.ports import Unavailable
from chain_ingest.admission import Misconfigured
from chain_ingest.recheck import RECHECK_BLOCKS_MAX, NothingRead, Recheck, Rechecked, TooManyBlocks
from chain_ingest.reconcile import Reconciler
from chain_ingest.service import second_look
from chain_ingest.watch import Watch
from domain.networks import Network
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.operate_coverage import named, range_of
from gateway.settings import Settings
from gateway.tables import console, lines
from projections.watchlist_reads import WatchListReads

PROGRESS_BLOCKS_MIN = 100  # fewer are read before anybody looks at a bar
_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")


async def recheck(
    settings: Settings, what: str, network: str, *, thorough: bool, apply: bool, as_json: bool
) -> int:
    """Print what was found; the exit status: 0 unless something is wrong, still."""
    (name,) = named(settings, network)
    transaction = _TRANSACTION.fullmatch(what)
    blocks = None if transaction else range_of(what)
    if blocks is not None and blocks[1] - blocks[0] >= RECHECK_BLOCKS_MAX:
        raise GatewayError(f"at most {RECHECK_BLOCKS_MAX} blocks at once")
    async with (
        bootstrap.core(settings, "recheck") as core,
        looking(core, core.networks.get(name)) as (again, _),
    ):
        if blocks is None:
            found = await again.transaction(what.lower(), apply=apply)
        else:
            found = await _range(again, *blocks, thorough=thorough, apply=apply, quiet=as_json)
    if as_json:
        sys.stdout.write(orjson.dumps(_line(found)).decode() + "\n")
    else:
        _show(found, blocks)
    return 1 if found.wrong else 0


@asynccontextmanager
async def looking(
    core: bootstrap.Core, network: Network
) -> AsyncIterator[tuple[Recheck, Reconciler]]:
    """Under the policy that the log has: which one that is, the ingester alone decides."""
    newest = (await Policies(core.handler).history(network)).newest
    known = network if newest is None else network.model_copy(update={"policy": newest})
    watch = Watch(
        core.store, bootstrap.progress(core), WatchListReads(core.postgres, core.networks)
    )
    async with AsyncExitStack() as stack:
        sources = bootstrap.providers(core, network)
        for client in sources:
            await client.open()
            stack.push_async_callback(client.close)
        try:
            yield second_look(
                known,
                sources,
                PostgresIngestStore(core.postgres),
                core.bus,
                bootstrap.reconciling(core),
                watch=watch,
                clock=core.clock,
            )
        except Misconfigured as mistake:
            raise GatewayError(str(mistake)) from mistake
        except (NothingRead, TooManyBlocks) as reason:
            raise GatewayError(str(reason)) from reason
        except Unavailable as outage:
            raise GatewayError(
                f"nothing can be said now: {outage.reason}; what was fed in already stays, "
                "and the same command goes on with the rest"
            ) from outage


async def _range(
    again: Recheck, first: int, last: int, *, thorough: bool, apply: bool, quiet: bool
) -> Rechecked:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = not quiet and sys.stderr.isatty() and last - first >= PROGRESS_BLOCKS_MIN
    bar = Progress(
        *columns, TimeRemainingColumn(), disable=not shown, console=Console(stderr=True)
    )
    with bar:
        task = bar.add_task("blocks", total=last - first + 1)
        return await again.blocks(
            first,
            last,
            thorough=thorough,
            apply=apply,
            progress=lambda count: bar.advance(task, count),
        )


def _show(found: Rechecked, blocks: tuple[int, int] | None) -> None:
    out = console()
    for finding in found.findings:
        style = "bold red" if finding.wrong else "green" if finding.verdict == "fed_in" else ""
        lines(out, Text(finding.words, style=style))
    if blocks is None:
        return
    told = len(found.findings) + found.untold
    if found.untold:
        lines(out, f"and {found.untold} more that are known")
    lines(
        out,
        f"{found.network}: {found.blocks} blocks read again, {found.proved} proved, "
        f"{told} findings, {found.fed_in} fed in",
    )
    if blocks[1] > found.read_up_to:
        lines(out, f"the ingester has read up to block {found.read_up_to}: what is above is left")


def _line(found: Rechecked) -> dict[str, object]:
    return {
        "network": found.network,
        "blocks": found.blocks,
        "proved": found.proved,
        "read_up_to": found.read_up_to,
        "fed_in": found.fed_in,
        "wrong": found.wrong,
        "untold": found.untold,
        "findings": [
            {
                "verdict": finding.verdict,
                "transfer_id": finding.transfer_id,
                "subject": finding.subject,
                "words": finding.words,
            }
            for finding in found.findings
        ],
    }
