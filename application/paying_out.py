"""What the signer process needs, and the one kind of transaction it signs.

Shapes  A refund is `reserved` by the sender, then approved by the signer (its nonce is given and
        its amount counts against the caps in one transaction), then `signed`: the bytes are
        stored before anybody may broadcast them. Or it is `refused`, with the reason.
Units   token base units; wei per gas; caps in micros, millionths of a dollar, so that tokens of
        different decimals add up. A day is the last 24 hours.
Errors  an outage is ports.Unavailable; a signer that cannot sign raises SigningFailed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.networks import Token

TRANSFER_GAS_LIMIT = 150_000  # USDC and USDT behind their proxies take 40,000 to 65,000
FEE_PER_GAS_MAX_WEI = 1_000 * 10**9
MICROS_PER_DOLLAR = 1_000_000
DAY_SECONDS = 86_400


class SigningFailed(Exception):  # noqa: N818 - named for what happened
    """The key could not sign this; nothing was signed."""


@dataclass(frozen=True, slots=True)
class TransferToSign:
    """`transfer(destination, units)` on `token`: the signer signs nothing else."""

    chain_id: int
    wallet: str
    wallet_index: int
    nonce: int
    token: str
    destination: str
    units: int
    gas_limit: int
    max_fee: int
    tip: int


@dataclass(frozen=True, slots=True)
class SignedTransfer:
    raw: bytes
    tx_hash: str


class Signer(Protocol):
    """The keys of the refund wallets: a keystore file here, a key service elsewhere."""

    async def address(self, index: int) -> str:
        """The wallet of this index, in lower case."""
        ...

    async def sign_transfer(self, transfer: TransferToSign) -> SignedTransfer:
        """Raises SigningFailed when `wallet` is not the wallet of `wallet_index`."""
        ...


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may leave, in micros."""

    per_transaction: int
    per_merchant_day: int
    per_day: int

    def tightened(self, other: "Caps") -> "Caps":
        return Caps(
            min(self.per_transaction, other.per_transaction),
            min(self.per_merchant_day, other.per_merchant_day),
            min(self.per_day, other.per_day),
        )


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A reserved transaction, as the sender wrote it: to be believed in nothing."""

    refund_id: UUID
    merchant_id: UUID
    network: str
    chain_id: int
    wallet: str
    wallet_index: int
    token: str
    destination: str
    units: int
    gas_limit: int
    max_fee: int
    tip: int
    chain_nonce: int  # transactions of the wallet on chain when it was reserved


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which an approval is given; `chain_ids` share the day's caps."""

    micros: int
    caps: Caps
    chain_ids: tuple[int, ...]
    # Where the wallet is new to us but not to the chain, the database may be an old copy.
    known_wallets_only: bool


@dataclass(frozen=True, slots=True)
class Approved:
    nonce: int


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """Not now: signing is stopped, or the wallet is locked until somebody has looked."""

    reason: str
    everything: bool


Verdict = Approved | Refused | Held


class SigningBook(Protocol):
    """The signer's side of the outgoing transactions."""

    async def unsigned(self, limit: int) -> Sequence[Unsigned]:
        """Reserved and not yet decided, oldest first, without those of locked wallets."""
        ...

    async def approve(self, refund_id: UUID, terms: Terms, now: datetime) -> Verdict:
        """Give the nonce and count the amount, in one transaction; the same nonce again.

        Refused and Held change nothing of the transaction itself. Held locks the wallet
        when the chain has seen more of its transactions than we have given nonces.
        """
        ...

    async def store(self, refund_id: UUID, signed: SignedTransfer, now: datetime) -> None:
        """Keep the bytes; the first to be kept are the only ones."""
        ...

    async def refuse(self, refund_id: UUID, reason: str, now: datetime) -> bool:
        """Final. False for one already approved: its nonce must be used."""
        ...


def micros_of(units: int, token: Token) -> int:
    """Dollars in millionths, rounded up, so that no cap is passed by splitting."""
    one: int = 10**token.decimals
    return -(-units * MICROS_PER_DOLLAR // one)
