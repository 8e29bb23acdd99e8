"""`gateway providers`: what each provider was asked, and what that costs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from rich.console import Console

from adapters.figures import PostgresFigures
from adapters.postgres import Postgres
from application.figures import (
    BUCKETS,
    CallCount,
    CallFigures,
    ProviderState,
    ReadingCount,
    ReadingFigures,
)
from gateway import operate_providers
from gateway.failures import GatewayError
from gateway.operate_providers import STALE_SECONDS, Kept, ProviderLine, lines, table_of
from gateway.settings import Settings
from tests.conftest import Migrated

NOW = datetime.fromisoformat("2026-11-22T12:30:00+00:00")
HOUR = NOW.replace(minute=0)
STATE = ProviderState("local", "local-1", "answers", 100, NOW, None, None, NOW)


def asked(
    calls: int,
    *,
    provider: str = "local-1",
    outcome: str = "answered",
    hour: datetime = HOUR,
    micros: int = 8_000,
) -> CallFigures:
    """So many within the first thirty minutes of the hour."""
    buckets = tuple(calls if place == 1 else 0 for place in range(BUCKETS))
    count = CallCount(calls, calls * micros, micros, buckets)
    half = timedelta(minutes=30)
    return CallFigures("local", provider, hour, "eth_getLogs", outcome, count, hour, hour + half)


def line(
    *calls: CallFigures,
    states: Sequence[ProviderState] = (STATE,),
    blocks: int = 0,
    price: str | None = None,
) -> ProviderLine:
    readings = [ReadingFigures("local", HOUR, ReadingCount(blocks=blocks), HOUR, NOW)]
    kept = Kept("local", calls, readings, states)
    prices = {} if price is None else {"local-1": Decimal(price)}
    (found,) = lines(kept, ["local-1"], prices, NOW)
    return found


def test_a_rate_is_over_the_time_that_was_counted() -> None:
    found = line(asked(600), blocks=100)
    assert found.calls_per_minute == 20
    assert found.calls_per_day == 28_800
    assert found.calls_per_block == 6
    assert found.calls_today == 600


def test_the_hour_before_counts_for_the_rate_and_older_ones_for_the_day() -> None:
    old, before = HOUR - timedelta(hours=5), HOUR - timedelta(hours=1)
    found = line(asked(600), asked(300, hour=before), asked(50, hour=old))
    assert found.calls_per_minute == 10  # 900 from 11:00 to 12:30
    assert found.calls_today == 950


def test_yesterday_counts_for_nothing_of_today() -> None:
    found = line(asked(50, hour=HOUR - timedelta(hours=20)))
    assert (found.calls_today, found.calls_per_minute) == (0, None)


def test_a_day_costs_its_calls_times_the_price() -> None:
    assert line(asked(600), price="1.50").usd_per_day == Decimal("0.0432")
    assert line(asked(600)).usd_per_day is None


def test_failures_are_told_by_kind_the_most_frequent_first() -> None:
    found = line(asked(9), asked(1, outcome="timeout"), asked(3, outcome="rate_limited"))
    assert list(found.failures.items()) == [("rate_limited", 3), ("timeout", 1)]
    assert found.calls_today == 13


def test_latency_is_that_of_calls_that_were_answered() -> None:
    found = line(asked(9, micros=8_000), asked(1, outcome="timeout", micros=2_000_000))
    assert (found.micros_half, found.micros_max) == (8_000, 8_000)


def test_blocks_behind_is_against_the_best_of_the_network() -> None:
    ahead = ProviderState("local", "local-2", "answers", 107, NOW, None, None, NOW)
    assert line(asked(1), states=(STATE, ahead)).blocks_behind == 7


@pytest.mark.parametrize(
    ("state", "told", "well"),
    [
        (STATE, "answers", True),
        (ProviderState("local", "local-1", "fails", 1, None, NOW, "timeout", NOW),
         "fails: timeout", False),
        (ProviderState("local", "local-1", "not_asked", 1, None, None, None, NOW),
         "not asked", False),
        (ProviderState("local", "local-1", "answers", 1, NOW, None, None,
                       NOW - timedelta(seconds=STALE_SECONDS + 1)),
         "unknown since 22 November 12:26 UTC: no ingester leads", False),
        (None, "never asked", False),
    ],
)  # fmt: skip
def test_the_state_is_what_the_leader_last_said(
    state: ProviderState | None, told: str, *, well: bool
) -> None:
    found = line(asked(1), states=() if state is None else (state,))
    assert (found.condition, found.well) == (told, well)


def test_a_provider_nobody_has_asked_has_a_line_all_the_same() -> None:
    kept = Kept("local", [], [], [])
    found = lines(kept, ["local-1", "local-2"], {}, NOW)
    assert [each.condition for each in found] == ["never asked", "never asked"]


def test_without_providers_configured_those_there_is_something_of_are_shown() -> None:
    kept = Kept("local", [asked(1, provider="local-2")], [], [STATE])
    assert [each.provider for each in lines(kept, [], {}, NOW)] == ["local-1", "local-2"]


def test_people_get_a_table_with_a_dash_for_what_is_not_known() -> None:
    console = Console(width=400)
    with console.capture() as told:
        console.print(table_of([line(asked(600), price="0.45"), line(states=())]))
    rows = [row for row in told.get().splitlines() if "local-1" in row]
    assert "28,800" in rows[0]
    assert "0.01" in rows[0]
    assert rows[1].count(" -") == 5


@pytest.mark.services
async def test_machines_get_a_line_a_provider_and_a_status(
    migrated: Migrated, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.model_validate(
        {
            "database_url": migrated.app_dsn,
            "nats_url": "nats://127.0.0.1:1",
            "networks": "local",
            "local_tokens": "USDC=0x" + "aa" * 20,
            "rpc_urls": {"local": "http://127.0.0.1:1,http://127.0.0.1:2"},
            "rpc_usd_per_million_calls": {"local": "0.45,0"},
        }
    )
    async with Postgres(migrated.app_dsn, name="test") as postgres:
        await PostgresFigures(postgres).add([], [], [STATE])
    assert await operate_providers.providers(settings, "local", as_json=True) == 1
    told = [orjson.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [each["provider"] for each in told] == ["local-1", "local-2"]
    assert told[1]["condition"] == "never asked"
    with pytest.raises(GatewayError, match="is not among NETWORKS"):
        await operate_providers.providers(settings, "polygon", as_json=True)
