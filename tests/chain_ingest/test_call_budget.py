"""What following a chain may cost in calls: bench/calls.py says it for a day, this guards it."""

from bench.calls import (
    BLOCK_SECONDS,
    DAY_SECONDS,
    IDLE,
    PAYMENTS_ONE_IN,
    SCENARIOS,
    busiest,
    ours,
)
from bench.free_tiers import TIERS

QUARTER_SECONDS = 900
BLOCKS = QUARTER_SECONDS // BLOCK_SECONDS
RECONCILE_CALLS_A_DAY = 24 * 100 * 3  # addresses and tokens, in the order of the hourly run
BUSY = SCENARIOS[-1]
RESTLESS = SCENARIOS[2]


async def test_an_idle_merchant_stays_within_every_free_tier() -> None:
    calls = busiest(await ours(IDLE, QUARTER_SECONDS))
    del calls["eth_call"]  # the reconcile has run once, and runs once an hour
    for tier in TIERS:
        day = tier.spent(calls) * DAY_SECONDS // QUARTER_SECONDS
        day += tier.spent({"eth_call": RECONCILE_CALLS_A_DAY})
        assert day < tier.per_day, tier.name


async def test_a_block_costs_each_provider_two_headers_and_two_of_them_its_logs() -> None:
    found = await ours(RESTLESS, QUARTER_SECONDS)
    headers = [calls["eth_getBlockByNumber"] for calls in found.values()]
    assert max(headers) <= 2.2 * BLOCKS
    assert sum(calls["eth_getLogs"] for calls in found.values()) <= 2 * BLOCKS


async def test_a_payment_costs_one_reading_of_receipts_more() -> None:
    found = await ours(BUSY, QUARTER_SECONDS)
    receipts = sum(calls["eth_getBlockReceipts"] for calls in found.values())
    assert BLOCKS // PAYMENTS_ONE_IN - 1 <= receipts <= BLOCKS // PAYMENTS_ONE_IN + 1
