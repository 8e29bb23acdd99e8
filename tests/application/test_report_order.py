"""Reports in any order and however often: the same money as in order, for sessions and floats.

The same means: what is seen, what is confirmed, whether the payment is complete, what the books
hold of receipts. Not the same: the fee of a payment that was paid in parts may be taken on
another total, because it is of what was there when the payment first completed.
"""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.deciders import REFUND_FLOAT, float_id
from domain import events as e
from domain.money import fee_on
from domain.payment import PaymentSession
from tests.application.desk import Desk
from tests.domain.machine import histories
from tests.examples import (
    ASSET,
    MERCHANT_ID,
    PAYER,
    RECEIVING,
    WALLET,
    block_hash,
    sighting,
    usd,
)

Step = tuple[str, e.Sighting]  # what is reported of which sighting
TO = "0x" + "0" * 39 + "1"  # the address of session 1
UNITS = ("4.00", "6.00", "11.00")
STORIES = st.lists(
    st.tuples(
        st.sampled_from("ab"),  # the block
        st.sampled_from((("observed",), ("observed", "confirmed"), ("confirmed",))),
        st.booleans(),  # is it lost then
    ),
    min_size=1,
    max_size=3,
)


@dataclass(frozen=True)
class Told:
    steps: tuple[Step, ...]  # numbered from 1
    order: tuple[int, ...]  # each at least once


@st.composite
def told(draw: st.DrawFn, recipient: str) -> Told:
    lives: list[list[Step]] = []
    for which in range(draw(st.integers(1, 3))):
        life: list[Step] = []
        for branch, kinds, lost in draw(STORIES):
            seen = sighting(
                usd(UNITS[which]),
                tx=f"{which:02x}",
                recipient=recipient,
                number=100 + "ab".index(branch),
                branch=branch,
            )
            life.extend((kind, seen) for kind in (*kinds, *(("retracted",) if lost else ())))
        lives.append(life)
    steps: list[Step] = []
    while any(lives):  # of several transfers on one chain, step by step
        steps.append(draw(st.sampled_from([life for life in lives if life])).pop(0))
    extra = draw(st.lists(st.integers(0, len(steps) - 1), max_size=3))
    order = draw(st.permutations([*range(len(steps)), *extra]))
    return Told(tuple(steps), tuple(order))


async def apply(desk: Desk, story: Told, order: tuple[int, ...]) -> None:
    reports = [desk.report(*step, number) for number, step in enumerate(story.steps, 1)]
    for place in order:
        await desk.settlement.apply(reports[place])


async def payment_after(story: Told, order: tuple[int, ...]) -> tuple[PaymentSession, Desk]:
    desk = Desk()
    session = await desk.open(1, own_address=True)
    await apply(desk, story, order)
    return await desk.session(session), desk


@given(told(TO))
@histories()
def test_a_session_ends_with_the_same_money_in_any_order(story: Told) -> None:
    async def check() -> None:
        in_order, _ = await payment_after(story, tuple(range(len(story.steps))))
        as_told, desk = await payment_after(story, story.order)
        assert as_told.seen == in_order.seen
        assert as_told.confirmed == in_order.confirmed
        assert as_told.status == in_order.status
        assert as_told.covered == in_order.covered
        for transfer_id, transfer in in_order.transfers.items():
            if transfer.status in {"observed", "confirmed"}:
                assert as_told.transfers[transfer_id] == transfer
        books = await desk.books()
        assert books.debit("customer_receipts") == in_order.confirmed.units
        assert books.credit("merchant_payable") == in_order.confirmed.units
        if as_told.fee is not None:
            assert fee_on(as_told.due).units <= as_told.fee.units
            assert as_told.fee.units <= fee_on(as_told.confirmed).units
        for _, seen in story.steps:
            known = as_told.transfers.get(seen.transfer_id)
            on_chain = (await desk.transfer(seen)).on_chain
            there = known is not None and known.status in {"observed", "confirmed"}
            assert on_chain == there, "session and transfer tell different stories"

    asyncio.run(check())


@given(told(WALLET))
@histories(1)
def test_a_float_ends_with_the_same_money_in_any_order(story: Told) -> None:
    async def after(order: tuple[int, ...]) -> tuple[int, dict[str, int]]:
        desk = Desk()
        await apply(desk, story, order)
        held = await desk.handler.load(REFUND_FLOAT, float_id(MERCHANT_ID, "test", ASSET))
        return held.available_units if held else 0, (await desk.books()).all()

    async def check() -> None:
        assert await after(tuple(range(len(story.steps)))) == await after(story.order)

    asyncio.run(check())


@given(told(RECEIVING), st.data())
@histories()
def test_a_claim_finds_its_money_wherever_it_falls_among_the_reports(
    story: Told, data: st.DataObject
) -> None:
    moment = data.draw(st.integers(0, len(story.order)))

    async def check() -> None:
        desk = Desk()
        session = await desk.open(1)
        await apply(desk, story, story.order[:moment])
        await desk.claims.prove_payer(session.session_id, PAYER, PAYER)
        await apply(desk, story, story.order[moment:])
        after = await desk.session(session)
        waiting = 0
        for seen in {seen.transfer_id: seen for _, seen in story.steps}.values():
            transfer = await desk.transfer(seen)
            known = after.transfers.get(seen.transfer_id)
            if transfer.on_chain and transfer.purpose == "unmatched":
                assert transfer.verdict == "payer_has_paid", "claimed, and yet in the inbox"
                assert known is None
                waiting += transfer.sighting.amount.units if transfer.status == "confirmed" else 0
            elif transfer.on_chain:
                assert transfer.subject_id == session.session_id
                assert known is not None
                assert known.status == transfer.status
                assert known.block_hash == transfer.sighting.block_hash
            else:
                assert known is None or known.status in {"retracted", "reversed"}
        books = await desk.books()
        assert books.credit("suspense") == waiting
        assert books.debit("customer_receipts") == after.confirmed.units + waiting

    asyncio.run(check())


def at_block(branch: str) -> e.Sighting:
    number = 100 + "ab".index(branch)
    seen = sighting(recipient=TO)
    return seen.model_copy(
        update={"block_number": number, "block_hash": block_hash(number, branch)}
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1), (1, 0, 2)])
async def test_a_block_that_comes_back_is_not_safe_because_it_once_was(
    order: tuple[int, ...],
) -> None:
    """Confirmed, lost, and seen again in the same block: nobody has confirmed it since."""
    steps = (
        ("confirmed", at_block("a")),
        ("retracted", at_block("a")),
        ("observed", at_block("a")),
    )
    session, desk = await payment_after(Told(steps, order), order)
    assert (session.status, session.confirmed.units) == ("confirming", 0)
    assert (await desk.transfer(at_block("a"))).status == "observed"
    assert (await desk.books()).all() == {}
