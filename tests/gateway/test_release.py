"""What a new release does to the database before its processes start."""

import asyncio
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from adapters.postgres import Postgres
from application.upkeep import upkeep_stream
from gateway import operate, release
from gateway import operate_projections as by_hand
from gateway.cli import app
from gateway.failures import GatewayError
from gateway.metrics import Sample
from gateway.projection_metrics import projection_samples
from gateway.settings import load
from projections.catalogue import PROJECTIONS
from projections.payments import Payments
from projections.rebuild import Order
from projections.renewal import Renewed
from projections.schema import ensure_schemas
from projections.upkeep import WORK_LOCKS, lock_key
from tests.conftest import Migrated
from tests.gateway.projections_site import opened
from tests.projections.test_runner import created, session_stream

pytestmark = pytest.mark.services


class PaymentsAgain(Payments):
    version = 5


NEWER = (PaymentsAgain(), *PROJECTIONS[1:])


@pytest.mark.parametrize("processes", [None, 1, 2])
def test_migrate_fills_tables_in_as_many_processes_as_are_asked_for(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch, processes: int | None
) -> None:
    asked: list[int | None] = []

    def helper(*given: Any) -> None:
        asked.append(given[-1])

    async def brought(*_: object, **__: object) -> list[Renewed]:
        return []

    monkeypatch.setattr(release, "helper_for", helper)
    monkeypatch.setattr(release, "bring_up", brought)
    monkeypatch.setenv("DATABASE_URL_OWNER", migrated.owner_dsn)
    given = [] if processes is None else ["--processes", str(processes)]
    ran = CliRunner().invoke(app, ["migrate", *given])
    assert (ran.exit_code, asked) == (0, [processes]), ran.output


