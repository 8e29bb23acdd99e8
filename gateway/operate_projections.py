"""Read models as operators handle them: how each stands, rebuilt, compared, parked, retried.

Shapes  Status 0 only when all is well: nothing lags or waits, all asked for is done and equal.
        Whatever is done by hand is noted in the transaction that does it and told in the log
        afterwards, by this command or by the next one; during a deploy, whose older processes
        may not know such facts, by the `migrate --after` that ends it.
Errors  GatewayError, which says what to do next; ReasonMissing; an outage.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import psycopg

from adapters import deploys
from adapters.postgres import Postgres
from application.ports import StoreUnavailable, Stream
from application.upkeep import upkeep_stream
from domain.errors import ReasonMissing
from domain.event_base import EventUnknown
from gateway import bootstrap, projections_view
from gateway.failures import GatewayError
from gateway.rebuild_helper import helper_for
from gateway.settings import Settings
from gateway.stream_names import stream_named
from gateway.supervisor import stop_on_signals
from gateway.tables import console, lines
from gateway.unfinished import noted_only, unfinished
from projections import parked as parking
from projections import renewal, switching
from projections.catalogue import PROJECTIONS
from projections.checkpoints import NotMigrated, Overtaken
from projections.comparing import LiveStandsStill, NothingToCompare
from projections.projection import Projection
from projections.rebuild import Order, RebuildOfOtherCode
from projections.sharing import HelperFailed
from projections.standing import Standing, standings, with_rates
from projections.upkeep import BeingRebuilt, tell, working

T = TypeVar("T")

RATE_SECONDS = 0.5  # between the two looks that give a rate
REASON_CHARACTERS_MAX = 500
_SAYS_IT_ALL = (
    BeingRebuilt,
    HelperFailed,
    RebuildOfOtherCode,
    NothingToCompare,
    LiveStandsStill,
    switching.NothingToSwitch,
    switching.KeptBehind,
    switching.SwitchBlocked,
    switching.RebuildBehind,
    parking.NotParked,
    parking.ParkedAlready,
    parking.StreamUnknown,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a command that changes something works with."""

    core: bootstrap.Core
    owner: Postgres


# ---------------------------------------------------------------- looking


async def listed(settings: Settings, *, as_json: bool) -> int:
    async with bootstrap.core(settings, "projections") as core:
        with explained():
            before = await standings(core.postgres, PROJECTIONS)
            await asyncio.sleep(RATE_SECONDS)
            after = await standings(core.postgres, PROJECTIONS)
            deploy = await unfinished(core.postgres)
    found = with_rates(before, after, RATE_SECONDS)
    missing = _not_there(found)
    if missing:
        raise GatewayError(
            f"there are no tables for {', '.join(missing)} of this release: run `gateway migrate`"
        )
    if as_json:
        _print_json(
            projections_view.standing_json(each) | deploy.json(each.projection) for each in found
        )
    else:
        console().print(projections_view.standings_table(found))
        lines(console(), *deploy.sentences())
    return 1 if any(each.trouble for each in found) else 0


def _not_there(found: Sequence[Standing]) -> list[str]:
    there = {each.projection for each in found if each.ours}
    return [each.name for each in PROJECTIONS if each.name not in there]


async def parked(settings: Settings, name: str | None, *, as_json: bool) -> int:
    async with bootstrap.core(settings, "projections") as core:
        with explained():
            chosen = None if name is None else _projection(name).name
            found = await parking.parked_streams(core.postgres, chosen)
    if as_json:
        _print_json(map(projections_view.parked_json, found))
    else:
        nothing = "Nothing is parked."
        console().print(projections_view.parked_table(found) if found else nothing)
    return 1 if found else 0


async def history(settings: Settings, name: str, *, as_json: bool) -> None:
    """What was done to one projection by hand, with who and why."""
    projection = _projection(name)
    async with bootstrap.core(settings, "projections") as core:
        facts = await core.store.read_stream(upkeep_stream(projection.name))
    if as_json:
        _print_json(map(projections_view.history_json, facts))
    elif facts:
        console().print(projections_view.history_table(name, facts))
    else:
        console().print(f"Nothing was ever done to {name} by hand.")


# ---------------------------------------------------------------- rebuilding


