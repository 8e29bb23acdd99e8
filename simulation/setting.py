"""Where every history plays: networks, merchants, wallets. The same for all seeds.

Shapes  Two live networks with three providers each, of which two must agree, and a test network
        with one. Live merchants are paid on both live networks, and an address of one is watched
        on the other. Policies are shorter than in production, so that histories are short too:
        Polygon has tiers of blocks, Ethereum asks for a safe block from 40 dollars on and for
        a final one from 1,000. POLICIES are the terms that a history may change to; the first
        ones are those it begins with.
Units   seconds; base units; SAFE_BLOCKS is how far below the head a chain calls a block safe.
"""

from datetime import UTC, datetime
from functools import lru_cache

from bip32 import BIP32  # type: ignore[import-untyped] # ships no types

from adapters.keystore import ACCOUNT_PATH, LocalSigner
from application.paying_out import Caps
from application.sessions import GRACE_SECONDS_DEFAULT
from domain.networks import (
    AmountTier,
    ConfirmationPolicy,
    ConfirmationRule,
    Network,
    NetworkBook,
    Token,
    local_network,
)
from domain.values import Mode

BEGINS_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FIRST_BLOCKS = 4  # mined before anything happens
GRACE_SECONDS = GRACE_SECONDS_DEFAULT
AMOUNT_MAX = "100000.00"
MASTER_KEY = bytes(range(32))
SIGNER_SEED = bytes(range(32, 64))
CAPS = Caps(per_transaction=10**15, per_merchant_day=10**15, per_day=10**15)
PUBLIC_BASE_URL = "https://pay.example"
MERCHANTS: tuple[tuple[str, Mode], ...] = (
    ("Corner Coffee", "live"),
    ("Night Books", "live"),
    ("Test Bench", "test"),
)


WALLETS = 3  # of each merchant, to be paid to; the last one all merchants have in common
SAFE_BLOCKS = 5


def _token(symbol: str, number: int, *, accepted: bool = True, decimals: int = 6) -> Token:
    address = f"0x{number:02x}" + "70" * 19
    return Token(symbol=symbol, address=address, decimals=decimals, accepted=accepted)


def _tier(from_usd: int, rule: ConfirmationRule) -> AmountTier:
    return AmountTier(from_usd=from_usd, rule=rule)


SAFE = ConfirmationRule(tag="safe")
FINAL = ConfirmationRule(tag="finalized")
POLICIES: dict[str, tuple[ConfirmationPolicy, ...]] = {
    "ethereum": (
        ConfirmationPolicy(version=1, blocks=3, tiers=(_tier(40, SAFE), _tier(1_000, FINAL))),
        ConfirmationPolicy(version=1, blocks=2),
        ConfirmationPolicy(version=1, blocks=1, tag="safe"),
    ),
    "polygon": (
        ConfirmationPolicy(
            version=1,
            blocks=4,
            tiers=(_tier(2, ConfirmationRule(blocks=6)), _tier(10, ConfirmationRule(blocks=8))),
        ),
        ConfirmationPolicy(version=1, blocks=8),
        ConfirmationPolicy(version=1, blocks=3, tiers=(_tier(30, SAFE),)),
    ),
    "local": (
        ConfirmationPolicy(version=1, blocks=2, allow_unattested=True),
        ConfirmationPolicy(version=1, blocks=1, tag="safe", allow_unattested=True),
    ),
}


ETHEREUM = Network(
    name="ethereum",
    title="Ethereum",
    chain_id=1,
    mode="live",
    tokens=(_token("USDC", 0x11), _token("USDT", 0x12)),
    policy=POLICIES["ethereum"][0],
    block_seconds=12,
)
POLYGON = Network(
    name="polygon",
    title="Polygon",
    chain_id=137,
    mode="live",
    tokens=(
        _token("USDC", 0x21),
        _token("USDT", 0x22),
        _token("USDC.e", 0x23, accepted=False),
    ),
    policy=POLICIES["polygon"][0],
    block_seconds=2,
)
LOCAL = local_network(
    chain_id=31_337, tokens=(_token("USDC", 0x31), _token("USDT", 0x32)), blocks=2
)
BOOK = NetworkBook(networks=(ETHEREUM, POLYGON, LOCAL))
STANDBY_NETWORK = "polygon"  # has a second ingester
PROVIDERS = {"ethereum": 3, "polygon": 3, "local": 1}


@lru_cache(maxsize=64)
def merchant_key(number: int) -> str:
    """The extended public key of a merchant's own wallet."""
    seed = b"simulated merchant".ljust(31, b".") + bytes([number])
    return str(BIP32.from_seed(seed).get_xpub_from_path(ACCOUNT_PATH))


@lru_cache(maxsize=1)
def signer() -> LocalSigner:
    return LocalSigner(SIGNER_SEED)


def receiving_address(merchant: int, wallet: int) -> str:
    """One of a merchant's own wallets."""
    wallet %= WALLETS
    owner = 0xFF if wallet == WALLETS - 1 else merchant
    return f"0x5a{owner:02x}{wallet:02x}" + "11" * 17
