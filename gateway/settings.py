"""Every setting, read once from the environment, checked before anything starts.

Shapes  One frozen model. A list is separated by commas. Any variable may be given as NAME_FILE
        instead, the path of a file that holds the value: how containers hand over secrets.
        RPC_URLS_<NETWORK>, CONFIRMATIONS_<NETWORK>, CONFIRMATION_POLICY_<NETWORK> and
        START_BLOCK_<NETWORK> exist per network; RPC_REQUESTS_PER_SECOND_<NETWORK>,
        RPC_USD_PER_MILLION_CALLS_<NETWORK> and RPC_WS_URLS_<NETWORK> beside its RPC_URLS.
        NETWORKS_FILE is a variable of its own: the path of a description of further networks
        (gateway/network_files.py).
Units   *_SECONDS in seconds; USD amounts as decimal strings.
Errors  SettingsError names each variable that is missing or wrong, and what it should look like.
"""

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from domain.networks import KNOWN_NETWORKS, Network, NetworkBook, Token, local_network
from gateway.confirmation_setting import EXAMPLE, WrittenPolicy, written_policy
from gateway.failures import GatewayError
from gateway.network_files import LOCAL, NetworksFileError, networks_of_file
from gateway.provider_settings import Listed, Prices, Rates, Sockets, check_one_each
from gateway.rpc_operators import why_not_independent

MASTER_KEY_BYTES = 32
PROVIDERS_MAX = 3
_DOLLARS = re.compile(r"[0-9]{1,12}\.[0-9]{2}")
_PER_NETWORK = (
    "RPC_URLS",
    "CONFIRMATIONS",
    "CONFIRMATION_POLICY",
    "START_BLOCK",
    "RPC_USD_PER_MILLION_CALLS",
    "RPC_REQUESTS_PER_SECOND",
    "RPC_WS_URLS",
)


class SettingsError(GatewayError):
    """The environment is not usable; the message lists each variable and what to do."""


