"""Whose transfer is it? A pure answer, with a verdict for machines and the reason for people.

Shapes  `attribute` takes the sighting, the owner of the address it went to (from the watch
        list), and the sessions it could be for; it gives an Attribution.
        In this order of trust: the session's own deposit address; the merchant's wallet, paid by
        a wallet that signed for the session; the merchant's wallet, paid by an announced
        transaction. Ambiguity and surprises go to the inbox, never to a guess.
Rules   A wallet's signature speaks for the one session that still lacks money. Two that lack money
        are two; what comes when all is paid is nobody's by itself.
        Anybody can announce a transaction that is not his. So it must pay what the session still
        lacks and be safe: until then the one who really paid can announce it too, which makes
        it ambiguous, or sign, which beats it.
        Nothing reaches back: money from before the session was meant for something else. That
        goes for its own address too: whoever gave us the list of addresses may have used this
        one before.
        A wallet's sessions are those of its merchant, whoever else names it.
Units   CLOCK_SLACK_SECONDS is what block times and our clock may differ by. Nobody but the payer
        is told of a session's own address, so there BIRTH_SLACK_SECONDS is allowed: more than
        the clock of an API process may be wrong by, so that no honest payment is left waiting.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from domain.commands import Attribution
from domain.events import Sighting
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.values import Value

CLOCK_SLACK_SECONDS = 60
BIRTH_SLACK_SECONDS = 900

Verdict = Literal[
    "deposit_address",
    "payer_proven",
    "hash_announced",
    "refund_wallet",
    "unknown_address",
    "session_unknown",
    "wrong_network",
    "unsupported_token",
    "wrong_token",
    "session_cancelled",
    "after_grace",
    "before_session",
    "unknown_sender",
    "ambiguous_payer",
    "ambiguous_hash",
    "announced_amount_differs",
    "awaits_confirmation",
    "payer_has_paid",
]


class AddressOwner(Value):
    """What the watch list knows of a watched address."""

    purpose: Literal["payment_session", "merchant_wallet", "refund_float"]
    subject_id: UUID  # the session; or the merchant, for its wallet and for its float
    merchant_id: UUID


class Candidates(Value):
    """The sessions a transfer could be for, by what speaks for each."""

    deposit: PaymentSession | None = None  # the address is its own
    by_payer: tuple[PaymentSession, ...] = ()
    by_hash: tuple[PaymentSession, ...] = ()


NOBODY = Candidates()


def attribute(
    sighting: Sighting,
    owner: AddressOwner | None,
    candidates: Candidates,
    networks: NetworkBook,
    *,
    safe: bool,
) -> Attribution:
    """`safe`: whether the transfer is confirmed already."""
    if owner is None:
        return _inbox(None, "unknown_address", "nobody has been given this address")
    match owner.purpose:
        case "refund_float":
            return Attribution(
                purpose="refund_float",
                subject_id=owner.merchant_id,
                merchant_id=owner.merchant_id,
                verdict="refund_wallet",
                reason="sent to the merchant's refund wallet",
            )
        case "payment_session":
            return _by_address(sighting, owner.merchant_id, candidates.deposit, networks)
        case "merchant_wallet":
            return _by_evidence(sighting, owner.merchant_id, candidates, networks, safe=safe)


def concerns(sighting: Sighting, session: PaymentSession) -> bool:
    """Whether the one who pays this session would ask here what became of the transfer."""
    if sighting.recipient != session.deposit_address:
        return False
    if session.pay_by == "deposit_address":
        return not _before(sighting, session)
    if sighting.tx_hash in session.announced:
        return True
    return sighting.sender in session.proven_payers and sighting.block_time >= session.created_at


def _by_address(
    sighting: Sighting, merchant_id: UUID, session: PaymentSession | None, networks: NetworkBook
) -> Attribution:
    if session is None:
        return _inbox(merchant_id, "session_unknown", "the session of this address is not known")
    why_not = _why_not(sighting, session, networks)
    if why_not is not None:
        return _inbox(merchant_id, *why_not)
    if _before(sighting, session):
        return _inbox(merchant_id, "before_session", "sent before the session was created")
    return _session(session, "deposit_address", "sent to the session's own deposit address")


def _before(sighting: Sighting, session: PaymentSession) -> bool:
    """Whether it came to the session's own address before anybody was given that for it."""
    return sighting.block_time + timedelta(seconds=BIRTH_SLACK_SECONDS) < session.created_at