@pytest.mark.parametrize("role", ["owner", "admin"])
async def test_a_new_version_is_filled_and_shown_by_the_owner_or_an_administrator(
    migrated: Migrated, nats_url: str, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    dsn = migrated.owner_dsn if role == "owner" else migrated.admin_dsn
    monkeypatch.setattr(release, "PROJECTIONS", NEWER)
    async with opened(migrated, nats_url) as site:
        for number in (1, 2, 3):
            await site.append(session_stream(number), created(number))
        await asyncio.to_thread(ensure_schemas, dsn, NEWER)
        (done,) = await release.fill_tables(dsn)
        assert (done.schema, done.position) == ("rm_payments_v5", 3)
        assert await release.fill_tables(dsn) == []
        assert await site.rows("SELECT count(*) FROM rm.payments") == [(3,)]
        assert await site.schemas("payments") == ["rm_payments_v5", "rm_payments_v4"]
        owners = await site.rows(
            "SELECT DISTINCT nspowner::regrole::text FROM pg_namespace WHERE nspname LIKE 'rm%%'"
        )
        assert owners == [("gw_owner",)]
        told = await site.store.read_stream(upkeep_stream("payments"))
        assert [(each.event.name, each.context.actor) for each in told] == [
            ("projection.switched", "system:migrate")
        ]


async def test_what_the_dsn_asks_for_holds_while_tables_are_filled(
    migrated: Migrated, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(owner: Postgres, *_: object, **__: object) -> list[Renewed]:
        async with owner.connection() as connection:
            seen.append(await (await connection.execute("SHOW work_mem")).fetchone())
        return []

    seen: list[object] = []
    monkeypatch.setattr(release, "bring_up", look)
    async with opened(migrated, nats_url):
        await release.fill_tables(f"{migrated.admin_dsn}?options=-c%20work_mem%3D12345kB")
    assert seen == [("12345kB",)]


async def test_the_log_is_told_of_it_when_the_release_before_is_gone(
    migrated: Migrated, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would stop at a fact it does not know."""
    monkeypatch.setattr(release, "PROJECTIONS", NEWER)
    settings = load({"DATABASE_URL_OWNER": migrated.owner_dsn})
    async with opened(migrated, nats_url) as site:
        await site.append(session_stream(1), created(1))
        await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER)
        await asyncio.to_thread(operate.migrate, settings, "before")
        assert await site.schemas("payments") == ["rm_payments_v5", "rm_payments_v4"]
        assert [each.event.name for each in await site.store.read_log(after=0, limit=9)] == [
            created(1).name
        ]
        await asyncio.to_thread(operate.migrate, settings, "after")
        await asyncio.to_thread(operate.migrate, settings, "after")
        told = await site.store.read_log(after=1, limit=9)
        assert [each.event.name for each in told] == ["projection.switched"]


async def test_between_the_halves_of_a_deploy_nothing_done_by_hand_is_told_early(
    migrated: Migrated, nats_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = Order("operator:ann", "a drill")
    async with opened(migrated, nats_url) as site:
        settings, payment = site.settings, session_stream(1)
        await site.append(payment, created(1))
        named = f"payment_session/{payment.id}"

        async def facts() -> list[str]:
            return [each.event.name for each in await site.store.read_log(after=1, limit=9)]

        await asyncio.to_thread(operate.migrate, settings, "before")
        await by_hand.park(settings, "payments", named, ann, as_json=True)
        await by_hand.retry(settings, "payments", named, ann, as_json=True)
        await by_hand.compare(settings, [], as_json=True)
        assert "`gateway migrate --after` tells the log" in capsys.readouterr().err
        assert await facts() == []
        assert await site.rows("SELECT count(*) FROM rm_admin.parked") == [(0,)], "it was done"
        await asyncio.to_thread(operate.migrate, settings, "after")
        assert await facts() == ["projection.stream_parked", "projection.stream_retried"]
        await by_hand.park(settings, "payments", named, ann, as_json=True)
        assert "deploy" not in capsys.readouterr().err
        assert (await facts())[2:] == ["projection.stream_parked"], "told at once, as ever"


async def test_a_deploy_that_was_given_up_is_shown_until_the_release_that_goes_on_ends_it(
    migrated: Migrated, nats_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = Order("operator:ann", "a drill")
    async with opened(migrated, nats_url) as site:
        settings, payment = site.settings, session_stream(1)
        await site.append(payment, created(1))
        named = f"payment_session/{payment.id}"
        before = await site.told(by_hand.listed(settings, as_json=True))
        assert {line["deploy_under_way_since"] for line in before.lines()} == {None}
        await asyncio.to_thread(operate.migrate, settings, "before")
        await by_hand.park(settings, "payments", named, ann, as_json=True)
        # The newer release brought a revision: nothing of this one applies, so it may not end it.
        async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as owner:
            await owner.execute("UPDATE migrations.applied SET version_num = '9999_newer'")
        with pytest.raises(GatewayError, match="newer"):
            await asyncio.to_thread(operate.migrate, settings, "after")
        listed = await site.told(by_hand.listed(settings, as_json=True))
        untold = {line["projection"]: line["untold"] for line in listed.lines()}
        assert {name for name, count in untold.items() if count} == {"payments"}
        assert all(line["deploy_under_way_since"] for line in listed.lines())
        said = await site.told(by_hand.listed(settings, as_json=False))
        assert "a deploy is under way since" in said.out
        assert "has not been told of: 1" in " ".join(said.out.split())
        assert "--given-up" in said.out
        samples = await projection_samples(site.app)
        shown = {each.metric.name: each.value for each in samples if isinstance(each, Sample)}
        assert shown["gateway_deploy_under_way_seconds"] > 0
        assert shown["gateway_projection_untold_operations"] == 1
        capsys.readouterr()
        await asyncio.to_thread(operate.give_up_deploy, settings)
        assert "no deploy is under way any more" in capsys.readouterr().out
        told = await site.store.read_log(after=1, limit=9)
        assert [each.event.name for each in told] == ["projection.stream_parked"]
        said = await site.told(by_hand.listed(settings, as_json=False))
        assert "deploy" not in said.out
        await asyncio.to_thread(operate.give_up_deploy, settings)
        assert capsys.readouterr().out == "no deploy is under way\n"


async def test_what_only_the_newer_release_knows_keeps_its_deploy_under_way(
    migrated: Migrated, nats_url: str
) -> None:
    async with opened(migrated, nats_url) as site:
        await asyncio.to_thread(operate.migrate, site.settings, "before")
        async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as owner:
            await owner.execute(
                "INSERT INTO rm_admin.operations (projection, event, event_version, data, actor) "
                "VALUES ('payments', 'projection.dreamt_of', 1, '{}', 'operator:ann')"
            )
        with pytest.raises(GatewayError, match="stays under way"):
            await asyncio.to_thread(operate.give_up_deploy, site.settings)
        assert await site.rows("SELECT count(*) FROM migrations.deploys") == [(1,)]
        assert await site.store.head() == 0


async def test_no_read_model_is_touched_where_this_release_has_not_migrated(
    migrated: Migrated, nats_url: str
) -> None:
    async with opened(migrated, nats_url) as site:
        await site.append(session_stream(1), created(1))
        async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as owner:
            await owner.execute("DROP TABLE migrations.deploys")
        named = f"payment_session/{session_stream(1).id}"
        ann = Order("operator:ann", "a drill")
        with pytest.raises(GatewayError, match="run `gateway migrate`"):
            await by_hand.park(site.settings, "payments", named, ann, as_json=True)
        assert await site.rows("SELECT count(*) FROM rm_admin.parked") == [(0,)]


async def test_what_keeps_a_release_from_being_filled_is_said_in_words(
    migrated: Migrated, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "PROJECTIONS", NEWER)
    settings = load({"DATABASE_URL_OWNER": migrated.owner_dsn})
    async with opened(migrated, nats_url) as site:
        await site.append(session_stream(1), created(1))
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER)
    async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as other:
        await other.execute("SELECT pg_advisory_lock(%s, %s)", (WORK_LOCKS, lock_key("payments")))
        with pytest.raises(GatewayError, match="payments is being worked on"):
            await asyncio.to_thread(operate.migrate, settings, "before")


async def test_migrating_a_second_time_finds_nothing_to_do(
    migrated: Migrated, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load({"DATABASE_URL_OWNER": migrated.owner_dsn})
    await asyncio.to_thread(operate.migrate, settings)
    assert "rm_payments_v4" in capsys.readouterr().out
    await asyncio.to_thread(operate.migrate, settings)
    assert "nothing to do" in capsys.readouterr().out
