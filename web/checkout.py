"""What the hosted checkout shows: a pure view of a session for the one who pays.

Shapes  `stage` decides the page: pending, partial, confirming, completed, refunded, expired,
        cancelled. Only what a payer may know is in it: no metadata, no reference, no email.
Units   amounts are decimal strings of the token; the QR code asks for what is still missing.
Source  EIP-681 wallets differ: address, network and amount always stand beside the code as text.
"""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import segno

from application.claims import words_of
from application.instructions import (
    Confirmations,
    Instructions,
    WriteAddress,
    confirmations_of,
    instructions_for,
)
from domain.money import decimal_of
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.transfer import OnchainTransfer
from domain.values import public_id
from web.arrivals import Arrival, arrivals_of

Stage = Literal[
    "pending", "partial", "confirming", "completed", "refunded", "expired", "cancelled"
]
STEPS_MAX = 12  # more confirmations than this are shown as one bar
FINAL_STAGES = frozenset({"completed", "refunded", "cancelled"})
PAYABLE_STAGES = frozenset({"pending", "partial"})
AWAITING_STAGES = frozenset({"pending", "partial", "confirming"})
CLAIMABLE_STAGES = frozenset({"pending", "partial", "expired"})


@dataclass(frozen=True, slots=True)
class ToClaim:
    """How the one who pays to a shared wallet says which payment is his."""

    words: str  # for personal_sign: the bytes in hex
    payers: tuple[str, ...]  # wallets that have signed
    announced: tuple[str, ...]  # transactions that are looked for


@dataclass(frozen=True, slots=True)
class Checkout:
    session_id: str
    stage: Stage
    version: int
    merchant: str
    description: str | None
    amount: str
    received: str
    refunded: str
    pay: Instructions  # what is still to be paid
    qr: str  # an inline SVG; empty when there is nothing to pay
    confirmations: Confirmations | None
    expires_at: datetime
    seconds_left: int
    tx_hash: str | None
    exceptions: tuple[str, ...]
    arrivals: tuple[Arrival, ...]  # what could not be credited
    claiming: ToClaim | None  # only where the address is shared, while money is awaited
    success_url: str | None
    cancel_url: str | None
    test_mode: bool
    network_pending: bool = False  # it is read late at the moment

    @property
    def payable(self) -> bool:
        return self.stage in PAYABLE_STAGES

    @property
    def final(self) -> bool:
        return self.stage in FINAL_STAGES

    @property
    def awaits_network(self) -> bool:
        """Whether what comes next is for the network to say."""
        return self.stage in AWAITING_STAGES

    @property
    def expires_text(self) -> str:
        return self.expires_at.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC")

    @property
    def time_left(self) -> str:
        """The same words as the script's, for those who read without it."""
        days, rest = divmod(self.seconds_left, 86_400)
        hours, rest = divmod(rest, 3_600)
        if days:
            return f"{days} d {hours} h"
        minutes, seconds = divmod(rest, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    @property
    def expires_iso(self) -> str:
        return self.expires_at.astimezone(UTC).isoformat(timespec="seconds")

    @property
    def steps(self) -> int:
        """How many segments the progress bar has."""
        return min(self.confirmations.required, STEPS_MAX) if self.confirmations else 0

    @property
    def steps_done(self) -> int:
        if self.confirmations is None:
            return 0
        return self.confirmations.seen * self.steps // self.confirmations.required

    @property
    def address_parts(self) -> tuple[str, ...]:
        """In fours, as people compare them; the first with its 0x."""
        text = self.pay.address
        return (text[:6], *(text[start : start + 4] for start in range(6, len(text), 4)))

    def state(self) -> tuple[object, ...]:
        """What must differ for the page to be drawn again."""
        return (
            self.version,
            self.stage,
            self.confirmations,
            self.arrivals,
            self.network_pending,
        )


def checkout_of(
    session: PaymentSession,
    *,
    version: int,
    merchant: str,
    head: int | None,
    now: datetime,
    networks: NetworkBook,
    write: WriteAddress,
    strays: tuple[OnchainTransfer, ...] = (),
) -> Checkout:
    stage = stage_of(session, now)
    missing = session.outstanding.units or session.due.units
    pay = instructions_for(session, networks, write, units=missing)
    counted = [t for t in session.transfers.values() if t.status in {"observed", "confirmed"}]

    def text(units: int) -> str:
        return decimal_of(units, pay.token.decimals)

    return Checkout(
        session_id=public_id("ps", session.session_id),
        stage=stage,
        version=version,
        merchant=merchant,
        description=session.description,
        amount=text(session.due.units),
        received=text(session.seen.units),
        refunded=text(session.refunded.units),
        pay=pay,
        qr=_qr(pay.uri) if stage in PAYABLE_STAGES else "",
        confirmations=confirmations_of(session, pay.network, head),
        expires_at=session.expires_at,
        seconds_left=max(0, int((session.expires_at - now).total_seconds())),
        tx_hash=counted[-1].tx_hash if counted else None,
        exceptions=session.exceptions,
        arrivals=arrivals_of(session, strays, merchant, networks),
        claiming=_to_claim(session, stage, now, networks, write),
        success_url=session.success_url,
        cancel_url=session.cancel_url,
        test_mode=session.mode == "test",
    )


def _to_claim(
    session: PaymentSession,
    stage: Stage,
    now: datetime,
    networks: NetworkBook,
    write: WriteAddress,
) -> ToClaim | None:
    shared = session.pay_by == "merchant_wallet"
    if not shared or stage not in CLAIMABLE_STAGES or not session.awaits(now):
        return None
    arrived = {transfer.tx_hash for transfer in session.transfers.values()}
    return ToClaim(
        words="0x" + words_of(session, networks, write).text.encode().hex(),
        payers=tuple(write(payer) for payer in session.proven_payers),
        announced=tuple(one for one in session.announced if one not in arrived),
    )


def stage_of(session: PaymentSession, now: datetime) -> Stage:
    status = session.status
    if status == "completed":
        return "completed"
    if status in {"refunded", "partially_refunded"}:
        return "refunded"
    if status == "confirming":  # also a cancelled one that a person has assigned money to
        return "confirming"
    if session.ended == "cancelled":
        return "cancelled"
    # The window closes by the clock; the fact that says so may come a moment later.
    if session.ended == "expired" or now >= session.expires_at:
        return "expired"
    return "partial" if session.seen.units else "pending"


def _qr(uri: str) -> str:
    out = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=True,
        omitsize=True,
        border=2,
        nl=False,
        svgclass=None,
        lineclass=None,
        dark="#0b0f14",
        light="#ffffff",
    )
    return out.getvalue().decode()
