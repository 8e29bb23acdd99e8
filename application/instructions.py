"""What a payer must be told: where to send, what, how much; and how safe it is already.

Shapes  Instructions are the same in the API and on the checkout page. Inside, addresses are
        lower case; people get the EIP-55 form, written by the injected WriteAddress.
Units   base units of the token as integers, and the decimal string beside them.
Source  EIP-681 for the URI. Some wallets read only its target, which is the token contract, so
        address, chain and amount must always stand beside it as text.
"""

from collections.abc import Callable
from dataclasses import dataclass

from domain.money import decimal_of
from domain.networks import Network, NetworkBook, Token
from domain.payment import PaymentSession

WriteAddress = Callable[[str], str]
"""An address as people should see it: with its EIP-55 checksum."""


@dataclass(frozen=True, slots=True)
class Instructions:
    network: Network
    token: Token
    contract: str
    address: str
    units: int

    @property
    def amount(self) -> str:
        return decimal_of(self.units, self.token.decimals)

    @property
    def uri(self) -> str:
        """EIP-681: a token transfer a wallet can open."""
        target = f"ethereum:{self.contract}@{self.network.chain_id}"
        return f"{target}/transfer?address={self.address}&uint256={self.units}"


def instructions_for(
    session: PaymentSession, networks: NetworkBook, write: WriteAddress, *, units: int
) -> Instructions:
    network, token = networks.of_asset(session.due.asset)
    return Instructions(
        network=network,
        token=token,
        contract=write(token.address),
        address=write(session.deposit_address),
        units=units,
    )


@dataclass(frozen=True, slots=True)
class Confirmations:
    """How far a payment is on its way to being safe.

    Where the chain's own word is awaited there is nothing to count: none of one, then one of one.
    """

    seen: int
    required: int
    waiting_for: str | None = None  # in words, "a finalized block", while that is awaited


def awaits_blocks(session: PaymentSession) -> bool:
    """Whether a transfer is seen but not yet safe, so that the chain's head matters."""
    return any(t.status == "observed" for t in session.transfers.values())


def confirmations_of(
    session: PaymentSession, network: Network, head: int | None
) -> Confirmations | None:
    """Progress of the transfer that is furthest from being safe; None while nothing is seen.

    By the rule for the amount due, or for what has arrived if that is more.
    """
    counted = [t for t in session.transfers.values() if t.status in {"observed", "confirmed"}]
    if not counted:
        return None
    rule = network.policy.rule_for(
        max(session.due.units, session.seen.units), _decimals(session, network)
    )
    required = 1 if rule.tag is not None else rule.blocks
    newest = max((t.block_number for t in counted if t.status == "observed"), default=None)
    if newest is None:
        return Confirmations(required, required)
    if rule.tag is not None:
        return Confirmations(0, required, waiting_for=rule.text)
    # Its own block counts as one, also while our view of the head is behind.
    seen = 1 if head is None else head - newest + 1
    return Confirmations(min(max(seen, 1), required), required)


def _decimals(session: PaymentSession, network: Network) -> int:
    return next(
        token.decimals for token in network.tokens if network.asset(token) == session.due.asset
    )
