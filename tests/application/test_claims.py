"""Evidence and transfers find each other, whoever comes first, and however they interleave."""

import asyncio

import pytest

from application.callers import Caller
from application.deciders import CLAIM, hash_claim_id, payer_claim_id
from domain import events as e
from domain.errors import (
    AddressMalformed,
    ClaimNotNeeded,
    SessionUnknown,
    SignatureRefused,
    TransactionHashMalformed,
)
from domain.matching import AddressOwner
from domain.payment import PaymentSession
from tests.application.desk import CALLER, STRANGER, Desk, at_wallet, in_mode
from tests.examples import MERCHANT_ID, PAYER, RECEIVING, sighting, usd

OTHER = "0x" + "fe" * 20
SEEDS = range(60)


def signed(payer: str = PAYER) -> str:
    """The twin's wallets sign with their own address."""
    return payer


async def test_a_proven_payers_transfer_pays_its_session() -> None:
    desk = Desk()
    session = await desk.open(1)
    proven = await desk.claims.prove_payer(session.session_id, PAYER, signed(), CALLER)
    assert proven.proven_payers == (PAYER,)
    await desk.pay(at_wallet())
    assert (await desk.session(session)).status == "completed"
    transfer = await desk.transfer(at_wallet())
    assert (transfer.verdict, transfer.subject_id) == ("payer_proven", session.session_id)


async def test_an_announced_transaction_pays_its_session() -> None:
    desk = Desk()
    session = await desk.open(1)
    seen = at_wallet()
    told = await desk.claims.announce(session.session_id, seen.tx_hash.upper().replace("X", "x"))
    assert told.announced == (seen.tx_hash,)
    await desk.pay(seen)
    assert (await desk.transfer(seen)).verdict == "hash_announced"
    assert (await desk.session(session)).status == "completed"


async def test_an_announced_transaction_is_credited_once_it_is_safe_and_not_before() -> None:
    desk = Desk()
    session, seen = await desk.open(1), at_wallet()
    await desk.tell("observed", seen)
    await desk.claims.announce(session.session_id, seen.tx_hash)
    assert (await desk.session(session)).status == "pending"
    await desk.tell("confirmed", seen)
    assert (await desk.session(session)).status == "completed"
    assert (await desk.books()).credit("suspense") == 0


async def test_who_announces_what_another_paid_gets_it_no_more_than_the_other() -> None:
    desk = Desk()
    thief, payer, seen = await desk.open(1), await desk.open(2), at_wallet()
    await desk.tell("observed", seen)
    await desk.claims.announce(thief.session_id, seen.tx_hash)
    await desk.claims.announce(payer.session_id, seen.tx_hash)
    await desk.tell("confirmed", seen)
    assert (await desk.transfer(seen)).purpose == "unmatched"
    assert (await desk.session(thief)).status == "pending"
    await desk.claims.prove_payer(payer.session_id, PAYER, signed())
    assert (await desk.session(payer)).status == "completed"


@pytest.mark.parametrize(("how", "safe"), [("payer", True), ("payer", False), ("hash", True)])
async def test_a_claim_finds_what_has_arrived_before(how: str, *, safe: bool) -> None:
    desk = Desk()
    session, seen = await desk.open(1), at_wallet()
    await desk.tell("observed", seen)
    if safe:
        await desk.tell("confirmed", seen)
        assert (await desk.books()).credit("suspense") == seen.amount.units
    if how == "payer":
        after = await desk.claims.prove_payer(session.session_id, PAYER, signed())
    else:
        after = await desk.claims.announce(session.session_id, seen.tx_hash)
    assert after.status == ("completed" if safe else "confirming")
    transfer = await desk.transfer(seen)
    assert transfer.subject_id == session.session_id
    assert transfer.reason.endswith(", after it had arrived")
    if not safe:
        await desk.tell("confirmed", seen)
    assert (await desk.session(session)).status == "completed"
    books = await desk.books()
    assert (books.credit("suspense"), books.debit("customer_receipts")) == (0, 10_000_000)


