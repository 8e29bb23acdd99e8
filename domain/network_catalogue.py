"""The networks that come with the gateway: chain ids, tokens, finality.

Shapes  Addresses are written with their checksum (EIP-55), as issuers and explorers show them; a
        test holds each against it. Networks of an operator's own are described in a file
        (gateway/network_files.py), no code needed.
Tokens  USDC is Circle's own on each network. USDT is Tether's own on Ethereum and Avalanche, USDT0
        (backed one to one, moved over LayerZero) on Polygon, Arbitrum and Optimism, a bridged copy
        on Base. Bridged USDC, and Optimism's older USDT, are recognised and not accepted: they
        are other money than what was asked for.
        No test network has a USDT that its issuer stands behind: none is listed.
        EIP-712 domains are claimed only where the separator computed from them is the one that
        the contract gave; it is read again at every start.
Finality  Ethereum 3 and Polygon 64 blocks: requirement B3. Rollups: what their sequencer says
        holds until the batch is on Ethereum, so small amounts wait for a depth that others use
        (Base 10: BVNK; Arbitrum 240: Ponder), larger ones for `safe` (the batch is on Ethereum),
        the largest for `finalized` (and final there, 13 to 30 minutes; Circle's rule for all).
        Avalanche: a block is final when it is accepted, so `finalized` costs nothing.
        Test networks wait as their live siblings do, but believe a provider that is alone.
Source  Uniswap default list 22.21.0, Aave address book 4.44.22, x402 2.25.0, Optimism's token
        list, Circle's pages, compared on 2026-11-22; separators as read on chain, quoted in
        public code. Polygon's USDT0 has a domain of another form (a salt): none is claimed.
"""

from domain.network import (
    AmountTier,
    Coin,
    ConfirmationPolicy,
    ConfirmationRule,
    Eip712Domain,
    Network,
    Token,
)

_USD_COIN = Eip712Domain(name="USD Coin", version="2")
_USDC = Eip712Domain(name="USDC", version="2")  # most test networks leave the long name out
_POL = Coin(symbol="POL", slip44=966)
_AVAX = Coin(symbol="AVAX", slip44=9000)
_BRIDGED = "USDC bridged before Circle issued its own here"
_USDT0 = "USDT0"


def _token(
    symbol: str,
    address: str,
    title: str,
    *,
    eip712: Eip712Domain | None = None,
    accepted: bool = True,
) -> Token:
    return Token(
        symbol=symbol,
        address=address.lower(),
        decimals=6,
        accepted=accepted,
        title=title,
        eip712=eip712,
    )


def _rollup(blocks: int) -> ConfirmationPolicy:
    """Amounts that would pay for an attack wait until Ethereum holds the batch."""
    return ConfirmationPolicy(
        version=1,
        blocks=blocks,
        tiers=(
            AmountTier(from_usd=1_000, rule=ConfirmationRule(tag="safe")),
            AmountTier(from_usd=10_000, rule=ConfirmationRule(tag="finalized")),
        ),
    )


