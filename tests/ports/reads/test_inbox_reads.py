"""Transfers: what waits, what was decided, and what concerns a session."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.deciders import transfer_stream_id
from application.ports import Stream
from application.reads import TransferQuery
from domain import events as e
from domain import payment
from domain.errors import CursorMalformed
from domain.events import Event, Sighting
from tests.examples import (
    AT,
    CREATED,
    DEPOSIT,
    LATER,
    MERCHANT_ID,
    OTHER_ASSET,
    PAYER,
    RECEIVING,
    SESSION_ID,
    sighting,
    usd,
)
from tests.ports.reads.conftest import Given, example

OTHER_MERCHANT = UUID(int=0xBAD)
QUERY: dict[str, Any] = {"merchant_id": MERCHANT_ID, "mode": "test"}


def unmatched(seen: Sighting, **changes: Any) -> tuple[Event, ...]:
    nobodys = example(e.OnchainTransferUnmatched).model_copy(
        update={
            "transfer_id": seen.transfer_id,
            "merchant_id": MERCHANT_ID,
            "verdict": "unknown_sender",
            **changes,
        }
    )
    return (e.OnchainTransferObserved(at=LATER, report_number=1, sighting=seen), nobodys)


def of(kind: type[Event], seen: Sighting, **changes: Any) -> Any:
    update = {"transfer_id": seen.transfer_id, **changes}
    return example(kind).model_copy(update=update)


def stream(seen: Sighting) -> Stream:
    return Stream("onchain_transfer", transfer_stream_id(seen.transfer_id))


async def _found(reads: Given, **asked: Any) -> list[str]:
    page = await reads.inbox.page(TransferQuery(**{**QUERY, **asked}))
    return [row.transfer.sighting.tx_hash[2:4] for row in page.items]


async def test_what_waits_is_shown_newest_first_and_the_rest_when_it_is_asked_for(
    reads: Given,
) -> None:
    seen = {tx: sighting(tx=tx) for tx in ("a1", "a2", "a3", "a4", "a5")}
    for one in seen.values():
        await reads.append(stream(one), *unmatched(one))
    decisions: tuple[tuple[str, Event], ...] = (
        ("a1", of(e.OnchainTransferAccepted, seen["a1"])),
        ("a2", of(e.OnchainTransferDismissed, seen["a2"])),
        ("a3", of(e.OnchainTransferRefundReserved, seen["a3"])),
    )
    for tx, decided in decisions:
        await reads.append(stream(seen[tx]), decided, after=2)
    gone = of(e.OnchainTransferRetracted, seen["a4"])
    await reads.append(stream(seen["a4"]), gone, after=2)
    mine = sighting(tx="a6")
    assigned = of(e.OnchainTransferAssigned, mine)
    await reads.append(stream(mine), *unmatched(mine), assigned)
    assert await _found(reads) == ["a5"]
    assert await _found(reads, everything=True) == ["a6", "a5", "a4", "a3", "a2", "a1"]
    assert await _found(reads, resolution="open") == ["a5", "a4"]
    assert await _found(reads, resolution="accepted") == ["a1"]
    assert await _found(reads, resolution="dismissed") == ["a2"]
    assert await _found(reads, resolution="refunding") == ["a3"]
    assert [row.transfer.sighting.tx_hash[2:4] for row in await reads.inbox.newest(10)] == ["a5"]
    refunded = of(e.OnchainTransferRefunded, seen["a3"])
    position = await reads.append(stream(seen["a3"]), refunded, after=3)
    assert await _found(reads, resolution="refunding") == []
    (row,) = (
        await reads.inbox.page(TransferQuery(MERCHANT_ID, "test", resolution="refunded"))
    ).items
    assert (row.version, row.position, row.transfer.refund_id) == (4, position, refunded.refund_id)
    undone = of(e.OnchainTransferRefundReversed, seen["a3"])
    released = of(e.OnchainTransferRefundReleased, seen["a3"])
    await reads.append(stream(seen["a3"]), undone, released, after=4)
    assert await _found(reads) == ["a5", "a3"]


async def test_transfers_are_filtered_and_paged(reads: Given) -> None:
    usdt = sighting(usd("5.00", OTHER_ASSET), tx="b2")
    other_sender = sighting(tx="b3", sender="0x" + "0a" * 20)
    other_network = sighting(tx="b4").model_copy(update={"network": "other"})
    for one in (sighting(tx="b1"), usdt, other_sender, other_network):
        await reads.append(stream(one), *unmatched(one))
    for number, merchant_id in enumerate((OTHER_MERCHANT, None)):
        stranger = sighting(tx=f"c{number}")
        await reads.append(stream(stranger), *unmatched(stranger, merchant_id=merchant_id))
    live = sighting(tx="c9").model_copy(update={"network": "real"})
    await reads.append(stream(live), *unmatched(live))
    assert await _found(reads) == ["b4", "b3", "b2", "b1"]
    assert await _found(reads, assets=(OTHER_ASSET,)) == ["b2"]
    assert await _found(reads, assets=()) == []
    assert await _found(reads, sender="0x" + "0a" * 20) == ["b3"]
    assert await _found(reads, tx_hash="0x" + "b1" * 32) == ["b1"]
    assert await _found(reads, network="other") == ["b4"]
    assert await _found(reads, network="nul \x00") == []
    assert await _found(reads, mode="live") == ["c9"]
    assert await _found(reads, merchant_id=OTHER_MERCHANT) == ["c0"]
    everybody = [row.transfer.sighting.tx_hash[2:4] for row in await reads.inbox.newest(3)]
    assert everybody == ["c9", "c1", "c0"]
    first = await reads.inbox.page(TransferQuery(MERCHANT_ID, "test", limit=3))
    assert first.next_cursor is not None
    assert await _found(reads, limit=3, cursor=first.next_cursor) == ["b1"]
    with pytest.raises(CursorMalformed):
        await _found(reads, cursor="nonsense")


async def _concerning(reads: Given, session: payment.PaymentSession, limit: int = 5) -> list[str]:
    rows = await reads.inbox.concerning(session, limit)
    return [row.transfer.sighting.tx_hash[2:4] for row in rows]


async def test_what_concerns_a_session_with_its_own_address_went_there_and_is_nobodys(
    reads: Given,
) -> None:
    session = payment.evolve(None, CREATED)
    wrong, elsewhere = sighting(tx="d1"), sighting(tx="d2", recipient=RECEIVING)
    gone, mine, later = sighting(tx="d3"), sighting(tx="d4"), sighting(tx="d5")
    for one in (wrong, elsewhere, gone, mine, later):
        await reads.append(stream(one), *unmatched(one))
    await reads.append(stream(gone), of(e.OnchainTransferRetracted, gone), after=2)
    taken = of(e.OnchainTransferAssigned, mine)
    await reads.append(stream(mine), taken, after=2)
    await reads.append(stream(wrong), of(e.OnchainTransferAccepted, wrong), after=2)
    stranger = sighting(tx="d6")
    await reads.append(stream(stranger), *unmatched(stranger, merchant_id=OTHER_MERCHANT))
    assert await _concerning(reads, session) == ["d5", "d1"]
    assert await _concerning(reads, session, 1) == ["d5"]


async def test_at_a_shared_wallet_only_its_payers_and_its_transactions_concern_a_session(
    reads: Given,
) -> None:
    shared = CREATED.model_copy(update={"pay_by": "merchant_wallet", "deposit_address": RECEIVING})
    session = payment.evolve(None, shared)
    theirs = sighting(tx="e1", recipient=RECEIVING)
    before = sighting(tx="e2", recipient=RECEIVING, block_time=AT - timedelta(seconds=1))
    named = sighting(tx="e3", recipient=RECEIVING, sender="0x" + "0b" * 20)
    nobodys = sighting(tx="e4", recipient=RECEIVING, sender="0x" + "0b" * 20)
    for one in (theirs, before, named, nobodys):
        await reads.append(stream(one), *unmatched(one))
    assert await _concerning(reads, session) == []
    session = payment.evolve(session, e.PayerProven(at=LATER, payer=PAYER, scheme="eip191"))
    assert await _concerning(reads, session) == ["e1"]
    session = payment.evolve(session, e.TransactionAnnounced(at=LATER, tx_hash=named.tx_hash))
    assert await _concerning(reads, session) == ["e3", "e1"]


async def test_a_merchants_wallet_is_watched_from_when_it_is_set_and_is_no_sessions(
    reads: Given,
) -> None:
    merchant = Stream("merchant", MERCHANT_ID)
    received = example(e.ReceivingAddressSet)
    await reads.append(merchant, example(e.MerchantRegistered), received)
    shared = CREATED.model_copy(update={"pay_by": "merchant_wallet", "deposit_address": RECEIVING})
    await reads.append(Stream("payment_session", SESSION_ID), shared)
    owner = await reads.watch_list.owner_of("local", RECEIVING)
    assert (owner.purpose, owner.subject_id, owner.merchant_id) == (
        "merchant_wallet",
        MERCHANT_ID,
        MERCHANT_ID,
    )
    assert set(await reads.watch_list.addresses("local")) == {RECEIVING}
    moved = received.model_copy(update={"address": DEPOSIT})
    tolerant = example(e.ToleranceSet)
    await reads.append(merchant, moved, tolerant, example(e.ApiKeyCreated), after=2)
    assert set(await reads.watch_list.addresses("local")) == {RECEIVING, DEPOSIT}
    # Nothing of the merchant's stream was left out: its keys still open.
    assert await reads.api_keys.holder(example(e.ApiKeyCreated).key_hash) is not None


async def test_evidence_and_reversed_refunds_are_part_of_a_session(reads: Given) -> None:
    shared = CREATED.model_copy(update={"pay_by": "merchant_wallet", "deposit_address": RECEIVING})
    facts = (
        shared,
        example(e.PayerProven),
        example(e.TransactionAnnounced),
        example(e.PaymentRefundReserved),
        example(e.PaymentRefunded),
        example(e.PaymentRefundReversed),
    )
    await reads.append(Stream("payment_session", SESSION_ID), *facts)
    row = await reads.sessions.find(SESSION_ID)
    assert row is not None
    assert row.version == len(facts)
    assert row.session.proven_payers == (PAYER,)
    assert row.session.announced == (example(e.TransactionAnnounced).tx_hash,)
    assert row.session.refunded.units == 0