async def test_a_claim_finds_a_transfer_that_was_lost_and_comes_back() -> None:
    desk = Desk()
    session, seen = await desk.open(1), at_wallet()
    await desk.pay(seen)
    await desk.tell("retracted", seen)
    await desk.claims.prove_payer(session.session_id, PAYER, signed())
    assert (await desk.session(session)).seen.units == 0
    await desk.pay(seen.model_copy(update={"block_number": 140, "block_hash": "0xbb"}))
    assert (await desk.session(session)).status == "completed"
    assert (await desk.books()).credit("suspense") == 0


async def test_two_who_signed_for_the_same_are_left_to_a_person() -> None:
    desk = Desk()
    one, two = await desk.open(1), await desk.open(2)
    for session in (one, two):
        await desk.claims.prove_payer(session.session_id, PAYER, signed())
    await desk.pay(at_wallet())
    transfer = await desk.transfer(at_wallet())
    assert (transfer.purpose, transfer.verdict) == ("unmatched", "ambiguous_payer")
    assert {(await desk.session(one)).status, (await desk.session(two)).status} == {"pending"}


async def test_a_claim_for_a_closed_session_makes_nothing_ambiguous() -> None:
    desk = Desk()
    one, two = await desk.open(1), await desk.open(2)
    for session in (one, two):
        await desk.claims.prove_payer(session.session_id, PAYER, signed())
    await desk.cancel(one)
    await desk.pay(at_wallet())
    assert (await desk.transfer(at_wallet())).subject_id == two.session_id


async def test_what_is_in_the_way_is_said_anew_when_it_has_changed() -> None:
    desk = Desk()
    one, two, seen = await desk.open(1), await desk.open(2), at_wallet()
    await desk.tell("observed", seen)
    verdicts = [(await desk.transfer(seen)).verdict]
    await desk.claims.announce(one.session_id, seen.tx_hash)
    verdicts.append((await desk.transfer(seen)).verdict)
    await desk.claims.announce(two.session_id, seen.tx_hash)
    verdicts.append((await desk.transfer(seen)).verdict)
    await desk.tell("confirmed", seen)
    verdicts.append((await desk.transfer(seen)).verdict)
    assert verdicts == [
        "unknown_sender",
        "awaits_confirmation",
        "ambiguous_hash",
        "ambiguous_hash",
    ]
    assert len(await desk.facts(e.OnchainTransferUnmatched)) == 3


async def test_the_second_purchase_of_a_returning_customer_is_the_second() -> None:
    desk = Desk()
    first, second = await desk.open(1), await desk.open(2)
    await desk.claims.prove_payer(first.session_id, PAYER, signed())
    await desk.pay(at_wallet())
    again = sighting(tx="77", recipient=RECEIVING)
    await desk.pay(again)
    assert (await desk.transfer(again)).verdict == "payer_has_paid"
    await desk.claims.announce(second.session_id, again.tx_hash)
    assert (await desk.session(first)).exceptions == ()
    assert (await desk.session(second)).status == "completed"


# ---------------------------------------------------------------- refused


async def test_what_is_refused_leaves_no_trace() -> None:
    desk = Desk()
    shared, alone = await desk.open(1), await desk.open(2, own_address=True)
    head = await desk.store.head()
    with pytest.raises(SignatureRefused, match="has not signed the words of this payment"):
        await desk.claims.prove_payer(shared.session_id, PAYER, signed(OTHER))
    for junk in ("0xzz", "0x123", "signature"):
        with pytest.raises(SignatureRefused, match="0x and hex digits"):
            await desk.claims.prove_payer(shared.session_id, PAYER, junk)
    with pytest.raises(AddressMalformed):
        await desk.claims.prove_payer(shared.session_id, "0x12", signed())
    for text in ("", "0x12", "0x" + "g" * 64, "11" * 32, "0x" + "1" * 65):
        with pytest.raises(TransactionHashMalformed):
            await desk.claims.announce(shared.session_id, text)
    with pytest.raises(ClaimNotNeeded):
        await desk.claims.prove_payer(alone.session_id, PAYER, signed())
    with pytest.raises(ClaimNotNeeded):
        await desk.claims.announce(alone.session_id, at_wallet().tx_hash)
    assert await desk.store.head() == head


