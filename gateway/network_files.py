"""Networks that an operator describes in a file, without code: NETWORKS_FILE=networks.toml.

Shapes  TOML, one table a network:

            [networks.gnosis]
            title = "Gnosis Chain"
            chain_id = 100
            mode = "live"
            block_seconds = 5
            confirmations = "20, 1000:finalized"
            coin = { symbol = "xDAI", slip44 = 700 }

            [[networks.gnosis.tokens]]
            symbol = "USDC"
            address = "0x..."
            decimals = 6

        A built-in network gets further tokens by a table of its name with `extends = true` and
        nothing but tokens. docs/guides/networks.md is the page about it.
Units   block_seconds, finality_seconds: whole seconds. confirmations: as CONFIRMATION_POLICY.
Errors  NetworksFileError: one line for each thing that is wrong, with file, network and field.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from adapters.addresses import checksum_address
from domain.networks import (
    ETHER,
    KNOWN_NETWORKS,
    Coin,
    ConfirmationPolicy,
    Eip712Domain,
    Network,
    Token,
)
from domain.values import Mode
from gateway.confirmation_setting import WrittenPolicy, written_policy
from gateway.failures import GatewayError

LOCAL = "local"  # made from LOCAL_TOKENS, see gateway/settings.py
FILE_BYTES_MAX = 1024**2
NETWORKS_MAX = 100
TOKENS_MAX = 50
CHAIN_ID_MAX = 2**53 - 1  # what wallets can carry in JSON
ACCEPTED_DECIMALS_MIN = 2  # sessions are opened in cents
FINALITY_SECONDS = 900  # a rollup's; a chain that is faster says so
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class NetworksFileError(GatewayError):
    """The description is not usable; one line for each thing that is wrong."""


def _checksummed(text: str) -> str:
    if _ADDRESS.fullmatch(text) is None:
        raise ValueError("is 0x and 40 hex digits")
    digits = text[2:]
    if digits != digits.lower() and digits != digits.upper():
        if checksum_address(text) != text:
            raise ValueError("does not fit its checksum: a digit or a letter's case is wrong")
    elif not digits.isdigit():
        raise ValueError(
            "is written without its checksum, so that a wrong digit would not be seen: copy it in "
            "upper and lower case from the issuer's page"
        )
    return text.lower()


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Symbol = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,15}$")]
Title = Annotated[str, Field(min_length=1, max_length=60)]


class _Domain(_Described):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    version: Annotated[str, Field(min_length=1, max_length=20)]


class _Token(_Described):
    symbol: Symbol
    address: Annotated[str, AfterValidator(_checksummed)]
    decimals: Annotated[int, Field(ge=0, le=36)]
    title: Annotated[str, Field(max_length=60)] = ""
    accepted: bool = True
    eip712: _Domain | None = None

    def value(self) -> Token:
        domain = self.eip712
        return Token(
            symbol=self.symbol,
            address=self.address,
            decimals=self.decimals,
            accepted=self.accepted,
            title=self.title,
            eip712=None if domain is None else Eip712Domain(**domain.model_dump()),
        )


Tokens = Annotated[list[_Token], Field(min_length=1, max_length=TOKENS_MAX)]


class _Coin(_Described):
    symbol: Symbol
    slip44: Annotated[int, Field(ge=0, lt=2**31)]
    decimals: Annotated[int, Field(ge=0, le=36)] = 18


class _Extension(_Described):
    extends: Literal[True]
    tokens: Tokens


class _Network(_Described):
    title: Title
    chain_id: Annotated[int, Field(ge=1, le=CHAIN_ID_MAX)]
    mode: Mode
    block_seconds: Annotated[int, Field(ge=1, le=3_600)]
    finality_seconds: Annotated[int, Field(ge=60, le=7 * 86_400)] = FINALITY_SECONDS
    confirmations: Annotated[WrittenPolicy, BeforeValidator(written_policy)]
    allow_unattested: bool = False
    coin: _Coin | None = None
    tokens: Tokens

    @model_validator(mode="after")
    def _no_single_voice_over_money(self) -> Self:
        if self.allow_unattested and self.mode == "live":
            raise ValueError(
                'allow_unattested: only in mode "test": one provider alone could invent payments'
            )
        return self

    def value(self, name: str) -> Network:
        policy = ConfirmationPolicy(version=1, blocks=1, allow_unattested=self.allow_unattested)
        coin = self.coin
        return Network(
            name=name,
            title=self.title,
            chain_id=self.chain_id,
            mode=self.mode,
            tokens=tuple(token.value() for token in self.tokens),
            policy=self.confirmations.applied_to(policy),
            block_seconds=self.block_seconds,
            finality_seconds=self.finality_seconds,
            coin=ETHER if coin is None else Coin(**coin.model_dump()),
        )


# ---------------------------------------------------------------- reading


def networks_of_file(path: Path) -> tuple[Network, ...]:
    """Those described, and the built-in ones that got tokens. Raises NetworksFileError."""
    tables = _tables(path)
    built_in = {network.name: network for network in KNOWN_NETWORKS}
    found: list[Network] = []
    wrong: list[str] = []
    for name, table in tables.items():
        lies = _why_no_name(name, table, built_in)
        if lies:
            wrong.append(f"network {name}: {lies}")
            continue
        try:
            network = _network(name, table, built_in.get(name))
        except ValidationError as error:
            wrong += [f"network {name}: {line}" for line in _lines(error, table)]
            continue
        wrong += [f"network {name}: {line}" for line in _why_unusable(network)]
        found.append(network)
    wrong += _why_not_together([*_not_replaced(KNOWN_NETWORKS, found), *found])
    if wrong:
        raise NetworksFileError("\n".join(f"  NETWORKS_FILE: {path.name}: {w}" for w in wrong))
    return tuple(found)


def _tables(path: Path) -> Mapping[str, Any]:
    def refuse(reason: str) -> NetworksFileError:
        return NetworksFileError(f"  NETWORKS_FILE: {path.name}: {reason}")

    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise NetworksFileError(f"  NETWORKS_FILE: cannot read {path}: {error.strerror}") from None
    if len(raw) > FILE_BYTES_MAX:
        raise refuse(f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        content = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise refuse(f"is not TOML: {error}") from None
    tables = content.get("networks")
    if set(content) != {"networks"} or not isinstance(tables, dict) or not tables:
        raise refuse("holds tables named [networks.NAME], and nothing beside them")
    if len(tables) > NETWORKS_MAX:
        raise refuse(f"describes more than {NETWORKS_MAX} networks")
    return tables


def _network(name: str, table: Any, built_in: Network | None) -> Network:
    if built_in is None:
        return _Network.model_validate(table).value(name)
    more = _Extension.model_validate(table).tokens
    return built_in.changed(tokens=(*built_in.tokens, *(token.value() for token in more)))


def _why_no_name(name: str, table: Any, built_in: Mapping[str, Network]) -> str | None:
    if _NAME.fullmatch(name) is None or name.endswith("_file"):
        return (
            "a name is lower-case letters, digits and underscores, as it becomes part of "
            "RPC_URLS_<NAME>; at most 31, and not ending in _file"
        )
    if name == LOCAL:
        return "this name is the test chain's of LOCAL_TOKENS: choose another"
    if not isinstance(table, dict):
        return "is a table, [networks.NAME]"
    extends = "extends" in table
    if name in built_in and not extends:
        return (
            "this network comes with the gateway: choose another name, or write extends = true "
            "and only [[tokens]] to add to it; confirmations are set by CONFIRMATION_POLICY_"
            + name.upper()
        )
    if extends and name not in built_in:
        return f"extends: there is no built-in network of this name; there are {_listed(built_in)}"
    return None


# ---------------------------------------------------------------- what does not fit together


def _why_unusable(network: Network) -> Iterable[str]:
    for field in ("symbol", "address"):
        values = [getattr(token, field) for token in network.tokens]
        for value in _twice(values):
            yield f"tokens: {field} {value} is there twice"
    for token in network.accepted_tokens():
        if token.decimals < ACCEPTED_DECIMALS_MIN:
            yield (
                f"tokens: {token.symbol}: decimals: {token.decimals}, but prices are in cents: a "
                f"token that is accepted has {ACCEPTED_DECIMALS_MIN} or more; write accepted = "
                "false to name it to the payer and keep it in the inbox"
            )
    if not network.accepted_tokens():
        yield "tokens: none of them is accepted"


def _why_not_together(networks: Sequence[Network]) -> Iterable[str]:
    for chain_id in _twice([network.chain_id for network in networks]):
        names = [network.name for network in networks if network.chain_id == chain_id]
        yield f"network {names[-1]}: chain_id: {chain_id} is {names[0]}'s already"


def _not_replaced(known: Iterable[Network], found: Sequence[Network]) -> list[Network]:
    names = {network.name for network in found}
    return [network for network in known if network.name not in names]


def _twice(values: Sequence[Any]) -> list[Any]:
    return [value for value in dict.fromkeys(values) if values.count(value) > 1]


# ---------------------------------------------------------------- words


def _lines(error: ValidationError, table: Mapping[str, Any]) -> Iterable[str]:
    model = _Extension if "extends" in table else _Network
    for problem in error.errors():
        where = [_part(part) for part in problem["loc"]]
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            text = "is missing"
        elif problem["type"] == "extra_forbidden":
            text = f"is no field; the fields are {_listed(_fields(model, problem['loc']))}"
        yield ": ".join([*where, text])


def _part(part: int | str) -> str:
    """People count from one."""
    return f"number {part + 1}" if isinstance(part, int) else part


def _fields(model: type[_Described], place: Sequence[int | str]) -> Iterable[str]:
    """Of the table in which the unknown one stands."""
    inside: dict[str, type[_Described]] = {"tokens": _Token, "coin": _Coin, "eip712": _Domain}
    for part in place[:-1]:
        model = inside.get(str(part), model)
    return model.model_fields


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
