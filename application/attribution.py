"""Whose a transfer is: gathers what speaks for whom, and lets domain/matching.py judge.

Shapes  Used at the first sighting, and again for what waits in the inbox when somebody makes a
        claim that fits it. `credit` moves a transfer from the inbox to a session.
Errors  none of its own.
"""

from uuid import UUID

from application.deciders import (
    CLAIM,
    PAYMENT,
    TRANSFER,
    hash_claim_id,
    payer_claim_id,
    transfer_stream_id,
)
from application.handling import UnitOfWork
from domain import commands as c
from domain.events import Sighting
from domain.matching import NOBODY, AddressOwner, Candidates, attribute
from domain.networks import NetworkBook
from domain.payment import PaymentSession

CANDIDATES_MAX = 64  # of one piece of evidence, the newest; more than one is ambiguous anyway


def claim_ids(sighting: Sighting) -> tuple[UUID, UUID]:
    """The streams of both pieces of evidence a transfer to a shared wallet comes with."""
    place = (sighting.network, sighting.recipient)
    return payer_claim_id(*place, sighting.sender), hash_claim_id(*place, sighting.tx_hash)


async def whose(
    unit: UnitOfWork,
    sighting: Sighting,
    owner: AddressOwner | None,
    networks: NetworkBook,
    *,
    safe: bool,
) -> c.Attribution:
    """The verdict on a transfer to an address of `owner`, as the streams stand in this unit."""
    candidates = NOBODY
    if owner is not None and owner.purpose == "payment_session":
        session = await unit.load(PAYMENT, owner.subject_id)
        candidates = Candidates(deposit=session)
    elif owner is not None and owner.purpose == "merchant_wallet":
        by_payer, by_hash = claim_ids(sighting)
        candidates = Candidates(
            by_payer=await _awaiting(unit, by_payer, sighting),
            by_hash=await _awaiting(unit, by_hash, sighting),
        )
    return attribute(sighting, owner, candidates, networks, safe=safe)


async def _awaiting(
    unit: UnitOfWork, claim_id: UUID, sighting: Sighting
) -> tuple[PaymentSession, ...]:
    claim = await unit.load(CLAIM, claim_id)
    if claim is None:
        return ()
    newest = claim.awaiting(sighting.block_time)[-CANDIDATES_MAX:]
    found: list[PaymentSession] = []
    for session_id in newest:
        session = await unit.load(PAYMENT, session_id)
        found.extend([session] if session is not None else [])
    return tuple(found)


async def note_for_claims(unit: UnitOfWork, sighting: Sighting, report_number: int) -> None:
    """Leave word of an unmatched transfer where a later claim will look.

    Whenever it was looked at in vain: a claim made at the same moment, which has seen the
    transfer as it was before, is refused by the version of this stream and looks again.
    """
    note = c.NoteTransfer(
        at=unit.now, transfer_id=sighting.transfer_id, report_number=report_number
    )
    for claim_id in claim_ids(sighting):
        await unit.decide(CLAIM, claim_id, note)


async def reconsider(
    unit: UnitOfWork, transfer_id: str, verdict: c.Attribution, networks: NetworkBook
) -> None:
    """It waits on, and says what is in the way now."""
    stream_id = transfer_stream_id(transfer_id)
    known = await unit.load(TRANSFER, stream_id)
    assert known is not None, "only what is known is looked at again"
    command = c.ReconsiderTransfer(at=unit.now, attribution=verdict)
    mode = networks.get(known.sighting.network).mode
    await unit.decide(TRANSFER, stream_id, command, mode=mode)


async def credit(
    unit: UnitOfWork, transfer_id: str, command: c.AssignTransfer, networks: NetworkBook
) -> None:
    """Out of the inbox and into the session, with what is known of its safety."""
    stream_id = transfer_stream_id(transfer_id)
    before = await unit.load(TRANSFER, stream_id)
    mode = networks.get(before.sighting.network).mode if before is not None else None
    transfer = await unit.decide(TRANSFER, stream_id, command, mode=mode)
    assert transfer is not None
    if not transfer.on_chain:  # assigned before, and lost since: there is nothing to credit
        return
    observe = c.ObserveTransfer(at=unit.now, sighting=transfer.sighting)
    await unit.decide(PAYMENT, command.session_id, observe)
    if transfer.status == "confirmed":
        confirm = c.ConfirmTransfer(
            at=unit.now,
            transfer_id=transfer_id,
            block_hash=transfer.sighting.block_hash,
            confirmations=transfer.confirmations,
            policy_version=transfer.policy_version,
            rule=transfer.rule,
        )
        await unit.decide(PAYMENT, command.session_id, confirm)
