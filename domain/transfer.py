"""A token transfer on chain: sighted, attributed once for ever, confirmed, perhaps retracted.

Shapes  One stream per transfer id, so no transfer can be credited twice. Reports carry the
        ingester's number: the newest one tells the whole truth about a transfer, so an older
        one that arrives late, or twice, adds nothing.
        What is nobody's waits in the inbox until a late claim or a person decides: assigned to
        a session, accepted, given back, or dismissed. That is decided once too, but for a
        refund that fails, after which it waits again.
Errors  A report of the chain is recorded, or already known. Decisions of people are refused
        when the transfer is not there (TransferUnknown, TransferNotOnChain), is decided about
        (TransferNotUnmatched), or is not safe yet (TransferNotConfirmed).
"""

from typing import Literal, assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.errors import (
    ReasonMissing,
    TransferNotConfirmed,
    TransferNotOnChain,
    TransferNotUnmatched,
    TransferUnknown,
)
from domain.values import Value

Resolution = Literal["open", "accepted", "dismissed", "refunding", "refunded"]
_DECIDED = {
    "accepted": "it was accepted",
    "dismissed": "it was dismissed",
    "refunding": "it is being refunded",
    "refunded": "it was refunded",
}


class OnchainTransfer(Value):
    sighting: e.Sighting
    report_number: int
    status: Literal["observed", "confirmed", "retracted", "reversed"]
    purpose: Literal["payment_session", "refund_float", "unmatched"] | None = None
    subject_id: UUID | None = None
    merchant_id: UUID | None = None
    verdict: str = ""
    reason: str = ""
    # How it was confirmed: whoever credits it later says so too.
    confirmations: int = 0
    policy_version: int = 0
    rule: str = ""
    # Of an unmatched one: what was decided about it, and the refund under way or paid.
    resolution: Resolution = "open"
    refund_id: UUID | None = None

    @property
    def on_chain(self) -> bool:
        return self.status in {"observed", "confirmed"}

    @property
    def waits(self) -> bool:
        """Whether it is in the inbox, and somebody can decide about it now."""
        return self.purpose == "unmatched" and self.resolution == "open" and self.on_chain


def decide(command: c.TransferCommand, transfer: OnchainTransfer | None) -> tuple[e.Event, ...]:
    if isinstance(command, c.ReportObserved | c.ReportConfirmed | c.ReportRetracted):
        return _report(command, transfer)
    if transfer is None:
        raise TransferUnknown("there is no such transfer")
    match command:
        case c.AssignTransfer():
            return _assign(command, transfer)
        case c.ReconsiderTransfer():
            return _reconsider(command, transfer)
        case c.AcceptTransfer():
            reason = _decidable(command.reason, transfer)
            accepted = e.OnchainTransferAccepted(
                at=command.at, transfer_id=transfer.sighting.transfer_id, reason=reason
            )
            return (accepted,)
        case c.DismissTransfer():
            reason = _decidable(command.reason, transfer)
            dismissed = e.OnchainTransferDismissed(
                at=command.at, transfer_id=transfer.sighting.transfer_id, reason=reason
            )
            return (dismissed,)
        case c.ReserveTransferRefund():
            return _reserve(command, transfer)
        case c.ReleaseTransferRefund() | c.SettleTransferRefund():
            return _end_refund(command, transfer)
        case c.UnsettleTransferRefund():
            return _unsettle(command, transfer)
        case _:
            assert_never(command)


# ---------------------------------------------------------------- decisions of people


def _decidable(reason: str, transfer: OnchainTransfer) -> str:
    """The reason as it is written down; refused where nothing is left to decide."""
    if not reason.strip():
        raise ReasonMissing("say why, in a few words: it is kept with the decision")
    if transfer.purpose != "unmatched":
        raise TransferNotUnmatched(f"it belongs to somebody already: {transfer.reason}")
    if transfer.resolution != "open":
        raise TransferNotUnmatched(f"{_DECIDED[transfer.resolution]} already")
    if not transfer.on_chain:
        raise TransferNotOnChain("a reorg has removed this transfer from the chain")
    return reason.strip()


def _assign(command: c.AssignTransfer, transfer: OnchainTransfer) -> tuple[e.Event, ...]:
    if transfer.purpose == "payment_session" and transfer.subject_id == command.session_id:
        return ()
    reason = _decidable(command.reason, transfer)
    assert transfer.merchant_id is not None, "only a merchant assigns, and only its own"
    return (
        e.OnchainTransferAssigned(
            at=command.at,
            transfer_id=transfer.sighting.transfer_id,
            purpose="payment_session",
            subject_id=command.session_id,
            merchant_id=transfer.merchant_id,
            verdict=command.verdict,
            reason=reason,
        ),
    )


def _reconsider(command: c.ReconsiderTransfer, transfer: OnchainTransfer) -> tuple[e.Event, ...]:
    whose = command.attribution
    news = (whose.verdict, whose.reason) != (transfer.verdict, transfer.reason)
    if not transfer.waits or whose.purpose != "unmatched" or not news:
        return ()
    return (
        e.OnchainTransferUnmatched(
            at=command.at,
            transfer_id=transfer.sighting.transfer_id,
            merchant_id=transfer.merchant_id,
            verdict=whose.verdict,
            reason=whose.reason,
        ),
    )


