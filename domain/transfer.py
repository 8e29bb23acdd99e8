"""A token transfer on chain: sighted, attributed once for ever, confirmed, perhaps retracted.

Shapes  One stream per transfer id, so no transfer can be credited twice. Reports carry the
        ingester's number: the newest one tells the whole truth about a transfer, so an older
        one that arrives late, or twice, adds nothing.
Errors  none: a report of the chain is recorded, or already known.
"""

from typing import Literal, assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.values import Value


class OnchainTransfer(Value):
    sighting: e.Sighting
    report_number: int
    status: Literal["observed", "confirmed", "retracted", "reversed"]
    purpose: Literal["payment_session", "refund_float", "unmatched"] | None = None
    subject_id: UUID | None = None
    merchant_id: UUID | None = None
    reason: str = ""


def decide(command: c.TransferCommand, transfer: OnchainTransfer | None) -> tuple[e.Event, ...]:
    if transfer is not None and command.report_number <= transfer.report_number:
        return ()
    match command:
        case c.ReportObserved():
            return _observed(command, transfer)
        case c.ReportConfirmed():
            return _confirmed(command, transfer)
        case c.ReportRetracted():
            return _retracted(command, transfer)
        case _:
            assert_never(command)


def _observed(
    command: c.ReportObserved | c.ReportConfirmed | c.ReportRetracted,
    transfer: OnchainTransfer | None,
) -> tuple[e.Event, ...]:
    observed = e.OnchainTransferObserved(
        at=command.at, report_number=command.report_number, sighting=command.sighting
    )
    if transfer is None:
        return (observed, _attributed(command))
    return (*_lost(command, transfer), observed)


def _lost(
    command: c.ReportObserved | c.ReportConfirmed | c.ReportRetracted, transfer: OnchainTransfer
) -> tuple[e.Event, ...]:
    """Confirmed, and now only seen: the report of its loss was overtaken, so it is recorded here.

    Also in the same block, which can leave the chain and come back.
    """
    if transfer.status != "confirmed":
        return ()
    return (
        e.OnchainTransferReversed(
            at=command.at,
            report_number=transfer.report_number,
            transfer_id=command.sighting.transfer_id,
            block_hash=transfer.sighting.block_hash,
        ),
    )


def _attributed(
    command: c.ReportObserved | c.ReportConfirmed | c.ReportRetracted,
) -> e.Event:
    whose = command.attribution
    transfer_id = command.sighting.transfer_id
    if whose.purpose == "unmatched":
        return e.OnchainTransferUnmatched(
            at=command.at,
            transfer_id=transfer_id,
            merchant_id=whose.merchant_id,
            reason=whose.reason,
        )
    assert whose.subject_id is not None
    assert whose.merchant_id is not None
    return e.OnchainTransferAssigned(
        at=command.at,
        transfer_id=transfer_id,
        purpose="payment_session" if whose.purpose == "payment_session" else "refund_float",
        subject_id=whose.subject_id,
        merchant_id=whose.merchant_id,
        reason=whose.reason,
    )


def _confirmed(
    command: c.ReportConfirmed, transfer: OnchainTransfer | None
) -> tuple[e.Event, ...]:
    """Confirmed without having been seen there before means its observation is still on the way."""
    sighting = command.sighting
    seen_there = (
        transfer is not None
        and transfer.status == "observed"
        and transfer.sighting.same_place(sighting)
    )
    before = () if seen_there else _observed(command, transfer)
    confirmed = e.OnchainTransferConfirmed(
        at=command.at,
        report_number=command.report_number,
        transfer_id=sighting.transfer_id,
        block_hash=sighting.block_hash,
        confirmations=command.confirmations,
        policy_version=command.policy_version,
    )
    return (*before, confirmed)


def _retracted(
    command: c.ReportRetracted, transfer: OnchainTransfer | None
) -> tuple[e.Event, ...]:
    before = _observed(command, transfer) if transfer is None else ()
    confirmed = transfer is not None and transfer.status == "confirmed"
    kind = e.OnchainTransferReversed if confirmed else e.OnchainTransferRetracted
    gone = kind(
        at=command.at,
        report_number=command.report_number,
        transfer_id=command.sighting.transfer_id,
        block_hash=(transfer.sighting if transfer else command.sighting).block_hash,
    )
    return (*before, gone)


def evolve(transfer: OnchainTransfer | None, event: e.Event) -> OnchainTransfer:
    if isinstance(event, e.OnchainTransferObserved):
        if transfer is None:
            return OnchainTransfer(
                sighting=event.sighting, report_number=event.report_number, status="observed"
            )
        return transfer.model_copy(
            update={
                "sighting": event.sighting,
                "report_number": event.report_number,
                "status": "observed",
            }
        )
    assert transfer is not None, f"{event.name} before the transfer was observed"
    match event:
        case e.OnchainTransferAssigned():
            return transfer.model_copy(
                update={
                    "purpose": event.purpose,
                    "subject_id": event.subject_id,
                    "merchant_id": event.merchant_id,
                    "reason": event.reason,
                }
            )
        case e.OnchainTransferUnmatched():
            return transfer.model_copy(
                update={
                    "purpose": "unmatched",
                    "merchant_id": event.merchant_id,
                    "reason": event.reason,
                }
            )
        case e.OnchainTransferConfirmed():
            return _moved(transfer, event.report_number, "confirmed")
        case e.OnchainTransferRetracted():
            return _moved(transfer, event.report_number, "retracted")
        case e.OnchainTransferReversed():
            return _moved(transfer, event.report_number, "reversed")
        case _:
            raise AssertionError(f"{event.name} is no event of a transfer")


def _moved(transfer: OnchainTransfer, report_number: int, status: str) -> OnchainTransfer:
    return transfer.model_copy(update={"report_number": report_number, "status": status})