@pytest.mark.parametrize("caller", [STRANGER, in_mode("live")], ids=["stranger", "other mode"])
async def test_another_merchants_session_is_unknown(caller: Caller) -> None:
    desk = Desk()
    session = await desk.open(1)
    with pytest.raises(SessionUnknown):
        await desk.claims.announce(session.session_id, at_wallet().tx_hash, caller)
    with pytest.raises(SessionUnknown):
        await desk.claims.prove_payer(session.session_id, PAYER, signed(), caller)
    with pytest.raises(SessionUnknown):
        await desk.claims.words_for(session.session_id, caller)


async def test_a_claim_told_twice_is_one_claim() -> None:
    desk = Desk()
    session = await desk.open(1)
    first = await desk.claims.prove_payer(session.session_id, PAYER, signed())
    head = await desk.store.head()
    assert await desk.claims.prove_payer(session.session_id, PAYER, signed()) == first
    assert await desk.store.head() == head


async def test_the_words_name_all_that_the_signature_is_for() -> None:
    desk = Desk()
    words = await desk.claims.words_for((await desk.open(1)).session_id)
    other = await desk.claims.words_for((await desk.open(2)).session_id)
    assert words != other
    for named in ("ps_" + "0" * 31 + "1", "10.00 USDC", "31337", "0x" + "cC" * 20):
        assert named.lower() in words.text.lower()
    assert words.typed_data["domain"] == {
        "name": "Stablecoin Gateway",
        "version": "1",
        "chainId": 31337,
    }


# ---------------------------------------------------------------- at the same time


async def _one_owner(desk: Desk, *sessions: PaymentSession) -> PaymentSession:
    """Whoever got it, exactly one did, and the books agree."""
    seen = at_wallet()
    transfer = await desk.transfer(seen)
    assert transfer.purpose == "payment_session", "it waits although somebody claims it"
    holders = [
        session
        for session in [await desk.session(each) for each in sessions]
        if seen.transfer_id in session.transfers
    ]
    assert [session.session_id for session in holders] == [transfer.subject_id]
    assigned = await desk.facts(e.OnchainTransferAssigned)
    assert len(assigned) == 1
    books = await desk.books()
    safe = transfer.status == "confirmed"
    assert books.credit("suspense") == 0
    assert books.debit("customer_receipts") == (seen.amount.units if safe else 0)
    return holders[0]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_claim_and_a_transfer_cannot_pass_each_other_unseen(seed: int) -> None:
    desk = Desk(seed)
    session, seen = await desk.open(1), at_wallet()
    how = (
        desk.claims.announce(session.session_id, seen.tx_hash)
        if seed % 2
        else desk.claims.prove_payer(session.session_id, PAYER, signed())
    )
    await asyncio.gather(desk.tell("observed", seen), how, desk.tell("confirmed", seen))
    assert (await _one_owner(desk, session)).status == "completed"


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_kinds_of_evidence_at_once_credit_one_session(seed: int) -> None:
    desk = Desk(seed)
    one, two, seen = await desk.open(1), await desk.open(2), at_wallet()
    early = seed % 3 == 0
    if early:
        await desk.pay(seen)
    await asyncio.gather(
        desk.claims.prove_payer(one.session_id, PAYER, signed()),
        desk.claims.announce(two.session_id, seen.tx_hash),
        *(() if early else (desk.tell("observed", seen),)),
    )
    await _one_owner(desk, one, two)


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_claims_of_one_wallet_at_once_never_share_a_transfer(seed: int) -> None:
    """The first is credited, or neither is, because both were there before the transfer."""
    desk = Desk(seed)
    one, two, seen = await desk.open(1), await desk.open(2), at_wallet()
    if seed % 2:
        await desk.tell("observed", seen)
    await asyncio.gather(
        desk.claims.prove_payer(one.session_id, PAYER, signed()),
        desk.claims.prove_payer(two.session_id, PAYER, signed()),
        *(() if seed % 2 else (desk.tell("observed", seen),)),
    )
    await desk.tell("confirmed", seen)
    transfer = await desk.transfer(seen)
    if transfer.purpose == "unmatched":
        assert transfer.verdict == "ambiguous_payer"
        assert (await desk.books()).credit("suspense") == seen.amount.units
    else:
        await _one_owner(desk, one, two)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_claim_and_a_person_never_credit_two_sessions(seed: int) -> None:
    desk = Desk(seed)
    one, two, seen = await desk.open(1), await desk.open(2), at_wallet()
    await desk.pay(seen)
    transfer_id = (await desk.facts(e.OnchainTransferObserved))[0].stream.id
    done = await asyncio.gather(
        desk.claims.prove_payer(one.session_id, PAYER, signed()),
        desk.inbox.assign(transfer_id, two.session_id, "the customer called", CALLER),
        desk.inbox.accept(transfer_id, "a tip", CALLER),
        return_exceptions=True,
    )
    assert not isinstance(done[0], BaseException), "a claim is never refused for another's luck"
    transfer = await desk.transfer(seen)
    books = await desk.books()
    assert books.credit("suspense") == 0
    assert books.debit("customer_receipts") == books.credit("merchant_payable") == 10_000_000
    if transfer.resolution != "accepted":
        await _one_owner(desk, one, two)


