"""The second process of a rebuild: started by the first, and never left behind by it.

Shapes  HelperProcess is the first one's side. It writes one line of JSON to the other's stdin
        (where the databases are, which projections), and keeps the pipe open: when it closes,
        because the first process is done, or killed, the second one ends by itself.
        The other answers on stdout, a line each: {"phase", "position", "projection"},
        {"alive": true} where nothing else is to be said, and at the end {"done": true} or
        {"failed": name of the error, "text"}. It logs to stderr.
        Connection strings hold passwords, so they are no arguments, which everybody can read;
        of our environment, which holds more secrets, it is given only what INHERITED names.
        It is started with -P: whatever lies in the current directory is none of its code.
        What it says of an error is cut, and without values: those are of customers.
Units   END_SECONDS for the other to end, before it is killed; SILENCE_SECONDS without a line
        from it, of which there is one every ALIVE_SECONDS at least.
Errors  StoreUnavailable, EventUnknown and Overtaken are those of the other; HelperFailed for all
        else, with the other's own words, or with the signal that ended it
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres
from application.ports import StoreUnavailable
from domain.event_base import EventUnknown
from gateway import logs
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Overtaken
from projections.rebuild import Pace, Progress, replay, resumed
from projections.sharing import HelperFailed, OnHelped
from projections.upkeep import working
from projections.wording import without_values

EVENTS_MIN = 100_000  # two seconds of a rebuild; a process takes about one to start
END_SECONDS = 5.0
ALIVE_SECONDS = 2.0
SILENCE_SECONDS = 60.0  # also its start; a busy machine, or a page of a hundred thousand rows
SILENCE_LOOKS = 4  # in parts: if it is we who were suspended, there is a line at the next look
LINE_BYTES_MAX = 1 << 20
POOL_SIZE_MAX = 3
CORES_MIN = 2
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # what cgroup v2 lets a container have
# To be found and started, to write as we do, to have its time zone and its certificates.
INHERITED = frozenset({
    *("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "LANG", "LANGUAGE", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "KRB5CCNAME", "KRB5_CONFIG"),
    *("PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL"),  # libpq's, beside those it lists itself
})  # fmt: skip
INHERITED_PREFIXES = ("LC_", "PYTHON")
PASSWORD = "PGPASSWORD"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class HelperProcess:
    owner_dsn: str = field(repr=False)
    app_dsn: str = field(repr=False)
    events_min: int = EVENTS_MIN

    async def replay(self, names: Sequence[str], tell: OnHelped) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway.rebuild_helper"),
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE_BYTES_MAX,
            env=inherited(os.environ),  # noqa: TID251 - less what is no business of the other
            start_new_session=True,  # a Ctrl-C is for the first process, which tells this one
        )
        try:
            order = {
                "owner": _with_password(self.owner_dsn),
                "app": _with_password(self.app_dsn),
                "names": list(names),
            }
            assert process.stdin is not None
            process.stdin.write(orjson.dumps(order) + b"\n")
            await process.stdin.drain()
            await _listen(process, names, tell)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise await _ended(process, names) from error
        finally:
            await _end(process)


async def _listen(process: Process, names: Sequence[str], tell: OnHelped) -> None:
    while line := await _line(process, names):
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            said = None
        match said:
            case {"done": True}:
                return
            case {"alive": True}:
                continue
            case {"failed": str(kind), "text": str(text)}:
                raise _failure(kind, text, names)
            case {"phase": phase, "position": int(position), "projection": projection}:
                await tell(phase, position, projection)
            case _:
                raise HelperFailed(f"{_who(names)} has said what cannot be understood")
    raise await _ended(process, names)


async def _line(process: Process, names: Sequence[str]) -> bytes:
    """Its next line, empty at the end; killed where none comes."""
    assert process.stdout is not None
    reading = asyncio.ensure_future(process.stdout.readline())
    try:
        for _ in range(SILENCE_LOOKS):
            await asyncio.wait((reading,), timeout=SILENCE_SECONDS / SILENCE_LOOKS)
            if reading.done():
                return reading.result()
    except ValueError as error:  # how a StreamReader says that it is too long
        raise HelperFailed(f"{_who(names)} has said what cannot be understood") from error
    finally:
        reading.cancel()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    raise HelperFailed(
        f"{_who(names)} said nothing for {SILENCE_SECONDS:g} seconds and was killed; "
        "the same command goes on from there"
    )


def _who(names: Sequence[str]) -> str:
    return f"the process that rebuilt {', '.join(names)}"


def _failure(kind: str, text: str, names: Sequence[str]) -> Exception:
    for known in (StoreUnavailable, EventUnknown, Overtaken):
        if kind == known.__name__:
            return known(text)
    return HelperFailed(f"{', '.join(names)}: {kind}: {text}")


async def _ended(process: Process, names: Sequence[str]) -> HelperFailed:
    """It has said nothing, so that how it ended is all there is to say."""
    status = await process.wait()
    how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
    return HelperFailed(f"{_who(names)} was ended {how}; the same command goes on from there")


async def _end(process: Process) -> None:
    """Close the pipe, which tells it; wait, and kill it should it not have understood."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(process.wait()), END_SECONDS)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What of it the other process gets: no settings of ours, and no secret."""
    libpqs = {each.envvar.decode() for each in Conninfo.get_defaults() if each.envvar}
    names = (INHERITED | libpqs) - {PASSWORD}
    return {
        name: value
        for name, value in environment.items()
        if name in names or name.startswith(INHERITED_PREFIXES)
    }


