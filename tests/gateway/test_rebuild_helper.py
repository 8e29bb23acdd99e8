"""A rebuild in two processes, either of which may be killed: the same rows in the end."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import pytest
from psycopg.conninfo import conninfo_to_dict

from adapters.clock import SystemClock
from application.ports import StoreUnavailable
from gateway import rebuild_helper
from gateway.rebuild_helper import EVENTS_MIN, HelperProcess, helper_for, inherited
from projections.catalogue import PROJECTIONS
from projections.rebuild import Order
from projections.renewal import rebuild
from projections.sharing import HelperFailed
from tests.conftest import Migrated
from tests.gateway.projections_site import SECONDS_MAX, Site, opened

REBUILD = ("projections", "rebuild", "--actor", "ann", "--json", "--processes", "2")


@pytest.fixture
async def site(migrated: Migrated, nats_url: str) -> AsyncIterator[Site]:
    async with opened(migrated, nats_url) as found:
        yield found


@pytest.fixture
async def lived_in(site: Site) -> Site:
    await site.history().write(120)
    await site.follower()
    await site.caught_up()
    return site


async def helper_of(process: Process) -> psutil.Process:
    return await child_of(process.pid)


async def child_of(pid: int) -> psutil.Process:
    """The helper it has started, as soon as there is one."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(pid).children():
                    if "gateway.rebuild_helper" in child.cmdline():
                        return child
            await asyncio.sleep(0.002)


async def gone(process: psutil.Process) -> bool:
    """Whether it ends by itself."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, [process], 20)
    return not alive


@pytest.mark.services
async def test_two_processes_make_the_rows_that_were_live(lived_in: Site) -> None:
    done = await lived_in.gateway(*REBUILD[1:])
    assert done.status == 0, done
    assert {line["shown"] for line in done.lines()} == {True}
    assert len(done.lines()) == len(PROJECTIONS)
    await lived_in.caught_up()
    await lived_in.all_alike()
    # Each was begun and shown once, whoever replayed it.
    events = await lived_in.rows(
        "SELECT projection, event FROM rm_admin.operations ORDER BY projection, number"
    )
    assert len(events) == 2 * len(PROJECTIONS)


@pytest.mark.services
async def test_a_helper_that_is_killed_is_told_and_the_same_command_goes_on(
    lived_in: Site,
) -> None:
    first = await lived_in.start(*REBUILD)
    helper = await helper_of(first)
    helper.kill()
    ended = await lived_in.said(first)
    assert ended.status == 1, ended
    assert "was ended by SIGKILL; the same command goes on from there" in ended.err
    assert "Traceback" not in ended.err
    again = await lived_in.gateway(*REBUILD[1:])
    assert again.status == 0, again
    assert {line["resumed"] for line in again.lines()} == {True}
    await lived_in.caught_up()
    await lived_in.all_alike()


@pytest.mark.services
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_a_helper_does_not_outlive_who_started_it(site: Site, how: signal.Signals) -> None:
    await site.many_sessions(50_000)
    await site.history(seed=4).write(60)
    await site.follower()
    await site.caught_up()
    first = await site.start(*REBUILD)
    helper = await helper_of(first)
    await site.until(
        "SELECT position FROM rm_admin.checkpoints WHERE schema = 'rm_inbox_v3_r1'",
        lambda rows: bool(rows) and rows[0][0] > 0,
    )
    first.send_signal(how)
    assert await gone(helper), "it went on without the locks that keep others away"
    await first.wait()
    again = await site.gateway(*REBUILD[1:])
    assert again.status == 0, again
    await site.caught_up()
    await site.all_alike()


@pytest.mark.services
async def test_what_a_helper_stumbles_over_is_told_with_its_type(lived_in: Site) -> None:
    with pytest.raises(StoreUnavailable):
        await rebuild(
            lived_in.owner, lived_in.store, PROJECTIONS, SystemClock(), Order("test"), NOWHERE
        )
    # The application's role may not build indexes: what the database says reaches people.
    app = lived_in.migrated.app_dsn
    powerless = HelperProcess(app, app, events_min=0)
    with pytest.raises(HelperFailed, match="InsufficientPrivilege: "):
        await rebuild(
            lived_in.owner, lived_in.store, PROJECTIONS, SystemClock(), Order("test"), powerless
        )
    failed = await lived_in.rows(
        "SELECT count(*) FROM rm_admin.rebuilds WHERE error LIKE 'InsufficientPrivilege%%'"
    )
    assert failed == [(0,)], "it may not even say so there"
    whole = HelperProcess(lived_in.migrated.owner_dsn, app, events_min=0)
    rebuilt = await rebuild(
        lived_in.owner, lived_in.store, PROJECTIONS, SystemClock(), Order("test"), whole
    )
    assert {each.position for each in rebuilt} == {await lived_in.store.head()}


NOWHERE = HelperProcess("host=127.0.0.1 port=1", "host=127.0.0.1 port=1", events_min=0)


async def unheard(phase: str, position: int, projection: str | None) -> None:
    """Nobody is interested."""


async def test_what_lies_in_the_current_directory_is_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostile = f"open({str(tmp_path / 'ran')!r}, 'w').close(); raise SystemExit(1)"
    (tmp_path / "gateway").mkdir()
    for name in ("gateway/__init__.py", "orjson.py", "asyncio.py"):
        (tmp_path / name).write_text(hostile)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailable):  # our own code ran, and found no database
        await NOWHERE.replay(["inbox"], unheard)
    assert not (tmp_path / "ran").exists()


def test_the_helper_inherits_no_secret_and_all_that_it_needs() -> None:
    needed = {
        "PATH": "/bin",
        "HOME": "/h",
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": "/v",
        "SSL_CERT_FILE": "/c",
        "PGSSLROOTCERT": "/r",
        "PGHOST": "h",
        "PGPASSFILE": "/p",
        "PGSERVICEFILE": "/s",
    }
    secret = {
        "DATABASE_URL": "postgresql://a:b@h/",
        "DATABASE_URL_OWNER": "postgresql://o:b@h/",
        "MASTER_KEY": "00",
        "KEYSTORE_PASSPHRASE": "x",
        "RPC_URLS_BASE": "https://h/key",
        "PGPASSWORD": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    assert inherited(needed | secret) == needed


async def test_the_environment_of_the_helper_holds_no_setting_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASTER_KEY", "deadbeef")
    monkeypatch.setenv("PGPASSWORD", "libpqs")
    work = asyncio.create_task(NOWHERE.replay(["inbox"], unheard))
    helper = await child_of(os.getpid())
    environment = helper.environ()
    with pytest.raises(StoreUnavailable):
        await work
    assert "PATH" in environment
    assert not {"MASTER_KEY", "PGPASSWORD"} & environment.keys()


@pytest.mark.services
async def test_a_password_of_libpqs_environment_goes_through_the_pipe(
    lived_in: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server asks for none here, so what is ordered is looked at."""
    monkeypatch.setenv("PGPASSWORD", "it's")
    for dsn, password in (
        ("host=h user=ann", "it's"),
        ("postgresql://ann@h/books", "it's"),
        ("postgresql://ann:own@h/books", "own"),
    ):
        given = conninfo_to_dict(rebuild_helper._with_password(dsn))
        assert (given["host"], given["user"], given["password"]) == ("h", "ann", password)
    whole = HelperProcess(lived_in.migrated.owner_dsn, lived_in.migrated.app_dsn, events_min=0)
    rebuilt = await rebuild(
        lived_in.owner, lived_in.store, PROJECTIONS, SystemClock(), Order("test"), whole
    )
    assert {each.position for each in rebuilt} == {await lived_in.store.head()}


