"""Networks, tokens and confirmation policies as values.

Shapes  Network(name, chain_id, tokens, policy); a token belongs to one network, its asset id is
        CAIP-19. NetworkBook finds them by name, by asset and by mode.
        A policy is a default rule and tiers by amount; a sighting keeps the version it was first
        seen under (application/policies.py gives a changed policy its next version).
Units   blocks count confirmations: head number minus block number plus one; tiers begin at whole
        dollars.
Errors  NetworkUnknown, TokenUnknown name what is offered instead.
Source  addresses and decimals: issuers' own lists, checked against each other on 2026-11-22;
        each is read from the chain again at start-up (chain id, decimals).
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from domain.errors import NetworkUnknown, TokenUnknown
from domain.values import Mode, Value

ZERO_ADDRESS = "0x" + "0" * 40


def _lower_hex_address(text: str) -> str:
    if len(text) != 42 or not text.startswith("0x") or text != text.lower():
        raise ValueError("an address inside is 0x and 40 lower-case hex digits")
    int(text, 16)
    return text


Address = Annotated[str, AfterValidator(_lower_hex_address)]


Finality = Literal["safe", "finalized"]  # what the chain itself calls its blocks
TIERS_MAX = 8


class ConfirmationRule(Value):
    """When one transfer counts as safe: so many confirmations, or the chain's own word."""

    blocks: int = Field(default=1, ge=1, le=10_000)
    tag: Finality | None = None  # instead of a number of blocks

    @property
    def text(self) -> str:
        """What it asks for, as people read it."""
        if self.tag is not None:
            return f"a {self.tag} block"
        return "1 confirmation" if self.blocks == 1 else f"{self.blocks} confirmations"


class AmountTier(Value):
    """From this amount on, another rule than for smaller ones."""

    from_usd: int = Field(ge=1)
    rule: ConfirmationRule


class ConfirmationPolicy(Value):
    """When a transfer counts as safe on one network."""

    version: int = Field(ge=1)
    blocks: int = Field(ge=1, le=10_000)
    tag: Finality | None = None
    tiers: tuple[AmountTier, ...] = Field(default=(), max_length=TIERS_MAX)
    # One provider can lie alone; only development and tests may confirm on its word.
    allow_unattested: bool = False

    @model_validator(mode="after")
    def _tiers_ascend(self) -> Self:
        starts = [tier.from_usd for tier in self.tiers]
        if starts != sorted(set(starts)):
            raise ValueError("tiers begin at different amounts, the smallest first")
        return self

    def rule_for(self, units: int, decimals: int) -> ConfirmationRule:
        """The rule for an amount of base units of a token with so many decimals."""
        rule = ConfirmationRule(blocks=self.blocks, tag=self.tag)
        for tier in self.tiers:
            if units >= tier.from_usd * 10**decimals:
                rule = tier.rule
        return rule

    def same_terms(self, other: Self) -> bool:
        """Whether only the version differs."""
        return self.changed(version=other.version) == other


class Token(Value):
    symbol: str
    address: Address
    decimals: int = Field(ge=0, le=36)
    # A bridged copy we recognise in order to name it to the payer, and never accept.
    accepted: bool = True


class Coin(Value):
    """What a network's gas is paid in."""

    symbol: str
    slip44: int
    decimals: int = 18


ETHER = Coin(symbol="ETH", slip44=60)


class Network(Value):
    name: str
    title: str
    chain_id: int
    mode: Mode
    tokens: tuple[Token, ...]
    policy: ConfirmationPolicy
    block_seconds: int
    coin: Coin = ETHER

    @property
    def coin_asset(self) -> str:
        return f"eip155:{self.chain_id}/slip44:{self.coin.slip44}"

    def asset(self, token: Token) -> str:
        return f"eip155:{self.chain_id}/erc20:{token.address}"

    def accepted_tokens(self) -> tuple[Token, ...]:
        return tuple(token for token in self.tokens if token.accepted)

    def token(self, symbol: str) -> Token:
        for token in self.accepted_tokens():
            if token.symbol == symbol:
                return token
        offered = ", ".join(token.symbol for token in self.accepted_tokens())
        raise TokenUnknown(f"{symbol!r} is not offered on {self.name}; choose one of: {offered}")

    def token_at(self, address: str) -> Token | None:
        return next((token for token in self.tokens if token.address == address), None)


class NetworkBook(Value):
    """Every network this gateway serves."""

    networks: tuple[Network, ...]

    def named(self, name: str, mode: Mode) -> Network:
        offered = [network for network in self.networks if network.mode == mode]
        for network in offered:
            if network.name == name:
                return network
        names = ", ".join(network.name for network in offered) or "none"
        raise NetworkUnknown(f"{name!r} is not offered in {mode} mode; choose one of: {names}")

    def default(self, mode: Mode) -> Network:
        for network in self.networks:
            if network.mode == mode:
                return network
        raise NetworkUnknown(f"no network is configured for {mode} mode")

    def get(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def unit_of(self, asset: str) -> tuple[str, int]:
        """What people call an asset, and its decimals; its id and 0 where we do not know it."""
        for network in self.networks:
            if asset == network.coin_asset:
                return network.coin.symbol, network.coin.decimals
            for token in network.tokens:
                if network.asset(token) == asset:
                    return token.symbol, token.decimals
        return asset, 0

    def of_asset(self, asset: str) -> tuple[Network, Token]:
        """The network and token of an asset we once accepted; unknown ones are a bug."""
        for network in self.networks:
            for token in network.tokens:
                if network.asset(token) == asset:
                    return network, token
        raise KeyError(asset)

    def only(self, names: tuple[str, ...]) -> Self:
        kept = tuple(network for network in self.networks if network.name in names)
        return self.changed(networks=kept)


def _usd(symbol: str, address: str, *, accepted: bool = True) -> Token:
    return Token(symbol=symbol, address=address.lower(), decimals=6, accepted=accepted)


ETHEREUM = Network(
    name="ethereum",
    title="Ethereum",
    chain_id=1,
    mode="live",
    tokens=(
        _usd("USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
        _usd("USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7"),
    ),
    policy=ConfirmationPolicy(version=1, blocks=3),
    block_seconds=12,
)
POLYGON = Network(
    name="polygon",
    title="Polygon",
    chain_id=137,
    mode="live",
    tokens=(
        _usd("USDC", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"),
        _usd("USDT", "0xc2132D05D31c914a87C6611C10748AEb04B58e8F"),
        _usd("USDC.e", "0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174", accepted=False),
    ),
    policy=ConfirmationPolicy(version=1, blocks=64),
    block_seconds=2,
    coin=Coin(symbol="POL", slip44=966),
)
KNOWN_NETWORKS = (ETHEREUM, POLYGON)


def local_network(*, chain_id: int, tokens: tuple[Token, ...], blocks: int) -> Network:
    """A chain on this machine, for development and tests: one provider, so unattested."""
    return Network(
        name="local",
        title="Local test chain",
        chain_id=chain_id,
        mode="test",
        tokens=tokens,
        policy=ConfirmationPolicy(version=1, blocks=blocks, allow_unattested=True),
        block_seconds=1,
    )
