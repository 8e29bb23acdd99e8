"""What a support desk is told while a payment's network is halted, pending or not read at all."""

import pytest

from application.standing import STANDING_STALE_SECONDS, Standing
from tests.gateway.support_desk import Case, new_case


@pytest.fixture
async def case() -> Case:
    return await new_case()


async def test_a_halt_or_trouble_with_the_network_is_told_where_something_waits_for_it(
    case: Case,
) -> None:
    session = await case.world.session(case.shop)
    quiet = await case.session(session)
    now = case.world.clock.now()
    case.world.reads.heads.standings["local"] = Standing(
        "local", now, trouble="halted", since=now, detail="a reorg of 70 blocks", pending=True
    )
    found = (await case.session(session)).standing.next
    assert found[1:] == quiet.standing.next
    assert found[0].startswith("Local test chain is halted since 22 November 2026 ")
    assert "a reorg of 70 blocks" in found[0]
    case.world.reads.heads.standings["local"] = Standing("local", now, pending=False)
    case.world.clock.advance(STANDING_STALE_SECONDS + 1)
    (said, *_) = (await case.session(session)).standing.next
    assert said.startswith("Local test chain is pending since")
    assert "no ingester runs" in said
    stray = await case.world.arrive(session.deposit_address, confirmed=False)
    (said, *_) = (await case.of(f"tr_{stray.hex}")).standing.next
    assert "no ingester runs" in said


async def test_a_paid_payment_is_not_troubled_by_its_network(case: Case) -> None:
    session = await case.world.session(case.shop)
    await case.world.pay(session)
    now = case.world.clock.now()
    case.world.clock.advance(60 * 24 * 3600)
    quiet = (await case.session(session)).standing
    case.world.reads.heads.standings["local"] = Standing("local", now)
    assert (await case.session(session)).standing == quiet


async def test_a_network_that_nobody_reads_is_named_with_what_to_do(case: Case) -> None:
    session = await case.world.session(case.shop)
    case.world.reads.heads.numbers.clear()
    (said, *_) = (await case.session(session)).standing.next
    assert "The operator starts gateway ingest --network local." in said
