"""The inbox: what a merchant may decide, once; and what is not the merchant's to decide."""

import asyncio
from uuid import UUID

import pytest

from application.callers import Caller
from application.deciders import REFUND_FLOAT, float_id, transfer_stream_id
from domain import events as e
from domain.errors import (
    ReasonMissing,
    RefundNotPossible,
    Refusal,
    SessionUnknown,
    TransferDoesNotFit,
    TransferNotConfirmed,
    TransferNotOnChain,
    TransferNotUnmatched,
    TransferUnknown,
)
from domain.networks import POLYGON
from domain.refund import Refund
from tests.application.desk import CALLER, STRANGER, Desk, at_wallet, in_mode
from tests.examples import ASSET, DEPOSIT, MERCHANT_ID, OTHER_ASSET, PAYER, sighting, usd

SEEN = at_wallet()
STREAM = transfer_stream_id(SEEN.transfer_id)
TEN = SEEN.amount.units


async def waiting(seed: int = 0) -> Desk:
    desk = Desk(seed)
    await desk.merchant()
    await desk.pay(SEEN)
    return desk


async def give_back(desk: Desk, to: str | None = None, reason: str = "paid twice") -> Refund:
    return await desk.refunds.request_for_transfer(
        STREAM, reason, to, CALLER, None, lambda _: (201, b"")
    )


async def test_what_waits_is_in_suspense_and_leaves_it_by_each_decision() -> None:
    for decide, said, kept in (("accept", "accepted", TEN), ("dismiss", "dismissed", 0)):
        desk = await waiting()
        assert (await desk.books()).credit("suspense") == TEN
        transfer = await getattr(desk.inbox, decide)(STREAM, " a tip ", CALLER)
        assert transfer.resolution == said
        books = await desk.books()
        assert books.credit("suspense") == 0
        assert books.debit("customer_receipts") == books.credit("merchant_payable") == kept
        assert await desk.inbox.find(STREAM, CALLER) == transfer


async def test_a_decision_says_who_made_it_and_why() -> None:
    desk = await waiting()
    await desk.inbox.accept(STREAM, "a tip", CALLER)
    (fact,) = await desk.facts(e.OnchainTransferAccepted)
    assert isinstance(fact.event, e.OnchainTransferAccepted)
    assert (fact.context.actor, fact.event.reason) == (CALLER.actor, "a tip")


@pytest.mark.parametrize("closed", [False, True])
async def test_assigning_credits_the_session_even_a_closed_one(*, closed: bool) -> None:
    desk = await waiting()
    session = await desk.open(1, own_address=True)
    if closed:
        await desk.cancel(session)
    transfer = await desk.inbox.assign(STREAM, session.session_id, "the customer called", CALLER)
    assert (transfer.verdict, transfer.reason) == ("assigned_by_person", "the customer called")
    after = await desk.session(session)
    assert (after.status, after.confirmed) == ("completed", SEEN.amount)
    books = await desk.books()
    assert (books.credit("suspense"), books.credit("merchant_payable")) == (0, TEN)
    again = await desk.inbox.assign(STREAM, session.session_id, "again", CALLER)
    assert again == transfer
    assert (await desk.session(session)) == after


async def test_what_was_assigned_before_it_was_safe_is_confirmed_for_the_session() -> None:
    desk = Desk()
    session = await desk.open(1, own_address=True)
    await desk.tell("observed", SEEN)
    await desk.inbox.assign(STREAM, session.session_id, "the customer called", CALLER)
    assert (await desk.session(session)).status == "confirming"
    await desk.tell("confirmed", SEEN)
    assert (await desk.session(session)).status == "completed"
    assert (await desk.books()).credit("suspense") == 0


async def test_assigning_again_what_a_reorg_has_taken_credits_nothing() -> None:
    desk = await waiting()
    session = await desk.open(1, own_address=True)
    await desk.inbox.assign(STREAM, session.session_id, "the customer called", CALLER)
    await desk.tell("retracted", SEEN)
    await desk.inbox.assign(STREAM, session.session_id, "the customer called", CALLER)
    after = await desk.session(session)
    assert (after.seen.units, after.status, after.covered) == (0, "pending", False)


# ---------------------------------------------------------------- refunds of the inbox


async def test_a_refund_of_the_inbox_sets_all_of_it_aside_for_the_sender() -> None:
    desk = await waiting()
    refund = await give_back(desk)
    assert (refund.transfer_id, refund.session_id) == (SEEN.transfer_id, None)
    assert (refund.amount, refund.destination) == (SEEN.amount, PAYER)
    held = await desk.handler.load(REFUND_FLOAT, float_id(MERCHANT_ID, "test", ASSET))
    assert held is not None
    assert held.reserved == {refund.refund_id: SEEN.amount}
    assert (await desk.transfer(SEEN)).resolution == "refunding"
    assert (await desk.books()).credit("suspense") == TEN
    with pytest.raises(TransferNotUnmatched, match="it is being refunded already"):
        await give_back(desk)