def _with_password(dsn: str) -> str:
    """As libpq would add it here, from an environment that the other does not get."""
    password = os.environ.get(PASSWORD)  # noqa: TID251 - libpq's setting, not ours
    if password is None or "password" in conninfo_to_dict(dsn):
        return dsn
    return make_conninfo(dsn, password=password)


def helper_for(owner_dsn: str, app_dsn: str, processes: int | None) -> HelperProcess | None:
    """As many processes as were asked for; without a wish, two where there are cores for them."""
    if processes is None:
        return HelperProcess(owner_dsn, app_dsn) if _cores() >= CORES_MIN else None
    return HelperProcess(owner_dsn, app_dsn, events_min=0) if processes > 1 else None


def _cores() -> float:
    """Those we may run on, and no more of them than a container is let have."""
    ours = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = os.cpu_count() or 1 if ours is None else len(ours(0))
    try:
        quota, period = CPU_MAX.read_text().split()
        return min(cores, int(quota) / int(period))
    except (OSError, ValueError):  # there is none, or it is "max"
        return cores


# ---------------------------------------------------------------- the other side


async def _help() -> None:
    stdin = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    order: dict[str, Any] = orjson.loads(await stdin.readline())
    work = asyncio.create_task(_replay(order))
    lifeline = asyncio.create_task(stdin.read())
    heartbeat = asyncio.create_task(_live())
    await asyncio.wait((work, lifeline), return_when=asyncio.FIRST_COMPLETED)
    lifeline.cancel()
    heartbeat.cancel()
    if not work.done():  # whoever started us is gone
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return
    try:
        work.result()
    except Exception as error:  # noqa: BLE001 - whatever it is, the first process tells people
        _say(told_of(error))
    else:
        _say({"done": True})


async def _live() -> None:
    """Also while the database builds an index."""
    with contextlib.suppress(BrokenPipeError):  # stdin is closed as well
        while True:
            _say({"alive": True})
            await asyncio.sleep(ALIVE_SECONDS)


def told_of(error: Exception) -> dict[str, str]:
    return {"failed": type(error).__name__, "text": without_values(error)}


async def _replay(order: dict[str, Any]) -> None:
    chosen = [each for each in PROJECTIONS if each.name in order["names"]]
    unknown = sorted(set(order["names"]) - {each.name for each in chosen})
    if unknown:
        raise HelperFailed(f"this code has no projection named {', '.join(unknown)}")
    clock = SystemClock()

    def tell(progress: Progress) -> None:
        _say(
            {
                "phase": progress.phase,
                "position": progress.position,
                "projection": progress.projection,
            }
        )

    async with (
        Postgres(order["owner"], name="gateway-rebuild", max_size=POOL_SIZE_MAX) as owner,
        Postgres(order["app"], name="gateway-rebuild", max_size=POOL_SIZE_MAX) as app,
        working(owner, ()) as connection,  # who started us holds the locks
    ):
        async with connection.transaction():
            jobs = [await resumed(connection, each) for each in chosen]
        begun = [job for job in jobs if job is not None]
        if len(begun) < len(jobs):
            raise HelperFailed("what was begun is no longer there, or not of this code's version")
        await replay(
            connection, begun, Pace(PostgresEventStore(app, ids=SystemIds()), clock, tell)
        )


def _say(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    logs.aside()
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more
        asyncio.run(_help())


if __name__ == "__main__":
    main()