def _reserve(command: c.ReserveTransferRefund, transfer: OnchainTransfer) -> tuple[e.Event, ...]:
    if transfer.refund_id == command.refund_id and transfer.resolution != "open":
        return ()
    reason = _decidable(command.reason, transfer)
    if transfer.status != "confirmed":
        raise TransferNotConfirmed("it is not confirmed yet; money goes back once it is safe")
    return (
        e.OnchainTransferRefundReserved(
            at=command.at,
            transfer_id=transfer.sighting.transfer_id,
            refund_id=command.refund_id,
            amount=transfer.sighting.amount,
            reason=reason,
        ),
    )


def _end_refund(
    command: c.ReleaseTransferRefund | c.SettleTransferRefund, transfer: OnchainTransfer
) -> tuple[e.Event, ...]:
    if transfer.resolution != "refunding" or transfer.refund_id != command.refund_id:
        return ()
    transfer_id = transfer.sighting.transfer_id
    if isinstance(command, c.ReleaseTransferRefund):
        return (
            e.OnchainTransferRefundReleased(
                at=command.at,
                transfer_id=transfer_id,
                refund_id=command.refund_id,
                reason=command.reason,
            ),
        )
    return (
        e.OnchainTransferRefunded(
            at=command.at,
            transfer_id=transfer_id,
            refund_id=command.refund_id,
            amount=transfer.sighting.amount,
            tx_hash=command.tx_hash,
        ),
    )


def _unsettle(command: c.UnsettleTransferRefund, transfer: OnchainTransfer) -> tuple[e.Event, ...]:
    if transfer.resolution != "refunded" or transfer.refund_id != command.refund_id:
        return ()
    return (
        e.OnchainTransferRefundReversed(
            at=command.at,
            transfer_id=transfer.sighting.transfer_id,
            refund_id=command.refund_id,
            amount=transfer.sighting.amount,
            tx_hash=command.tx_hash,
        ),
    )


# ---------------------------------------------------------------- reports of the chain


def _report(
    command: c.TransferReportCommand, transfer: OnchainTransfer | None
) -> tuple[e.Event, ...]:
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
    command: c.TransferReportCommand, transfer: OnchainTransfer | None
) -> tuple[e.Event, ...]:
    observed = e.OnchainTransferObserved(
        at=command.at, report_number=command.report_number, sighting=command.sighting
    )
    if transfer is None:
        return (observed, _attributed(command))
    return (*_lost(command, transfer), observed)


def _lost(command: c.TransferReportCommand, transfer: OnchainTransfer) -> tuple[e.Event, ...]:
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


def _attributed(command: c.TransferReportCommand) -> e.Event:
    whose = command.attribution
    transfer_id = command.sighting.transfer_id
    if whose.purpose == "unmatched":
        return e.OnchainTransferUnmatched(
            at=command.at,
            transfer_id=transfer_id,
            merchant_id=whose.merchant_id,
            verdict=whose.verdict,
            reason=whose.reason,
        )
    assert whose.subject_id is not None
    assert whose.merchant_id is not None
    return e.OnchainTransferAssigned(
        at=command.at,
        transfer_id=transfer_id,
        purpose=whose.purpose,
        subject_id=whose.subject_id,
        merchant_id=whose.merchant_id,
        verdict=whose.verdict,
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
        rule=command.rule,
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
            return OnchainTransfer.trusted(
                sighting=event.sighting, report_number=event.report_number, status="observed"
            )
        return transfer.changed(
            sighting=event.sighting, report_number=event.report_number, status="observed"
        )
    assert transfer is not None, f"{event.name} before the transfer was observed"
    match event:
        case e.OnchainTransferAssigned():
            return transfer.changed(
                purpose=event.purpose,
                subject_id=event.subject_id,
                merchant_id=event.merchant_id,
                verdict=event.verdict,
                reason=event.reason,
            )
        case e.OnchainTransferUnmatched():
            return transfer.changed(
                purpose="unmatched",
                merchant_id=event.merchant_id,
                verdict=event.verdict,
                reason=event.reason,
            )
        case e.OnchainTransferConfirmed():
            return _moved(transfer, event.report_number, "confirmed").changed(
                confirmations=event.confirmations,
                policy_version=event.policy_version,
                rule=event.rule,
            )
        case e.OnchainTransferRetracted():
            return _moved(transfer, event.report_number, "retracted")
        case e.OnchainTransferReversed():
            return _moved(transfer, event.report_number, "reversed")
        case e.OnchainTransferAccepted():
            return _resolved(transfer, "accepted")
        case e.OnchainTransferDismissed():
            return _resolved(transfer, "dismissed")
        case e.OnchainTransferRefundReserved() | e.OnchainTransferRefundReversed():
            return _resolved(transfer, "refunding", event.refund_id)
        case e.OnchainTransferRefundReleased():
            return _resolved(transfer, "open")
        case e.OnchainTransferRefunded():
            return _resolved(transfer, "refunded", event.refund_id)
        case _:
            raise AssertionError(f"{event.name} is no event of a transfer")


def _resolved(
    transfer: OnchainTransfer, resolution: Resolution, refund_id: UUID | None = None
) -> OnchainTransfer:
    return transfer.changed(resolution=resolution, refund_id=refund_id)


def _moved(transfer: OnchainTransfer, report_number: int, status: str) -> OnchainTransfer:
    return transfer.changed(report_number=report_number, status=status)
