"""What arrived for a payment and could not be credited, in words for the one who sent it.

Shapes  An Arrival a transfer: what it is, why it was not credited, what happens to it. Reasons
        that people wrote are the merchant's own and are not shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from domain.money import decimal_of
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.transfer import OnchainTransfer

ARRIVALS_MAX = 5
_WHY = {
    "session_cancelled": "The payment had been cancelled.",
    "after_grace": "It was sent too long after the payment had expired.",
    "before_session": "It was sent before this payment was opened.",
    "ambiguous_payer": "This wallet has signed for several open payments: "
    "it could be for any of them.",
    "ambiguous_hash": "Its transaction was named for several open payments.",
    "announced_amount_differs": "Only the exact amount that is missing is credited by a "
    "transaction hash alone.",
    "payer_has_paid": "The payment this wallet has signed for is complete already.",
    "awaits_confirmation": "Its transaction was named for this payment. It is credited once it is "
    "confirmed.",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    amount: str  # with its symbol
    network: str
    why: str
    then: str
    tx_hash: str


def arrivals_of(
    session: PaymentSession,
    transfers: Iterable[OnchainTransfer],
    merchant: str,
    networks: NetworkBook,
) -> tuple[Arrival, ...]:
    return tuple(_arrival(session, transfer, merchant, networks) for transfer in transfers)


def _arrival(
    session: PaymentSession, transfer: OnchainTransfer, merchant: str, networks: NetworkBook
) -> Arrival:
    sighting = transfer.sighting
    symbol, decimals = networks.unit_of(sighting.amount.asset)
    return Arrival(
        amount=f"{decimal_of(sighting.amount.units, decimals)} {symbol}",
        network=networks.title_of(sighting.network),
        why=_why(session, transfer, networks),
        then=_then(transfer, merchant),
        tx_hash=sighting.tx_hash,
    )


def _why(session: PaymentSession, transfer: OnchainTransfer, networks: NetworkBook) -> str:
    sighting = transfer.sighting
    sent, _ = networks.unit_of(sighting.amount.asset)
    wanted, _ = networks.unit_of(session.due.asset)
    network = networks.title_of(session.network)
    match transfer.verdict:
        case "wrong_network":
            there = networks.title_of(sighting.network)
            return f"It was sent on {there}, and this payment is on {network}."
        case "unsupported_token":
            return f"{sent} is not accepted here. It is another token than {wanted}."
        case "wrong_token":
            return f"This payment asks for {wanted}, and this is {sent}."
        case verdict:
            return _WHY.get(verdict, "It could not be matched to this payment for certain.")


def _then(transfer: OnchainTransfer, merchant: str) -> str:
    match transfer.resolution:
        case "open":
            return f"{merchant} sees it, and can accept it or give it back."
        case "accepted":
            return f"{merchant} has accepted it."
        case "dismissed":
            return f"{merchant} has dealt with it."
        case "refunding":
            return "It is on its way back."
        case "refunded":
            return "It has been sent back."
