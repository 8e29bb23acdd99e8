"""Where a payment, a refund or a transfer stands, what is missing, and what happens next.

Shapes  Each function takes the folded state and gives Standing: sentences for now and for next.
        Pure: the moment, the chain's head and the terms of what waits are handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from application import standing as standing_of
from application.ingest import Terms
from domain.networks import Network
from domain.payment import PaymentSession
from domain.refund import Refund
from domain.transfer import OnchainTransfer
from domain.values import public_id
from gateway.explain_words import BY_PERSON, Words, moment, refund_name, said


@dataclass(frozen=True, slots=True)
class Standing:
    now: tuple[str, ...]
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """What the chain says of what waits: its head, and the terms of each transfer."""

    network: Network
    head: int | None
    terms: Mapping[str, Terms]  # by transfer id
    doubted: frozenset[str] = frozenset()  # seen by one provider, where that is not enough
    late: str | None = None  # why payments there are seen or confirmed late just now


def why_late(
    network: Network, standing: standing_of.Standing | None, head: int | None
) -> str | None:
    """One sentence while a network is halted or pending; None while it is followed."""
    if standing is None:
        if head is not None:
            return None
        return (
            f"Nobody has begun to read {network.title}: what is paid there is not seen. "
            f"The operator starts gateway ingest --network {network.name}."
        )
    if standing.trouble is None or not standing.pending:
        return None
    since = "" if standing.since is None else f" since {moment(standing.since)}"
    what = "halted" if standing.trouble == "halted" else "pending"
    why = standing_of.TROUBLE_WORDS[standing.trouble]
    if standing.detail:
        why += f" ({standing.detail})"
    return (
        f"{network.title} is {what}{since}: {why}. "
        "Until that is over payments there are seen or confirmed later than usual."
    )


_LOST = frozenset({"retracted", "reversed"})


def session_standing(
    session: PaymentSession, chain: Chain, words: Words, at: datetime
) -> Standing:
    waits = [
        waits_for(one.transfer_id, one.block_number, words.amount(one.amount), chain)
        for one in session.transfers.values()
        if one.status == "observed"
    ]
    given_back = [
        f"The refund {refund_name(one.refund_id)} of {words.amount(one.amount)} is under way."
        for one in session.refunds.values()
        if one.status == "reserved"
    ]
    now = [_status(session, words, at), *_differently(session, words)]
    to_come = [*_evidence(session, at), _money_to_come(session, words, at)]
    concerned = waits or session.awaits(at) or session.outstanding.units
    held_up = [chain.late] if chain.late and concerned else []
    next_ = [*held_up, *waits, *given_back, *to_come]
    return Standing(tuple(now), tuple(next_))


def _status(session: PaymentSession, words: Words, at: datetime) -> str:
    """What has arrived; and what went back, whatever has become of the payment since."""
    status = _arrived(session, words, at)
    if session.refunded.units:
        status += f" {words.amount(session.refunded)} has been given back."
    return status


def _arrived(session: PaymentSession, words: Words, at: datetime) -> str:
    due = words.amount(session.due)
    if session.completed_at is not None:
        paid = f"Paid: {words.amount(session.confirmed)} of {due} asked for is confirmed"
        return f"{paid}, complete since {moment(session.completed_at)}."
    if session.ended == "cancelled":
        return "Cancelled: nothing has to be paid."
    if session.covered:
        return f"Enough has arrived, {words.amount(session.seen)}, but not all of it is safe yet."
    if session.seen.units:
        missing = words.amount(session.outstanding)
        return f"{words.amount(session.seen)} of {due} has arrived; {missing} is missing."
    if any(one.status in _LOST for one in session.transfers.values()):
        return f"What had arrived was lost to a reorg: nothing of {due} is on the chain now."
    if at >= session.expires_at:
        return f"Not paid: nothing of {due} arrived before the window closed."
    return f"Nothing of {due} has arrived yet."


def _differently(session: PaymentSession, words: Words) -> list[str]:
    enough = session.completed_at is not None or session.covered
    more = max(0, session.seen_and_kept.units - session.due.units)
    excess = words.amount(session.due.model_copy(update={"units": more}))
    sentences = {
        "underpaid": "Less than asked for has arrived"
        + (", and so little may be missing." if enough else "."),
        "overpaid": f"That is {excess} more than asked for: it can be refunded.",
        "paid_late": "Part of it came after the window had closed.",
        "multiple_transfers": "It came in several transfers.",
        "reversed": "A confirmed transfer of it was lost to a reorg.",
    }
    return [sentences[one] for one in session.exceptions]


def _evidence(session: PaymentSession, at: datetime) -> list[str]:
    """Sessions that share a wallet: money alone says nothing of whose it is."""
    if session.pay_by != "merchant_wallet" or session.seen.units or not session.awaits(at):
        return []
    how = (
        "The payer signs for this payment with the wallet that pays, or names the transaction; "
        "without that, money to the merchant's wallet goes to the inbox."
    )
    if session.proven_payers or session.announced:
        how = (
            "Money counts from a wallet that signed for this payment, or in a transaction that "
            "was named for it; other money to the merchant's wallet goes to the inbox."
        )
    return [how]


def _money_to_come(session: PaymentSession, words: Words, at: datetime) -> str:
    until = moment(session.credits_until)
    if session.ended == "cancelled":
        return "Nothing is awaited. Money that arrives all the same goes to the inbox."
    if at >= session.credits_until:
        return f"Nothing more is awaited after {until}: later money goes to the inbox."
    if session.completed_at is not None or not session.outstanding.units:
        return (
            f"No more has to be paid. What still arrives until {until} is credited to it, "
            "later money goes to the inbox."
        )
    missing = words.amount(session.outstanding)
    if at < session.expires_at:
        return (
            f"Waits for {missing} until {moment(session.expires_at)}. After that it counts as "
            f"late, and is still credited until {until}."
        )
    return (
        f"{missing} mined before {until} still completes it, as a late payment. "
        "Nothing more is awaited after that."
    )


def waits_for(transfer_id: str, block_number: int, amount: str, chain: Chain) -> str:
    """What an observed transfer lacks to be safe."""
    terms = chain.terms.get(transfer_id)
    policy = chain.network.policy
    rule = terms.rule if terms is not None else policy.rule_for(0, 0)
    version = f"policy version {terms.policy_version}" if terms is not None else "the policy"
    if rule.tag is not None:
        return f"{amount} waits until the chain calls its block {rule.tag}, as {version} asks."
    seen = 1 if chain.head is None else max(1, chain.head - block_number + 1)
    missing = rule.blocks - seen
    if transfer_id in chain.doubted:
        return f"{amount} waits for a second provider: one alone is not believed here."
    if missing <= 0:
        return f"{amount} has the {rule.text} that {version} asks for; it is confirmed any moment."
    more = "1 more confirmation" if missing == 1 else f"{missing} more confirmations"
    seconds = missing * chain.network.block_seconds
    soon = f"about {seconds} seconds" if seconds < 120 else f"about {seconds // 60} minutes"
    return f"{amount} waits for {more} ({seen} of {rule.blocks}, by {version}): {soon}."


# ---------------------------------------------------------------- refunds, transfers

_REFUND_NEXT = {
    "requested": "It waits for the signer, which looks at caps, gas and the kill switch.",
    "signed": "It is sent to the chain next; the signed bytes are kept and sent again if need be.",
    "completed": (
        "Nothing has to be done. Until its block is final it is watched: if a reorg takes it out, "
        "the same bytes are sent again."
    ),
    "final": "Nothing more is awaited: its block is final, and no reorg can take it out.",
    "failed": "Nothing more happens by itself. Ask for another refund, if it is still wanted.",
}


def refund_standing(refund: Refund, chain: Chain, words: Words) -> Standing:
    amount = words.amount(refund.amount)
    to = words.write(refund.destination)
    now = {
        "requested": f"{amount} is set aside for {to}; nothing has been signed yet.",
        "signed": f"The transaction that pays {amount} to {to} is signed.",
        "broadcast": f"The transaction that pays {amount} to {to} is on its way.",
        "completed": f"{amount} has been given back to {to}.",
        "failed": f"It failed: {refund.failure}. {amount} is free again.",
    }[refund.status]
    if refund.status == "broadcast":
        decimals = words.networks.unit_of(refund.amount.asset)[1]
        asked = chain.network.policy.rule_for(refund.amount.units, decimals).text
        next_ = (
            f"It waits to be mined, and then for {asked}. If the chain refuses it, the money stays "
            "set aside until that block is final, as a reorg could still let it pay."
        )
    else:
        next_ = _REFUND_NEXT["final" if refund.final_at is not None else refund.status]
    return Standing((now,), (next_,))


_DECIDED = {
    "accepted": "The merchant has kept it.",
    "dismissed": "It was dismissed.",
    "refunding": "It is being given back.",
    "refunded": "It has been given back.",
}


def transfer_standing(transfer: OnchainTransfer, chain: Chain, words: Words) -> Standing:
    sighting = transfer.sighting
    amount = words.amount(sighting.amount)
    now = {
        "observed": f"{amount} is in block {sighting.block_number}; it is not safe yet.",
        "confirmed": f"{amount} is confirmed.",
        "retracted": f"{amount} is not on the chain: a reorg took its block.",
        "reversed": f"{amount} was confirmed, and lost to a reorg.",
    }[transfer.status]
    next_: list[str] = []
    if transfer.status == "observed":
        if chain.late:
            next_.append(chain.late)
        block = sighting.block_number
        next_.append(waits_for(sighting.transfer_id, block, amount, chain))
    if transfer.waits:
        next_.append(_decide(transfer))
    if not transfer.on_chain:
        next_.append("If it is mined again, it counts again.")
    return Standing((now, _whose(transfer)), tuple(next_) or ("Nothing more is awaited.",))


def _whose(transfer: OnchainTransfer) -> str:
    if transfer.purpose == "unmatched":
        return _DECIDED.get(transfer.resolution, f"It is in the inbox: {transfer.reason}.")
    if transfer.purpose == "refund_float":
        return f"It tops up the merchant's refund wallet: {transfer.reason}."
    assert transfer.subject_id is not None, "assigned to a session"
    session = public_id("ps", transfer.subject_id)
    if transfer.verdict == BY_PERSON:
        return f"It was assigned to the payment {session} by hand: {said(transfer.reason)}."
    return f"It counts towards the payment {session}: {transfer.reason}."


def _decide(transfer: OnchainTransfer) -> str:
    if transfer.merchant_id is None:
        return "No merchant is known for this address: the operator has to look."
    refund = " give it back," if transfer.status == "confirmed" else ""
    return f"The merchant decides: assign it to a payment, accept it,{refund} or dismiss it."