def test_passwords_are_not_shown_with_a_helper() -> None:
    assert "geheim" not in repr(HelperProcess("password=geheim", "password=geheim"))


@pytest.mark.services
async def test_a_suspended_helper_does_not_hold_a_rebuild_up_for_ever(
    lived_in: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_helper, "SILENCE_SECONDS", 8)
    whole = HelperProcess(lived_in.migrated.owner_dsn, lived_in.migrated.app_dsn, events_min=0)
    clock, order = SystemClock(), Order("test")
    work = asyncio.create_task(
        rebuild(lived_in.owner, lived_in.store, PROJECTIONS, clock, order, whole)
    )
    (await child_of(os.getpid())).suspend()
    with pytest.raises(HelperFailed, match="said nothing for 8 seconds and was killed"):
        await work
    rebuilt = await rebuild(lived_in.owner, lived_in.store, PROJECTIONS, clock, order, whole)
    assert {each.position for each in rebuilt} == {await lived_in.store.head()}


async def test_a_projection_that_the_helper_does_not_know_is_not_left_out() -> None:
    with pytest.raises(HelperFailed, match="no projection named nonsense"):
        await NOWHERE.replay(["inbox", "nonsense"], unheard)


def test_two_processes_are_for_long_logs_and_two_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rebuild_helper, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    chosen = helper_for("owner", "app", None)
    assert chosen is not None
    assert chosen.events_min == EVENTS_MIN
    assert helper_for("owner", "app", 1) is None
    forced = helper_for("owner", "app", 2)
    assert forced is not None
    assert forced.events_min == 0
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert helper_for("owner", "app", None) is None


@pytest.mark.parametrize(
    ("cores", "quota", "two"),
    [
        (2, None, True),
        (1, None, False),
        (None, None, False),
        (8, "max 100000", True),
        (8, "200000 100000", True),
        (8, "199999 100000", False),
        (1, "400000 100000", False),
        (8, "", True),
    ],
)
def test_where_nobody_says_which_cores_are_ours_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cores: int | None,
    quota: str | None,
    two: bool,
) -> None:
    """As on macOS; and a container may be let have less than there are."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(rebuild_helper, "CPU_MAX", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert (helper_for("owner", "app", None) is not None) is two
