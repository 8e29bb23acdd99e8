"""Commands in one word, and books that are kept by hand: for tests of the core."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.money import Amount
from tests.examples import (
    CREATED,
    LATER,
    MERCHANT_ID,
    PAYER,
    RECEIVING,
    REFUND_ID,
    SEEN,
    SESSION_ID,
)

PAID_BY = "0x" + "22" * 32  # the transaction of a refund
AT_WALLET = CREATED.model_copy(
    update={"pay_by": "merchant_wallet", "deposit_address": RECEIVING, "deposit_index": None}
)

# ---------------------------------------------------------------- payment session


def observe(seen: e.Sighting = SEEN) -> c.ObserveTransfer:
    return c.ObserveTransfer(at=LATER, sighting=seen)


def confirm(seen: e.Sighting = SEEN) -> c.ConfirmTransfer:
    return c.ConfirmTransfer(
        at=LATER,
        transfer_id=seen.transfer_id,
        block_hash=seen.block_hash,
        confirmations=3,
        policy_version=1,
        rule="3 confirmations",
    )


def retract(seen: e.Sighting = SEEN) -> c.RetractTransfer:
    return c.RetractTransfer(at=LATER, transfer_id=seen.transfer_id, block_hash=seen.block_hash)


def reserve(amount: Amount, refund_id: UUID = REFUND_ID) -> c.ReserveRefund:
    return c.ReserveRefund(at=LATER, refund_id=refund_id, amount=amount)


def release(refund_id: UUID = REFUND_ID) -> c.ReleaseRefund:
    return c.ReleaseRefund(at=LATER, refund_id=refund_id, reason="recipient is frozen")


def settle(refund_id: UUID = REFUND_ID) -> c.SettleRefund:
    return c.SettleRefund(at=LATER, refund_id=refund_id, tx_hash=PAID_BY)


def unsettle(refund_id: UUID = REFUND_ID) -> c.UnsettleRefund:
    return c.UnsettleRefund(at=LATER, refund_id=refund_id, tx_hash=PAID_BY)


def prove(payer: str = PAYER, at: datetime = LATER) -> c.ProvePayer:
    return c.ProvePayer(at=at, payer=payer, scheme="eip191")


def announce(tx_hash: str = SEEN.tx_hash, at: datetime = LATER) -> c.AnnounceTransaction:
    return c.AnnounceTransaction(at=at, tx_hash=tx_hash)


def sighted(seen: e.Sighting = SEEN, *, late: bool = False) -> e.TransferObserved:
    return e.TransferObserved(
        at=LATER,
        transfer_id=seen.transfer_id,
        amount=seen.amount,
        payer=seen.sender,
        tx_hash=seen.tx_hash,
        block_number=seen.block_number,
        block_hash=seen.block_hash,
        block_time=seen.block_time,
        late=late,
    )


# ---------------------------------------------------------------- transfer on chain

OURS = c.Attribution(
    purpose="payment_session",
    subject_id=SESSION_ID,
    merchant_id=MERCHANT_ID,
    verdict="deposit_address",
    reason="sent to the session's own deposit address",
)
WAITING = c.Attribution(
    purpose="unmatched",
    subject_id=None,
    merchant_id=MERCHANT_ID,
    verdict="unknown_sender",
    reason="sent to the merchant's wallet by somebody no session knows",
)
NOBODYS = c.Attribution(
    purpose="unmatched",
    subject_id=None,
    merchant_id=None,
    verdict="unknown_address",
    reason="nobody has been given this address",
)


def reported(
    kind: str, number: int, seen: e.Sighting = SEEN, whose: c.Attribution = OURS
) -> c.TransferReportCommand:
    match kind:
        case "observed":
            return c.ReportObserved(
                at=LATER, report_number=number, sighting=seen, attribution=whose
            )
        case "retracted":
            return c.ReportRetracted(
                at=LATER, report_number=number, sighting=seen, attribution=whose
            )
    assert kind == "confirmed"
    return c.ReportConfirmed(
        at=LATER,
        report_number=number,
        sighting=seen,
        attribution=whose,
        confirmations=3,
        policy_version=2,
        rule="3 confirmations",
    )


# ---------------------------------------------------------------- books


class Books:
    """Debits less credits of every account, by kind, and that none of it was made up."""

    def __init__(self) -> None:
        self._units: dict[tuple[str, str], int] = {}

    def post(self, postings: Iterable[e.Posting]) -> None:
        for posting in postings:
            assert posting.amount.units > 0, "a posting of nothing"
            assert posting.debit != posting.credit
            self._add(posting.debit, posting.amount, posting.amount.units)
            self._add(posting.credit, posting.amount, -posting.amount.units)

    def _add(self, account: str, amount: Amount, units: int) -> None:
        kind, _, merchant = account.partition(":")
        assert merchant == MERCHANT_ID.hex
        key = (kind, amount.asset)
        self._units[key] = self._units.get(key, 0) + units

    def debit(self, kind: str) -> int:
        return sum(units for (name, _), units in self._units.items() if name == kind)

    def credit(self, kind: str) -> int:
        return -self.debit(kind)

    def balance(self) -> bool:
        assets = {asset for _, asset in self._units}
        return all(
            sum(units for (_, own), units in self._units.items() if own == asset) == 0
            for asset in assets
        )

    def all(self) -> dict[str, int]:
        """Accounts that are not empty."""
        return {kind: units for (kind, _), units in sorted(self._units.items()) if units}
