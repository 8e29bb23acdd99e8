"""What an operator sees of the read models, and what is said when something is in the way."""

import functools
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from rich.console import Console

from adapters.clock import SystemClock
from domain.errors import ReasonMissing
from gateway import operate_projections as operate
from gateway.failures import GatewayError
from gateway.metrics import Exposition
from gateway.operate import events
from gateway.projection_metrics import projection_samples
from gateway.projections_view import (
    TROUBLES,
    comparison_lines,
    duration,
    standings_table,
)
from gateway.settings import load
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Overtaken
from projections.comparing import Comparison, Difference
from projections.rebuild import Order
from projections.renewal import rebuild
from projections.standing import LAG_SECONDS_MAX, Standing
from tests.conftest import Migrated
from tests.examples import AT
from tests.gateway.projections_site import Site, opened
from tests.projections.test_runner import created, session_stream

ANN = Order("operator:ann", "a drill")
LIVE = Standing(
    projection="payments",
    version=2,
    schema="rm_payments_v4",
    state="live",
    position=1_234_567,
    head=1_234_567,
    lag_seconds=0.0,
    parked=0,
    leader="gateway-project, pid 4711, 10.0.0.3",
    since=None,
    by=None,
    error=None,
    ours=True,
    rate=498.0,
)
BUILT = replace(LIVE, schema="rm_payments_v4_r1", since=AT, by="operator:ann", position=1_000_000)