def _url(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    def check(secret: SecretStr) -> SecretStr:
        parts = urlsplit(secret.get_secret_value())
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL, {schemes[0]}://host")
        return secret

    return check


def _dollars(text: str) -> str:
    if _DOLLARS.fullmatch(text) is None or not text.strip("0."):
        raise ValueError('must be dollars and cents above zero, such as "1000.00"')
    return text


def _key(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise ValueError("must be 32 random bytes in base64")
    return secret


DatabaseUrl = Annotated[SecretStr, AfterValidator(_url("postgresql", "postgres"))]
NatsUrl = Annotated[SecretStr, AfterValidator(_url("nats", "tls"))]
MasterKey = Annotated[SecretStr, AfterValidator(_key)]
Dollars = Annotated[str, AfterValidator(_dollars)]
Blocks = Annotated[int, Field(ge=1, le=10_000)]
Written = Annotated[WrittenPolicy, BeforeValidator(written_policy)]
BlockNumber = Annotated[int, Field(ge=0)]


class Settings(BaseModel):
    """Field names are the variables' names in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: DatabaseUrl | None = Field(
        default=None, description="PostgreSQL as gw_app: postgresql://gw_app:…@host/gateway"
    )
    database_url_owner: DatabaseUrl | None = Field(
        default=None, description="PostgreSQL as the owner: for `gateway migrate` only"
    )
    database_url_signer: DatabaseUrl | None = Field(
        default=None, description="PostgreSQL as gw_signer: for `gateway sign` only"
    )
    gw_app_password: SecretStr | None = Field(
        default=None, description="the password `gateway migrate` gives to gw_app"
    )
    gw_signer_password: SecretStr | None = Field(
        default=None, description="the password `gateway migrate` gives to gw_signer"
    )
    nats_url: NatsUrl | None = Field(
        default=None, description="NATS with JetStream: nats://host:4222"
    )
    networks: Listed = Field(default=(LOCAL,), description="which networks are served")
    networks_file: Path | None = Field(
        default=None, description="describes further networks, see docs/guides/networks.md"
    )
    described: tuple[Network, ...] = ()  # no variable: what NETWORKS_FILE says
    rpc_urls: Mapping[str, Listed] = Field(default={}, description="one to three providers each")
    confirmations: Mapping[str, Blocks] = Field(default={}, description="blocks until it is safe")
    confirmation_policy: Mapping[str, Written] = Field(
        default={}, description=f"by amount in dollars, such as {EXAMPLE}"
    )
    start_block: Mapping[str, BlockNumber] = Field(
        default={}, description="first block of all to read"
    )
    local_chain_id: int = 31337
    local_tokens: Listed = Field(default=(), description="SYMBOL=0xADDRESS of 6-decimal tokens")
    master_key: MasterKey | None = Field(
        default=None, description="32 random bytes in base64: encrypts secrets at rest"
    )
    hot_wallet_xpub: str | None = Field(
        default=None, description="printed by `gateway sign --init`: refund wallets' public key"
    )
    keystore_path: Path | None = Field(default=None, description="the signer's encrypted keystore")
    keystore_passphrase: SecretStr | None = Field(default=None, description="opens the keystore")
    signer_max_per_transaction: Dollars = "1000.00"
    signer_max_per_merchant_day: Dollars = "5000.00"
    signer_max_per_day: Dollars = "20000.00"
    public_base_url: str = Field(
        default="http://127.0.0.1:8000", description="where customers reach the checkout"
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    metrics_host: str = Field(
        default="127.0.0.1", description="where /metrics listens: never a public address"
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Prometheus figures of `gateway ingest` and `gateway project`",
    )
    ingest_rests: bool = Field(
        default=True, description="look at the chain every other minute while nobody is to pay"
    )
    rpc_usd_per_million_calls: Mapping[str, Prices] = Field(
        default={}, description="what each of RPC_URLS costs, in its order: 0.45,0,1.20"
    )
    rpc_requests_per_second: Mapping[str, Rates] = Field(
        default={}, description="how often each of RPC_URLS may be asked: one rate, or one each"
    )
    rpc_ws_urls: Mapping[str, Sockets] = Field(
        default={}, description="newHeads as a bell, beside RPC_URLS: wss://host"
    )
    amount_max: Dollars = Field(default="10000.00", description="largest session in USD")
    webhook_allow_private: bool = Field(
        default=False, description="deliver to this machine too: for development only"
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in self.networks:
            if self.networks.count(name) > 1:
                raise ValueError(f"NETWORKS: {name!r} is there twice")
        known = {*self.known(), LOCAL}
        for setting in ("networks", *(name.lower() for name in _PER_NETWORK)):
            unknown = [name for name in getattr(self, setting) if name not in known]
            if unknown:
                choice = ", ".join(sorted(known))
                raise ValueError(f"{setting.upper()}: {unknown[0]!r} is none of {choice}")
        for name, urls in self.rpc_urls.items():
            _check_providers(f"RPC_URLS_{name.upper()}", urls)
        prices, rates = self.rpc_usd_per_million_calls, self.rpc_requests_per_second
        check_one_each("RPC_USD_PER_MILLION_CALLS", prices, self.rpc_urls, or_one=False)
        check_one_each("RPC_REQUESTS_PER_SECOND", rates, self.rpc_urls, or_one=True)
        for name in sorted(self.confirmations.keys() & self.confirmation_policy.keys()):
            upper = name.upper()
            raise ValueError(
                f"CONFIRMATION_POLICY_{upper}: give it or CONFIRMATIONS_{upper}, not both"
            )
        if self.local_tokens:
            self._local()
        if LOCAL in self.networks:
            self._check_local_chain_id()
        return self

    def _check_local_chain_id(self) -> None:
        served = (network for name, network in self.known().items() if name in self.networks)
        for network in served:
            if network.chain_id == self.local_chain_id:
                raise ValueError(
                    f"LOCAL_CHAIN_ID: {self.local_chain_id} is {network.name}'s: serve one of the "
                    "two, or give the local chain another id"
                )

    def master_key_bytes(self) -> bytes:
        assert self.master_key is not None, "named among the needs of this process"
        return base64.b64decode(self.master_key.get_secret_value())

    def secret(self, name: str) -> str:
        """A setting that this process has named among its needs."""
        value = getattr(self, name)
        assert isinstance(value, SecretStr), f"{name} is not among the needs of this process"
        return value.get_secret_value()

    def known(self) -> dict[str, Network]:
        """Every network that can be served, but for the local one: built in or described."""
        return {network.name: network for network in (*KNOWN_NETWORKS, *self.described)}

    def network(self, name: str) -> Network:
        """One of `known`, or the local one, with the confirmations asked for."""
        return self._confirmed(self._local() if name == LOCAL else self.known()[name])

    def book(self) -> NetworkBook:
        """The networks served; those described beside them stay known, for what was paid there."""
        described = self.described
        if self.local_tokens:
            described = (*described, self._local())
        return NetworkBook(
            networks=tuple(self.network(name) for name in self.networks),
            others=tuple(each for each in described if each.name not in self.networks),
        )

    def requests_per_second(self, network: str, place: int) -> float | None:
        """How often the provider at this place may be asked; None: nothing is said."""
        rates = self.rpc_requests_per_second.get(network)
        return None if rates is None else float(rates[min(place, len(rates) - 1)])

    def _confirmed(self, network: Network) -> Network:
        """With the policy asked for; which version that is, the log says (application/policies)."""
        policy = network.policy
        written = self.confirmation_policy.get(network.name)
        if written is not None:
            policy = written.applied_to(policy)
        elif network.name in self.confirmations:
            policy = policy.model_copy(update={"blocks": self.confirmations[network.name]})
        return network.model_copy(update={"policy": policy})

    def _local(self) -> Network:
        tokens = []
        for entry in self.local_tokens:
            symbol, _, address = entry.partition("=")
            try:
                tokens.append(Token(symbol=symbol, address=address.lower(), decimals=6))
            except ValidationError as error:
                raise ValueError(f"LOCAL_TOKENS: {entry!r} is not SYMBOL=0xADDRESS") from error
        if not tokens:
            raise ValueError("LOCAL_TOKENS: name at least one token, SYMBOL=0xADDRESS")
        return local_network(chain_id=self.local_chain_id, tokens=tuple(tokens), blocks=3)


VARIABLES = tuple(
    name.upper()
    for name in Settings.model_fields
    if name.upper() not in _PER_NETWORK and name != "described"
)


def load(environment: Mapping[str, str] | None = None, *, needs: Sequence[str] = ()) -> Settings:
    """The settings of a process. Raises SettingsError with every variable that is wrong.

    `needs` names the settings it cannot do without; "rpc_urls" means one list a network, and
    "networks" that each of them is described.
    """
    fields = _fields(dict(os.environ if environment is None else environment))
    missing = [_missing(name) for name in needs if name not in {*_WHOLE, *fields}]
    try:
        if "networks_file" in fields:
            fields["described"] = networks_of_file(Path(fields["networks_file"]))
        settings = Settings.model_validate(fields)
    except NetworksFileError as error:
        raise SettingsError(_ATTENTION + "\n".join([*missing, str(error)])) from None
    except ValidationError as error:
        lines = [*missing, *(_explained(problem) for problem in error.errors())]
        raise SettingsError(_ATTENTION + "\n".join(lines)) from None
    if "networks" in needs and LOCAL in settings.networks and not settings.local_tokens:
        missing.append(_missing("local_tokens"))
    if "rpc_urls" in needs:
        without = [name for name in settings.networks if name not in settings.rpc_urls]
        missing += [
            f"  RPC_URLS_{name.upper()}: is not set (one to three URLs)" for name in without
        ]
    if missing:
        raise SettingsError(_ATTENTION + "\n".join(missing))
    return settings


_WHOLE = ("networks", "rpc_urls")  # have defaults, or come in several variables
_ATTENTION = "these settings need your attention:\n"


def _missing(name: str) -> str:
    description = Settings.model_fields[name].description
    return f"  {name.upper()}: is not set" + (f" ({description})" if description else "")


def _check_providers(variable: str, urls: tuple[str, ...]) -> None:
    """One to three, each of an operator of its own: a provider must not attest itself."""
    if not 1 <= len(urls) <= PROVIDERS_MAX:
        raise ValueError(f"{variable}: give one to {PROVIDERS_MAX} URLs")
    try:
        shared = why_not_independent(urls)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
    if shared is not None:
        raise ValueError(f"{variable}: {shared}")


def _fields(values: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in VARIABLES:
        text = _value(values, name)
        if text is not None:
            fields[name.lower()] = text
    for prefix in _PER_NETWORK:
        names = {
            name.removesuffix("_FILE")
            for name, text in values.items()
            if name.startswith(prefix + "_") and text
        }
        if names:
            fields[prefix.lower()] = {
                name.removeprefix(prefix + "_").lower(): _value(values, name)
                for name in sorted(names)
            }
    return fields


def _value(values: Mapping[str, str], name: str) -> str | None:
    path = values.get(f"{name}_FILE")
    if path and name != "NETWORKS":  # NETWORKS_FILE says what they are, not which are served
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE: cannot read {path}: {error.strerror}") from None
    return values.get(name) or None


def _explained(problem: Any) -> str:
    """One line a variable; pydantic's own echo of the value is left out, it may be a secret."""
    if not problem["loc"]:
        return "  " + str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    variable = "_".join(str(part).upper() for part in problem["loc"][:2] if isinstance(part, str))
    field = Settings.model_fields.get(name)
    hint = f" ({field.description})" if field is not None and field.description else ""
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"  {variable}: {reason}{hint}"