async def rebuild(
    settings: Settings,
    names: Sequence[str],
    order: Order,
    *,
    accept_differences: bool,
    as_json: bool,
    processes: int | None = None,
) -> int:
    if accept_differences and not (order.reason or "").strip():
        raise ReasonMissing("say with --reason why what is shown now may be different")
    chosen = [_projection(name) for name in dict.fromkeys(names)] or list(PROJECTIONS)
    async with _bench(settings) as bench:
        with projections_view.progress_bar(
            shown=not as_json and sys.stderr.isatty()
        ) as on_progress:
            work = renewal.renew(
                bench.owner,
                bench.core.store,
                chosen,
                bench.core.clock,
                order,
                accept_differences=accept_differences,
                on_progress=on_progress,
                helper=helper_for(
                    bootstrap.owner_conninfo(settings), settings.secret("database_url"), processes
                ),
            )
            renewed = await _until_stopped(work)
    if as_json:
        _print_json(map(projections_view.renewed_json, renewed))
    for each in () if as_json else renewed:
        said = projections_view.renewed_lines(each, accepted=accept_differences)
        lines(console(), *said)
    return 0 if all(each.switched and not each.parked for each in renewed) else 1


async def compare(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    """Every one that has something beside what is shown; 1 unless all are equal."""
    chosen = [_projection(name) for name in dict.fromkeys(names)]
    async with _bench(settings, changing=False) as bench:
        if not chosen:
            found = await standings(bench.core.postgres, PROJECTIONS)
            beside = {each.projection for each in found if each.ours and each.state != "live"}
            chosen = [each for each in PROJECTIONS if each.name in beside]
        compared = {
            each.name: await renewal.compare(bench.owner, bench.core.store, each, bench.core.clock)
            for each in chosen
        }
    if as_json:
        _print_json(
            {"projection": name, **(projections_view.comparison_json(each) or {})}
            for name, each in compared.items()
        )
    else:
        for name, each in compared.items():
            said = projections_view.comparison_lines(each)
            lines(console(), f"{name}: {each.live} (shown) and {each.other}", *said)
        if not compared:
            console().print("Nothing to compare: only what is shown is there.")
    return 1 if any(each.differences for each in compared.values()) else 0


async def switch_back(
    settings: Settings, names: Sequence[str], order: Order, *, as_json: bool
) -> int:
    """Each by itself, and said as soon as it is done: a mistake half-way leaves the others."""
    chosen = [_projection(name) for name in dict.fromkeys(names)]
    asked = _reasoned(order)
    held = [each.name for each in chosen]
    async with _bench(settings) as bench, working(bench.owner, held) as connection:
        for projection in chosen:
            done = await switching.switch_back(
                connection, bench.core.store, projection, bench.core.clock, asked
            )
            if as_json:
                said = projections_view.switched_json(done)
                _print_json([{"projection": projection.name, **said}])
                continue
            lines(
                console(),
                f"{projection.name}: {done.schema} is shown again, {done.replaced} is kept behind "
                f"it; {projections_view.switched_words(done)}",
            )
    return 0


async def drop(
    settings: Settings, name: str, tables: str | None, order: Order, *, as_json: bool
) -> int:
    async with _bench(settings) as bench, working(bench.owner, [name]) as connection:
        gone = await switching.drop(
            connection, _projection(name).name, bench.core.clock, _reasoned(order), tables
        )
    if as_json:
        _print_json({"projection": name, "dropped": schema} for schema in gone)
    else:
        lines(console(), *(f"{name}: {schema} is dropped" for schema in gone))
    return 0


# ---------------------------------------------------------------- parked streams


async def park(settings: Settings, name: str, stream: str, order: Order, *, as_json: bool) -> int:
    projection, named = _projection(name), stream_named(stream)
    asked = _reasoned(order)
    async with _told(settings) as core:
        schemas = await parking.park(
            core.postgres,
            core.store,
            projection,
            named,
            core.clock,
            by=asked.by,
            reason=asked.reason or "",
        )
    what = f"{named.type}/{named.id}"
    if as_json:
        _print_json([{"projection": name, "stream": what, "schemas": list(schemas)}])
    else:
        lines(
            console(),
            f"{name} {what}: left aside from now on, in {', '.join(schemas)}",
            f"`gateway projections retry {name} {what}` takes it in again",
        )
    return 0


async def retry(
    settings: Settings, name: str, stream: str | None, order: Order, *, as_json: bool
) -> int:
    """One stream, or every one of the projection; says each as soon as it is done."""
    projection = _projection(name)
    asked = _reasoned(order)
    well = True
    async with _told(settings) as core:
        for each in await _to_retry(core, projection, stream):
            done = await parking.retry(
                core.postgres,
                core.store,
                projection,
                each,
                core.clock,
                by=asked.by,
                reason=asked.reason or "",
            )
            well = well and done.settled
            if as_json:
                _print_json([projections_view.retried_json(done)])
            else:
                lines(console(), projections_view.retried_line(done))
    return 0 if well else 1


async def _to_retry(
    core: bootstrap.Core, projection: Projection, stream: str | None
) -> Iterable[Stream]:
    if stream is not None:
        return [stream_named(stream)]
    found = await parking.parked_streams(core.postgres, projection.name)
    streams = [each.stream for each in found if each.version == projection.version]
    if not streams:
        raise GatewayError(f"{projection.name} has no stream parked")
    return dict.fromkeys(streams)


# ---------------------------------------------------------------- plumbing


def _projection(name: str) -> Projection:
    for each in PROJECTIONS:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in PROJECTIONS)
    raise GatewayError(f"{name!r} is no projection; there are: {known}")