def _by_evidence(
    sighting: Sighting,
    merchant_id: UUID,
    candidates: Candidates,
    networks: NetworkBook,
    *,
    safe: bool,
) -> Attribution:
    proven = _possible(sighting, merchant_id, candidates.by_payer, networks)
    lacking = tuple(session for session in proven if session.outstanding.units)
    if len(lacking) == 1:
        return _session(
            lacking[0], "payer_proven", "sent by the wallet that signed for this session"
        )
    if lacking:
        return _inbox(
            merchant_id,
            "ambiguous_payer",
            f"sent by a wallet that signed for {len(lacking)} open sessions",
        )
    announced = _possible(sighting, merchant_id, candidates.by_hash, networks)
    fitting = tuple(session for session in announced if _pays(sighting, session))
    if len(fitting) == 1:
        return _by_announcement(fitting[0], safe=safe)
    if fitting:
        return _inbox(
            merchant_id,
            "ambiguous_hash",
            f"the transaction was announced for {len(fitting)} open sessions",
        )
    return _inbox(merchant_id, *_why_nobody(sighting, proven, announced, candidates, networks))


def _by_announcement(session: PaymentSession, *, safe: bool) -> Attribution:
    if not safe:
        return _inbox(
            session.merchant_id,
            "awaits_confirmation",
            "the transaction was announced for a session; it is credited once it is confirmed, "
            "unless it is announced for another one too",
        )
    return _session(session, "hash_announced", "the transaction was announced for this session")


def _pays(sighting: Sighting, session: PaymentSession) -> bool:
    """Whether this is what the session lacks, give or take what may be missing."""
    lacking = session.outstanding.units
    return lacking - session.tolerance.units <= sighting.amount.units <= lacking


def _possible(
    sighting: Sighting,
    merchant_id: UUID,
    sessions: tuple[PaymentSession, ...],
    networks: NetworkBook,
) -> tuple[PaymentSession, ...]:
    """Those of the wallet's merchant that were open for this money when it was sent."""
    latest = sighting.block_time + timedelta(seconds=CLOCK_SLACK_SECONDS)
    return tuple(
        session
        for session in sessions
        if session.merchant_id == merchant_id
        and session.created_at <= latest
        and _why_not(sighting, session, networks) is None
    )


def _why_nobody(
    sighting: Sighting,
    proven: tuple[PaymentSession, ...],
    announced: tuple[PaymentSession, ...],
    candidates: Candidates,
    networks: NetworkBook,
) -> tuple[Verdict, str]:
    """Where exactly one session speaks for itself, why even that is not credited."""
    if announced:
        return (
            "announced_amount_differs",
            "the transaction was announced for a session that lacks another amount",
        )
    if proven:
        return "payer_has_paid", "sent by a wallet whose payment is complete already"
    claiming = {s.session_id: s for s in (*candidates.by_payer, *candidates.by_hash)}
    if len(claiming) == 1:
        why_not = _why_not(sighting, next(iter(claiming.values())), networks)
        if why_not is not None:
            return why_not
    return "unknown_sender", "sent to the merchant's wallet by somebody no session knows"


def _why_not(
    sighting: Sighting, session: PaymentSession, networks: NetworkBook
) -> tuple[Verdict, str] | None:
    if sighting.network != session.network:
        return (
            "wrong_network",
            f"sent on {sighting.network}, the session is paid on {session.network}",
        )
    if sighting.amount.asset != session.due.asset:
        return _other_token(sighting, session, networks)
    if session.ended == "cancelled":
        return "session_cancelled", "the session was cancelled"
    if sighting.block_time >= session.credits_until:
        return "after_grace", "sent after the session's grace period"
    return None


def _other_token(
    sighting: Sighting, session: PaymentSession, networks: NetworkBook
) -> tuple[Verdict, str]:
    sent, _ = networks.unit_of(sighting.amount.asset)
    wanted, _ = networks.unit_of(session.due.asset)
    token = networks.get(sighting.network).token_at(sighting.token)
    if token is None or not token.accepted:
        return "unsupported_token", f"{sent} is not accepted here; the session asks for {wanted}"
    return "wrong_token", f"sent in {sent}, the session asks for {wanted}"


def _session(session: PaymentSession, verdict: Verdict, reason: str) -> Attribution:
    return Attribution(
        purpose="payment_session",
        subject_id=session.session_id,
        merchant_id=session.merchant_id,
        verdict=verdict,
        reason=reason,
    )


def _inbox(merchant_id: UUID | None, verdict: Verdict, reason: str) -> Attribution:
    return Attribution(
        purpose="unmatched",
        subject_id=None,
        merchant_id=merchant_id,
        verdict=verdict,
        reason=reason,
    )
