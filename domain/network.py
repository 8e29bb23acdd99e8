"""One network: its tokens, its confirmation policy, its habits.

Shapes  Network(name, chain_id, tokens, policy); a token belongs to one network, its asset id is
        CAIP-19. A network's name is part of variables' names (RPC_URLS_BASE_SEPOLIA) and of
        subjects on the bus: lower-case letters, digits and underscores.
        A policy is a default rule and tiers by amount; a sighting keeps the version it was first
        seen under (application/policies.py gives a changed policy its next version).
        `eip712` is claimed where a payer may sign instead of sending; start-up holds it against
        the contract. Without it nothing gasless is offered.
Units   blocks count confirmations: head number minus block number plus one; tiers begin at whole
        dollars. `block_seconds` is rounded up to whole seconds; `finality_seconds` is the longest
        that the chain's `finalized` block usually stands still, at least the minute after which
        it is asked for again.
Errors  TokenUnknown names what is offered instead.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from domain.errors import TokenUnknown
from domain.values import Mode, Value

ZERO_ADDRESS = "0x" + "0" * 40


class _LowerHexAddress:
    """0x and 40 lower-case hex digits; in pydantic's own terms, as most facts have addresses."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.str_schema(pattern="^0x[0-9a-f]{40}$")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string"}


Address = Annotated[str, _LowerHexAddress]


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

    @property
    def rules(self) -> tuple[ConfirmationRule, ...]:
        """Every rule there is, for the smallest amounts first."""
        first = ConfirmationRule(blocks=self.blocks, tag=self.tag)
        return (first, *(tier.rule for tier in self.tiers))

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


class Eip712Domain(Value):
    """Under which name and version a token's contract checks signed authorisations.

    The rest of the domain is the chain id and the token's own address.
    """

    name: str = Field(min_length=1, max_length=100)
    version: str = Field(min_length=1, max_length=20)


class Token(Value):
    symbol: str
    address: Address
    decimals: int = Field(ge=0, le=36)
    # A bridged copy we recognise in order to name it to the payer, and never accept.
    accepted: bool = True
    title: str = ""  # what it is exactly, where the symbol alone does not say
    eip712: Eip712Domain | None = None


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
    finality_seconds: int = Field(default=60, ge=1)

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