async def test_evidence_is_of_one_network_one_wallet_and_one_kind() -> None:
    name = "0x" + "11" * 32
    ids = {
        payer_claim_id("local", RECEIVING, PAYER),
        payer_claim_id("polygon", RECEIVING, PAYER),
        payer_claim_id("local", OTHER, PAYER),
        payer_claim_id("local", RECEIVING, OTHER),
        payer_claim_id("local", RECEIVING, name),
        hash_claim_id("local", RECEIVING, name),
    }
    assert len(ids) == 6
    desk = Desk()
    session = await desk.open(1)
    await desk.claims.prove_payer(session.session_id, PAYER, signed())
    claim = await desk.handler.load(CLAIM, payer_claim_id("local", RECEIVING, PAYER))
    assert claim is not None
    assert claim.sessions == {session.session_id: session.credits_until}
    assert session.due == usd("10.00")


async def test_a_transfer_seen_too_late_is_credited_when_a_reorg_puts_it_back_in_time() -> None:
    desk = Desk()
    session = await desk.open(1, own_address=True)
    late = at_wallet().model_copy(
        update={"recipient": session.deposit_address, "block_time": session.credits_until}
    )
    await desk.tell("observed", late)
    assert (await desk.transfer(late)).verdict == "after_grace"
    in_time = late.model_copy(
        update={
            "block_time": session.expires_at,
            "block_hash": "0x" + "bb" * 32,
        }
    )
    await desk.tell("observed", in_time)
    assert (await desk.session(session)).status == "confirming"
    await desk.tell("confirmed", in_time)
    assert (await desk.session(session)).exceptions == ("paid_late",)
    assert (await desk.books()).credit("suspense") == 0


@pytest.mark.parametrize("purpose", ["merchant_wallet", "refund_float"])
async def test_what_came_before_an_address_was_anybodys_stays_with_a_person(purpose: str) -> None:
    desk = Desk()
    stranger = at_wallet().model_copy(update={"recipient": "0x" + "5e" * 20})
    await desk.tell("observed", stranger)
    assert (await desk.transfer(stranger)).verdict == "unknown_address"
    desk.watched[stranger.recipient] = AddressOwner(
        purpose=purpose,  # type: ignore[arg-type]  # two of the three
        subject_id=MERCHANT_ID,
        merchant_id=MERCHANT_ID,
    )
    await desk.tell("confirmed", stranger)
    transfer = await desk.transfer(stranger)
    assert (transfer.status, transfer.purpose, transfer.merchant_id) == (
        "confirmed",
        "unmatched",
        None,
    )