ETHEREUM = Network(
    name="ethereum",
    title="Ethereum",
    chain_id=1,
    mode="live",
    tokens=(
        _token("USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", "USD Coin", eip712=_USD_COIN),
        _token("USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7", "Tether USD"),
    ),
    policy=ConfirmationPolicy(version=1, blocks=3),
    block_seconds=12,
    finality_seconds=384,
)
POLYGON = Network(
    name="polygon",
    title="Polygon",
    chain_id=137,
    mode="live",
    tokens=(
        _token("USDC", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", "USD Coin", eip712=_USD_COIN),
        _token("USDT", "0xc2132D05D31c914a87C6611C10748AEb04B58e8F", _USDT0),
        _token("USDC.e", "0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174", _BRIDGED, accepted=False),
    ),
    policy=ConfirmationPolicy(version=1, blocks=64),
    block_seconds=2,
    coin=_POL,
    finality_seconds=60,
)
BASE = Network(
    name="base",
    title="Base",
    chain_id=8453,
    mode="live",
    tokens=(
        _token("USDC", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin", eip712=_USD_COIN),
        _token(
            "USDT",
            "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2",
            "Tether USD, bridged from Ethereum by Base's own bridge",
        ),
        _token("USDbC", "0xd9aAEc86B65D86f6A7B5B1b0c42FFA531710b6CA", _BRIDGED, accepted=False),
    ),
    policy=_rollup(10),
    block_seconds=2,
    finality_seconds=900,
)
ARBITRUM = Network(
    name="arbitrum",
    title="Arbitrum One",
    chain_id=42161,
    mode="live",
    tokens=(
        _token("USDC", "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", "USD Coin", eip712=_USD_COIN),
        _token(
            "USDT",
            "0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9",
            _USDT0,
            eip712=Eip712Domain(name="USD\u20ae0", version="1"),
        ),
        _token("USDC.e", "0xFF970A61A04b1cA14834A43f5dE4533eBDDB5CC8", _BRIDGED, accepted=False),
    ),
    policy=_rollup(240),
    block_seconds=1,  # four blocks in one
    finality_seconds=900,
)
OPTIMISM = Network(
    name="optimism",
    title="OP Mainnet",
    chain_id=10,
    mode="live",
    tokens=(
        _token("USDC", "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85", "USD Coin", eip712=_USD_COIN),
        _token("USDT", "0x01bFF41798a0BcF287b996046Ca68b395DbC1071", _USDT0),
        _token("USDC.e", "0x7F5c764cBc14f9669B88837ca1490cCa17c31607", _BRIDGED, accepted=False),
        _token(
            "USDT (bridged)",
            "0x94b008aA00579c1307B0EF2c499aD98a8ce58e58",
            "Tether USD, bridged from Ethereum before USDT0",
            accepted=False,
        ),
    ),
    policy=_rollup(10),
    block_seconds=2,
    finality_seconds=900,
)
AVALANCHE = Network(
    name="avalanche",
    title="Avalanche C-Chain",
    chain_id=43114,
    mode="live",
    tokens=(
        _token("USDC", "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", "USD Coin", eip712=_USD_COIN),
        _token("USDT", "0x9702230A8Ea53601f5cD2dc00fDBc13d4dF4A8c7", "Tether USD"),
        _token("USDC.e", "0xA7D7079b0FEaD91F3e65f86E8915Cb59c1a4C664", _BRIDGED, accepted=False),
    ),
    policy=ConfirmationPolicy(version=1, blocks=1, tag="finalized"),
    block_seconds=2,
    coin=_AVAX,
    finality_seconds=60,
)


def _sibling(of: Network, name: str, title: str, chain_id: int, usdc: Token) -> Network:
    """The test network that behaves as a live one, with worthless money."""
    return of.changed(
        name=name,
        title=title,
        chain_id=chain_id,
        mode="test",
        tokens=(usdc,),
        policy=of.policy.changed(allow_unattested=True),
    )


SEPOLIA = _sibling(
    ETHEREUM,
    "sepolia",
    "Sepolia",
    11155111,
    _token("USDC", "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238", "Test USDC", eip712=_USDC),
)
POLYGON_AMOY = _sibling(
    POLYGON,
    "polygon_amoy",
    "Polygon Amoy",
    80002,
    _token("USDC", "0x41E94Eb019C0762f9Bfcf9Fb1E58725BfB0e7582", "Test USDC", eip712=_USDC),
)
BASE_SEPOLIA = _sibling(
    BASE,
    "base_sepolia",
    "Base Sepolia",
    84532,
    _token("USDC", "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "Test USDC", eip712=_USDC),
)
ARBITRUM_SEPOLIA = _sibling(
    ARBITRUM,
    "arbitrum_sepolia",
    "Arbitrum Sepolia",
    421614,
    _token("USDC", "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d", "Test USDC", eip712=_USD_COIN),
)
OP_SEPOLIA = _sibling(
    OPTIMISM,
    "op_sepolia",
    "OP Sepolia",
    11155420,
    _token("USDC", "0x5fd84259d66Cd46123540766Be93DFE6D43130D7", "Test USDC", eip712=_USDC),
)
FUJI = _sibling(
    AVALANCHE,
    "fuji",
    "Avalanche Fuji",
    43113,
    _token("USDC", "0x5425890298aed601595a70AB815c96711a31Bc65", "Test USDC", eip712=_USD_COIN),
)
KNOWN_NETWORKS = (
    ETHEREUM,
    POLYGON,
    BASE,
    ARBITRUM,
    OPTIMISM,
    AVALANCHE,
    SEPOLIA,
    POLYGON_AMOY,
    BASE_SEPOLIA,
    ARBITRUM_SEPOLIA,
    OP_SEPOLIA,
    FUJI,
)