def drawn(*standings: Standing, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as told:
        console.print(standings_table(standings))
    return told.get()


@pytest.mark.parametrize(
    ("standing", "trouble"),
    [
        (LIVE, None),
        (replace(LIVE, leader=None), "no_leader"),
        (replace(LIVE, position=1, lag_seconds=LAG_SECONDS_MAX + 1), "behind"),
        (replace(LIVE, position=1, lag_seconds=LAG_SECONDS_MAX - 1), None),
        (replace(LIVE, parked=1), "parked"),
        (replace(LIVE, state="kept", schema="rm_payments_v1", ours=False, leader=None), None),
        (replace(LIVE, state="kept", leader=None), "no_leader"),
        (replace(BUILT, state="building"), None),
        (replace(BUILT, state="building", leader=None), "interrupted"),
        (replace(BUILT, state="ready", leader=None), "not_shown"),
        (replace(BUILT, state="failed", leader=None), "failed"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(standing: Standing, trouble: str | None) -> None:
    assert standing.trouble == trouble
    said = " ".join(drawn(standing).split())
    for kind, words in TROUBLES.items():
        assert (words.format(name="payments") in said) is (kind == trouble), kind


def test_the_list_fits_eighty_columns_with_large_figures() -> None:
    large = replace(
        BUILT,
        state="building",
        position=12_345_678,
        head=45_678_901,
        lag_seconds=98_765.0,
        rate=123_456.0,
        parked=1_234,
    )
    text = drawn(LIVE, large, replace(large, projection="deliveries", error="disk full [/x]"))
    assert max(len(line) for line in text.splitlines()) <= 80
    for said in (
        "12,345,678",
        "33,333,223 (27 h 26 min)",
        "123,456/s",
        "1,234",
        "4 min 30 s left",
    ):
        assert said in text, text
    assert "since 2026-11-22 12:00:00 UTC, asked for by operator:ann" in " ".join(text.split())
    assert "[/x]" in text


def test_a_comparison_names_the_rows_that_differ() -> None:
    wrong = Difference("payments", (10, 11), ("(1) differs", "(2) is not in what is shown"))
    compared = Comparison(
        "rm_payments_v4", "rm_payments_v4_r1", 5, {"payments": (10, 11), "b": (3, 3)}, (wrong,)
    )
    assert comparison_lines(compared) == [
        "  payments: DIFFERS, 10 rows shown, 11 in rm_payments_v4_r1",
        "    (1) differs",
        "    (2) is not in what is shown",
        "  b: 3 rows, the same at position 5",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
    ],
)
def test_a_time_is_told_in_two_figures(seconds: float, said: str) -> None:
    assert duration(seconds) == said


# ---------------------------------------------------------------- on a database


@pytest.fixture
async def site(migrated: Migrated, nats_url: str) -> AsyncIterator[Site]:
    async with opened(migrated, nats_url) as found:
        yield found


@pytest.mark.services
async def test_nobody_who_follows_is_trouble_and_lag_is_told_in_events_and_seconds(
    site: Site,
) -> None:
    await site.append(session_stream(1), created(1))
    await site.append(session_stream(2), created(2))
    said = await site.told(operate.listed(site.settings, as_json=True))
    assert (said.status, len(said.lines())) == (1, len(PROJECTIONS))
    for line in said.lines():
        assert (line["state"], line["trouble"]) == ("live", "no_leader")
        assert (line["position"], line["head"], line["lag_events"]) == (0, 2, 2)
        assert 0 < line["lag_seconds"] < 60
    process = await site.follower()
    await site.caught_up()
    said = await site.told(operate.listed(site.settings, as_json=True))
    assert (said.status, {line["trouble"] for line in said.lines()}) == (0, {None})
    assert {line["lag_events"] for line in said.lines()} == {0}
    assert all("pid" in line["leader"] for line in said.lines())
    assert "gateway-project" in (await site.told(operate.listed(site.settings, as_json=False))).out
    process.terminate()
    await process.wait()


@pytest.mark.services
async def test_parking_and_retrying_by_hand_is_shown_and_kept_in_the_log(site: Site) -> None:
    await site.append(session_stream(1), created(1))
    stream = f"payment_session/{session_stream(1).id}"
    settings = site.settings
    assert (await site.told(operate.parked(settings, None, as_json=False))).status == 0
    said = await site.told(operate.park(settings, "payments", stream, ANN, as_json=True))
    assert said.lines()[0]["schemas"] == ["rm_payments_v4"]
    listed = await site.told(operate.parked(settings, "payments", as_json=True))
    (line,) = listed.lines()
    assert (listed.status, line["stream"], line["error"], line["parked_by"], line["tries"]) == (
        *(1, stream, "a drill", "operator:ann", 1),
    )
    shown = await site.told(operate.parked(settings, None, as_json=False))
    assert stream in shown.out
    with pytest.raises(GatewayError, match="parked already"):
        await operate.park(settings, "payments", stream, ANN, as_json=True)
    tried = await site.told(operate.retry(settings, "payments", None, ANN, as_json=True))
    assert (tried.status, tried.lines()[0]["settled"]) == (0, True)
    with pytest.raises(GatewayError, match="no stream parked"):
        await operate.retry(settings, "payments", None, ANN, as_json=True)
    with pytest.raises(GatewayError, match="gateway projections parked"):
        await operate.retry(settings, "payments", stream, ANN, as_json=True)
    history = await site.told(operate.history(settings, "payments", as_json=True))
    assert [line["what"] for line in history.lines()] == [
        "projection.stream_parked",
        "projection.stream_retried",
    ]
    table = (await site.told(operate.history(settings, "payments", as_json=False))).out
    assert "settled true" in table
    assert table.count("operator:ann") == 2
    told = await site.told(events(settings, "projection/payments", as_json=False))
    assert "projection.stream_parked" in told.out
    nothing = await site.told(operate.history(settings, "journal", as_json=False))
    assert "Nothing was ever done" in nothing.out


@pytest.mark.services
async def test_what_cannot_be_is_said_with_what_to_do(site: Site) -> None:
    settings = site.settings
    with pytest.raises(GatewayError, match=r"'paymnts' is no projection; there are: payments, "):
        await operate.rebuild(settings, ["paymnts"], ANN, accept_differences=False, as_json=True)
    with pytest.raises(GatewayError, match="nothing is kept behind payments"):
        await operate.switch_back(settings, ["payments"], ANN, as_json=True)
    with pytest.raises(GatewayError, match="nothing that could be dropped"):
        await operate.drop(settings, "payments", None, ANN, as_json=True)
    with pytest.raises(GatewayError, match="nothing beside what is shown"):
        await operate.compare(settings, ["payments"], as_json=True)
    assert (
        "only what is shown" in (await site.told(operate.compare(settings, [], as_json=False))).out
    )
    await site.append(session_stream(1), created(1))
    for stream in (f"payment_session/{session_stream(9).id}", f"refund/{session_stream(1).id}"):
        with pytest.raises(GatewayError, match="there is no stream"):
            await operate.park(settings, "payments", stream, ANN, as_json=True)
    with pytest.raises(GatewayError, match="names no stream"):
        await operate.park(settings, "payments", "ps_1", ANN, as_json=True)
    for order in (Order("operator:ann"), Order("operator:ann", "  ")):
        with pytest.raises(ReasonMissing):
            await operate.switch_back(settings, ["payments"], order, as_json=True)
        with pytest.raises(ReasonMissing, match="may be different"):
            await operate.rebuild(settings, [], order, accept_differences=True, as_json=True)


@pytest.mark.services
async def test_rows_that_differ_are_not_shown_unless_somebody_accepts_it(site: Site) -> None:
    await site.append(session_stream(1), created(1))
    follower = await site.follower()
    await site.caught_up()
    async with site.owner.connection() as connection:
        await connection.execute("UPDATE rm_payments_v4.payments SET status = 'odd'")
    settings = site.settings

    async def rebuilt(*, accept: bool) -> tuple[int, str]:
        said = await site.told(
            operate.rebuild(settings, ["payments"], ANN, accept_differences=accept, as_json=False)
        )
        return said.status, said.out

    status, out = await rebuilt(accept=False)
    assert status == 1
    assert "DIFFERS, 1 rows shown, 1 in rm_payments_v4_r1" in out
    assert f"({session_stream(1).id}) differs" in out
    assert "--accept-differences" in out
    assert await site.schemas("payments") == ["rm_payments_v4"]
    compared = await site.told(operate.compare(settings, [], as_json=True))
    assert (compared.status, compared.lines()[0]["differences"][0]["table"]) == (1, "payments")
    status, out = await rebuilt(accept=True)
    assert status == 0
    assert await site.schemas("payments") == ["rm_payments_v4_r1", "rm_payments_v4"]
    history = await site.told(operate.history(settings, "payments", as_json=True))
    assert history.lines()[-1]["differing"] == ["payments"]
    dropped = await site.told(operate.drop(settings, "payments", None, ANN, as_json=True))
    assert dropped.lines() == [{"projection": "payments", "dropped": "rm_payments_v4"}]
    follower.terminate()
    await follower.wait()


@pytest.mark.services
async def test_prometheus_is_shown_lag_parked_streams_and_what_is_beside(site: Site) -> None:
    await site.append(session_stream(1), created(1))
    stream = f"payment_session/{session_stream(1).id}"
    await site.told(operate.park(site.settings, "payments", stream, ANN, as_json=True))
    await rebuild(site.owner, site.store, [PROJECTIONS[0]], SystemClock())
    exposition = Exposition(functools.partial(projection_samples, site.app))
    text = (await exposition.text()).decode()
    for line in (
        'gateway_projection_led{projection="payments"} 0.0',
        'gateway_projection_lag_events{projection="journal"} 2.0',
        'gateway_projection_parked_streams{projection="payments"} 1.0',
        'gateway_projection_tables_beside{kind="ready",projection="payments"} 1.0',
        'gateway_projection_tables_beside{kind="kept",projection="payments"} 0.0',
        "gateway_deploy_under_way_seconds 0.0",
        "gateway_projection_untold_operations 1.0",  # that rebuild: a command would tell of it
        "gateway_scrape_failures_total 0.0",
    ):
        assert line in text
    assert 'gateway_projection_lag_seconds{projection="payments"}' in text


@pytest.mark.services
async def test_a_database_that_is_away_and_one_without_tables_are_told_apart(
    site: Site, database: str
) -> None:
    gone = site.environment | {
        "DATABASE_URL": "postgresql://gw_app@127.0.0.1:1/gateway",
        "DATABASE_URL_OWNER": "postgresql://gw_owner@127.0.0.1:1/gateway",
    }
    away = load(gone)
    with pytest.raises(GatewayError, match="nothing is lost"):
        await operate.listed(away, as_json=True)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        await operate.rebuild(away, [], ANN, accept_differences=False, as_json=True)
    bare = load(site.environment | {"DATABASE_URL": database})
    with pytest.raises(GatewayError, match="run `gateway migrate`"):
        await operate.listed(bare, as_json=True)


@pytest.mark.services
@pytest.mark.parametrize("processes", [1, 2])
async def test_a_fact_of_a_newer_release_ends_a_rebuild_in_a_sentence(
    site: Site, processes: int
) -> None:
    await site.append(session_stream(1), created(1))
    async with await psycopg.AsyncConnection.connect(site.migrated.admin_dsn) as connection:
        await connection.execute(
            "INSERT INTO es.events (position, stream_type, stream_id, version, topic, "
            "schema_version, event_id, merchant_id, mode, occurred_at, state, meta) "
            "SELECT 2, stream_type, stream_id, 2, 'payment.to_come', 1, gen_random_uuid(), "
            "merchant_id, mode, occurred_at, state, meta FROM es.events WHERE position = 1"
        )
    with pytest.raises(GatewayError, match=r"payment\.to_come version 1 .* newest release"):
        await operate.rebuild(
            site.settings, [], ANN, accept_differences=False, as_json=True, processes=processes
        )


def test_being_overtaken_again_and_again_is_said_in_a_sentence() -> None:
    with pytest.raises(GatewayError, match="others park or retry"), operate.explained():
        raise Overtaken