async def test_a_refund_of_the_inbox_that_cannot_be_paid_is_refused_and_nothing_changes() -> None:
    desk = Desk()
    await desk.merchant()
    await desk.tell("observed", SEEN)
    with pytest.raises(TransferNotConfirmed):
        await give_back(desk)
    await desk.tell("confirmed", SEEN)
    head = await desk.store.head()
    with pytest.raises(ReasonMissing):
        await give_back(desk, reason=" ")
    bridged = POLYGON.tokens[2]
    odd = at_wallet(tx="22").model_copy(
        update={
            "network": "polygon",
            "token": bridged.address,
            "amount": usd("10.00", POLYGON.asset(bridged)),
        }
    )
    assert await desk.store.head() == head
    await desk.pay(odd)
    with pytest.raises(TransferUnknown):
        await desk.refunds.request_for_transfer(
            transfer_stream_id(odd.transfer_id), "r", None, CALLER, None, lambda _: (201, b"")
        )
    with pytest.raises(RefundNotPossible, match=r"USDC\.e is not paid by the refund wallet"):
        await desk.refunds.request_for_transfer(
            transfer_stream_id(odd.transfer_id),
            "r",
            None,
            in_mode("live"),
            None,
            lambda _: (201, b""),
        )


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("caller", [STRANGER, in_mode("live")], ids=["stranger", "other mode"])
async def test_another_merchants_transfer_is_as_unknown_as_none(caller: Caller) -> None:
    desk = await waiting()
    session = await desk.open(1)
    for stream_id in (STREAM, UUID(int=404)):
        who = caller if stream_id == STREAM else CALLER
        with pytest.raises(TransferUnknown):
            await desk.inbox.find(stream_id, who)
        with pytest.raises(TransferUnknown):
            await desk.inbox.accept(stream_id, "mine", who)
        with pytest.raises(TransferUnknown):
            await desk.inbox.dismiss(stream_id, "mine", who)
        with pytest.raises(TransferUnknown):
            await desk.inbox.assign(stream_id, session.session_id, "mine", who)
        with pytest.raises(TransferUnknown):
            await desk.refunds.request_for_transfer(
                stream_id, "mine", None, who, None, lambda _: (201, b"")
            )


async def test_nobodys_transfer_is_the_operators_alone() -> None:
    desk = Desk()
    stray = sighting(recipient=DEPOSIT)
    await desk.pay(stray)
    with pytest.raises(TransferUnknown):
        await desk.inbox.accept(transfer_stream_id(stray.transfer_id), "mine", CALLER)
    assert (await desk.books()).all() == {}


async def test_a_transfer_is_assigned_only_where_it_fits() -> None:
    desk = await waiting()
    other_token = await desk.open(
        1, due=usd("10.00", OTHER_ASSET), tolerance=usd("0", OTHER_ASSET)
    )
    elsewhere = await desk.open(2, network="polygon")
    with pytest.raises(TransferDoesNotFit, match=r"USDC on local cannot pay .* USDT on local"):
        await desk.inbox.assign(STREAM, other_token.session_id, "r", CALLER)
    with pytest.raises(TransferDoesNotFit, match="USDC on polygon"):
        await desk.inbox.assign(STREAM, elsewhere.session_id, "r", CALLER)
    strangers = await desk.open(3, merchant_id=STRANGER.merchant_id)
    for session_id in (strangers.session_id, UUID(int=404)):
        with pytest.raises(SessionUnknown) as refused:
            await desk.inbox.assign(STREAM, session_id, "r", CALLER)
        assert refused.value.at_field == "payment_session_id"
    assert (await desk.transfer(SEEN)).waits


async def test_what_is_decided_or_gone_stays_so() -> None:
    desk = await waiting()
    one, two = await desk.open(1), await desk.open(2)
    with pytest.raises(ReasonMissing):
        await desk.inbox.accept(STREAM, "  ", CALLER)
    await desk.tell("retracted", SEEN)
    with pytest.raises(TransferNotOnChain):
        await desk.inbox.accept(STREAM, "a tip", CALLER)
    await desk.tell("observed", SEEN)
    await desk.inbox.assign(STREAM, one.session_id, "r", CALLER)
    with pytest.raises(TransferNotUnmatched):
        await desk.inbox.assign(STREAM, two.session_id, "r", CALLER)
    with pytest.raises(TransferNotUnmatched):
        await desk.inbox.dismiss(STREAM, "r", CALLER)


# ---------------------------------------------------------------- at the same time


@pytest.mark.parametrize("seed", range(60))
async def test_of_all_decisions_at_once_one_is_made(seed: int) -> None:
    desk = await waiting(seed)
    one, two = await desk.open(1), await desk.open(2)
    done = await asyncio.gather(
        desk.inbox.accept(STREAM, "a tip", CALLER),
        desk.inbox.dismiss(STREAM, "ours", CALLER),
        desk.inbox.assign(STREAM, one.session_id, "r", CALLER),
        desk.inbox.assign(STREAM, two.session_id, "r", CALLER),
        give_back(desk),
        give_back(desk),
        return_exceptions=True,
    )
    made = [each for each in done if not isinstance(each, BaseException)]
    assert len(made) == 1
    assert all(isinstance(each, Refusal) for each in done if isinstance(each, BaseException))
    books = await desk.books()
    refunding = (await desk.transfer(SEEN)).resolution == "refunding"
    assert books.credit("suspense") == (TEN if refunding else 0)