def _reasoned(order: Order) -> Order:
    """With a reason, which is kept in the log."""
    reason = (order.reason or "").strip()
    if not reason:
        raise ReasonMissing("say why, with --reason: it is kept in the log")
    return Order(order.by, reason[:REASON_CHARACTERS_MAX], order.restart)


@asynccontextmanager
async def _told(settings: Settings) -> AsyncIterator[bootstrap.Core]:
    """What the application's role may do; the log is told of it in the end."""
    async with bootstrap.core(settings, "projections") as core:
        with explained():
            await deploys.under_way_since(core.postgres)  # nothing is done where nobody knows
            try:
                yield core
            finally:
                await _tell(core)


async def _tell(core: bootstrap.Core) -> None:
    since = await deploys.under_way_since(core.postgres)
    if since is None:
        await tell(core.postgres, bootstrap.upkeep(core))
        return
    sys.stderr.write(noted_only(since))


@asynccontextmanager
async def _bench(settings: Settings, *, changing: bool = True) -> AsyncIterator[Bench]:
    """What needs the owner's role."""
    await _reach(settings)
    if changing:
        async with _told(settings) as core, bootstrap.owner(core) as owner:
            yield Bench(core, owner)
        return
    async with bootstrap.core(settings, "projections") as core, bootstrap.owner(core) as owner:
        with explained():
            yield Bench(core, owner)


async def _reach(settings: Settings) -> None:
    """Say why the owner cannot connect, where a pool would only say that nobody could."""
    connection = await psycopg.AsyncConnection.connect(
        bootstrap.owner_conninfo(settings), connect_timeout=bootstrap.REACH_SECONDS
    )
    await connection.close()


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except (NotMigrated, deploys.NotKnown) as error:
        raise GatewayError("the tables are not there yet: run `gateway migrate`") from error
    except EventUnknown as error:
        raise GatewayError(
            f"{error}: run the same command with the newest release that has written to this log"
        ) from error
    except Overtaken as error:
        raise GatewayError(
            "others park or retry streams here faster than this can go on: wait until they are done; "
            "the same command goes on from where it was"
        ) from error
    except StoreUnavailable as error:
        raise GatewayError(
            f"{error}; nothing is lost: the same command goes on from where it was"
        ) from error
    except _SAYS_IT_ALL as error:
        raise GatewayError(str(error)) from error


async def _until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Ctrl-C and SIGTERM end it between two statements; what is committed stays."""
    with stop_on_signals() as stop:
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise GatewayError("ended; the same command goes on from the last batch")
        return task.result()


def _print_json(found: Iterable[Any]) -> None:
    for each in found:
        sys.stdout.write(orjson.dumps(each, default=str).decode() + "\n")
    sys.stdout.flush()
