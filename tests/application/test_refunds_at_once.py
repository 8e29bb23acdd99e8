"""Refunds asked for at the same time: never more than arrived, never more than is there."""

import asyncio

import pytest

from application.deciders import REFUND_FLOAT, float_id, transfer_stream_id
from domain import events as e
from domain.errors import RefundDestinationNeeded, RefundFloatTooSmall, Refusal
from domain.payment import PaymentSession
from domain.refund import Refund
from tests.application.desk import CALLER, Desk, at_wallet
from tests.examples import ASSET, MERCHANT_ID, PAYER, sighting, usd

OTHER = "0x" + "fe" * 20


async def paid(desk: Desk, number: int, units: str = "10.00") -> PaymentSession:
    session = await desk.open(number, own_address=True)
    seen = sighting(usd(units), tx=f"{number:02x}", recipient=session.deposit_address)
    await desk.pay(seen)
    return session


async def ask(
    desk: Desk, session: PaymentSession, amount: str | None, to: str | None = None
) -> Refund:
    return await desk.refunds.request(
        session.session_id, amount, None, to, CALLER, None, lambda _: (201, b"")
    )


@pytest.mark.parametrize("seed", range(40))
async def test_of_many_refunds_at_once_no_more_goes_back_than_arrived(seed: int) -> None:
    desk = Desk(seed)
    await desk.merchant()
    session = await paid(desk, 1)
    done = await asyncio.gather(
        *(ask(desk, session, amount) for amount in ("4.00", "4.00", "4.00", None, "0.000001")),
        return_exceptions=True,
    )
    assert all(isinstance(each, Refund | Refusal) for each in done)
    reserved = [recorded.event for recorded in await desk.facts(e.PaymentRefundReserved)]
    total = sum(dict(event)["amount"].units for event in reserved)
    assert 0 < total <= session.due.units
    after = await desk.session(session)
    assert after.refundable.units == session.due.units - total
    assert len(reserved) == sum(isinstance(each, Refund) for each in done)
    held = await desk.handler.load(REFUND_FLOAT, float_id(MERCHANT_ID, "test", ASSET))
    assert held is not None
    assert sum(amount.units for amount in held.reserved.values()) == total


@pytest.mark.parametrize("seed", range(40))
async def test_refunds_of_sessions_and_of_the_inbox_share_one_float(seed: int) -> None:
    desk = Desk(seed)
    await desk.merchant()  # holds 100.00
    one, two, lost = await paid(desk, 1, "60.00"), await paid(desk, 2, "60.00"), at_wallet("60.00")
    await desk.pay(lost)
    stream = transfer_stream_id(lost.transfer_id)
    done = await asyncio.gather(
        ask(desk, one, None),
        ask(desk, two, None),
        desk.refunds.request_for_transfer(
            stream, "twice", None, CALLER, None, lambda _: (201, b"")
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Refund) for each in done) == 1
    refused = [each for each in done if not isinstance(each, Refund)]
    assert all(isinstance(each, RefundFloatTooSmall) for each in refused)
    books = await desk.books()
    assert books.credit("refunds_pending") == 60_000_000
    assert books.credit("refund_float") == 40_000_000


async def test_where_two_wallets_paid_the_merchant_says_who_gets_the_money() -> None:
    desk = Desk()
    await desk.merchant()
    session = await desk.open(1, own_address=True)
    for tx, sender in (("21", PAYER), ("22", OTHER)):
        await desk.pay(
            sighting(usd("5.00"), tx=tx, recipient=session.deposit_address, sender=sender)
        )
    with pytest.raises(RefundDestinationNeeded) as refused:
        await ask(desk, session, None)
    assert refused.value.at_field == "to_address"
    assert (await ask(desk, session, None, OTHER)).destination == OTHER
