"""Whose transfer is it? A pure answer, with the reason written beside it.

Shapes  `attribute` takes the sighting, the owner of the address it went to (from the watch
        list) and the session of that owner; it gives an Attribution.
        Ambiguity and surprises go to the inbox, never to a guess.
"""

from typing import Literal
from uuid import UUID

from domain.commands import Attribution
from domain.events import Sighting
from domain.payment import PaymentSession
from domain.values import Value


class AddressOwner(Value):
    """What the watch list knows of a watched address."""

    purpose: Literal["payment_session", "refund_float"]
    subject_id: UUID  # the session, or the merchant for a float
    merchant_id: UUID


def attribute(
    sighting: Sighting, owner: AddressOwner | None, session: PaymentSession | None
) -> Attribution:
    if owner is None:
        return _inbox(None, "nobody has been given this address")
    if owner.purpose == "refund_float":
        return Attribution(
            purpose="refund_float",
            subject_id=owner.merchant_id,
            merchant_id=owner.merchant_id,
            reason="sent to the merchant's refund wallet",
        )
    if session is None:
        return _inbox(owner.merchant_id, "the session of this address is not known")
    why_not = _why_not(sighting, session)
    if why_not is not None:
        return _inbox(owner.merchant_id, why_not)
    return Attribution(
        purpose="payment_session",
        subject_id=session.session_id,
        merchant_id=session.merchant_id,
        reason="sent to the session's own deposit address",
    )


def _why_not(sighting: Sighting, session: PaymentSession) -> str | None:
    if sighting.network != session.network:
        return f"sent on {sighting.network}, the session is paid on {session.network}"
    if sighting.amount.asset != session.due.asset:
        return "another token than the session asks for"
    if session.ended == "cancelled":
        return "the session was cancelled"
    if sighting.block_time >= session.credits_until:
        return "sent after the session's grace period"
    return None


def _inbox(merchant_id: UUID | None, reason: str) -> Attribution:
    return Attribution(
        purpose="unmatched", subject_id=None, merchant_id=merchant_id, reason=reason
    )
