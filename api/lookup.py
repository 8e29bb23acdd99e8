"""Finding what a caller owns. What is somebody else's, or of the other mode, does not exist.

Shapes  reads come from the views; what a view does not have yet is folded from the log, so that
        whoever created something can read it at once.
Errors  the same refusal for malformed ids, unknown ones and those of other tenants.
"""

from uuid import UUID

from api.services import ApiServices
from api.views import DELIVERY, REFUND, SESSION, TRANSFER
from application.callers import Caller
from application.deciders import REFUND as REFUND_DECIDER
from application.instructions import awaits_blocks
from application.reads import DeliveryRow, is_read_late
from domain.errors import (
    DeliveryUnknown,
    PublicIdMalformed,
    RefundUnknown,
    SessionUnknown,
    TransferUnknown,
)
from domain.payment import PaymentSession
from domain.refund import Refund
from domain.values import parse_public_id


def session_id_of(text: str) -> UUID:
    try:
        return parse_public_id(SESSION, text)
    except PublicIdMalformed as error:
        raise SessionUnknown("there is no such payment session") from error


def refund_id_of(text: str) -> UUID:
    try:
        return parse_public_id(REFUND, text)
    except PublicIdMalformed as error:
        raise RefundUnknown("there is no such refund") from error


def delivery_id_of(text: str) -> UUID:
    try:
        return parse_public_id(DELIVERY, text)
    except PublicIdMalformed as error:
        raise DeliveryUnknown("there is no such webhook delivery") from error


def transfer_id_of(text: str) -> UUID:
    try:
        return parse_public_id(TRANSFER, text)
    except PublicIdMalformed as error:
        raise TransferUnknown("there is no such transfer") from error


async def find_session(gateway: ApiServices, who: Caller, text: str) -> PaymentSession:
    session_id = session_id_of(text)
    row = await gateway.session_reads.find(session_id)
    if row is None:
        return await gateway.sessions.find(session_id, who)
    if not _owns(who, row.session):
        raise SessionUnknown("there is no such payment session")
    return row.session


async def find_refund(gateway: ApiServices, who: Caller, text: str) -> Refund:
    refund_id = refund_id_of(text)
    row = await gateway.refund_reads.find(refund_id)
    if row is None:
        refund = await gateway.handler.load(REFUND_DECIDER, refund_id)
    else:
        refund = row.refund
    if refund is None or not _owns(who, refund):
        raise RefundUnknown("there is no such refund")
    return refund


async def find_delivery(gateway: ApiServices, who: Caller, text: str) -> DeliveryRow:
    row = await gateway.delivery_reads.find(delivery_id_of(text))
    if row is None or (row.delivery.merchant_id, row.delivery.mode) != (who.merchant_id, who.mode):
        raise DeliveryUnknown("there is no such webhook delivery")
    return row


async def head_for(gateway: ApiServices, session: PaymentSession) -> int | None:
    return await gateway.heads.head(session.network) if awaits_blocks(session) else None


async def pending_of(gateway: ApiServices, *networks: str) -> frozenset[str]:
    """Those whose blocks are read or confirmed late at the moment."""
    now = gateway.clock.now()
    found = {name: await is_read_late(gateway.heads, name, now) for name in set(networks)}
    return frozenset(name for name, late in found.items() if late)


def _owns(who: Caller, what: PaymentSession | Refund) -> bool:
    return (what.merchant_id, what.mode) == (who.merchant_id, who.mode)
