"""Every setting, read once from the environment, checked before anything starts.

Shapes  One frozen model. A list is separated by commas. Any variable may be given as NAME_FILE
        instead, the path of a file that holds the value: how containers hand over secrets.
        RPC_URLS_<NETWORK>, CONFIRMATIONS_<NETWORK> and START_BLOCK_<NETWORK> exist per network.
Units   *_SECONDS in seconds; USD amounts as decimal strings.
Errors  SettingsError names each variable that is missing or wrong, and what it should look like.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from domain.networks import KNOWN_NETWORKS, Network, NetworkBook, Token, local_network
from gateway.failures import GatewayError

MASTER_KEY_BYTES = 32
PROVIDERS_MAX = 3
_PER_NETWORK = ("RPC_URLS", "CONFIRMATIONS", "START_BLOCK")


class SettingsError(GatewayError):
    """The environment is not usable; the message lists each variable and what to do."""


def _listed(raw: object) -> object:
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    return raw


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Settings(BaseModel):
    """Field names are the variables' names in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr = Field(
        description="PostgreSQL as the role gw_app", examples=["postgresql://gw_app:…@db/gateway"]
    )
    database_url_owner: SecretStr | None = Field(
        default=None, description="PostgreSQL as the owner: for `gateway migrate` only"
    )
    database_url_signer: SecretStr | None = Field(
        default=None, description="PostgreSQL as gw_signer: for `gateway sign` only"
    )
    gw_app_password: SecretStr | None = Field(
        default=None, description="the password `gateway migrate` gives to gw_app"
    )
    gw_signer_password: SecretStr | None = Field(
        default=None, description="the password `gateway migrate` gives to gw_signer"
    )
    nats_url: SecretStr = Field(description="NATS with JetStream", examples=["nats://nats:4222"])
    networks: Listed = Field(default=("local",), description="which networks are served")
    rpc_urls: Mapping[str, Listed] = Field(default={}, description="one to three providers each")
    confirmations: Mapping[str, int] = Field(default={}, description="blocks until it is safe")
    start_block: Mapping[str, int] = Field(default={}, description="first block of all to read")
    local_chain_id: int = 31337
    local_tokens: Listed = Field(default=(), description="SYMBOL=0xADDRESS of 6-decimal tokens")
    master_key: SecretStr = Field(
        description="32 random bytes in base64: encrypts secrets at rest"
    )
    hot_wallet_xpub: str | None = Field(
        default=None, description="printed by `gateway sign --init`: refund wallets' public key"
    )
    keystore_path: Path | None = Field(default=None, description="the signer's encrypted keystore")
    keystore_passphrase: SecretStr | None = Field(default=None, description="opens the keystore")
    signer_max_per_transaction: str = "1000.00"
    signer_max_per_merchant_day: str = "5000.00"
    signer_max_per_day: str = "20000.00"
    public_base_url: str = Field(
        default="http://127.0.0.1:8000", description="where customers reach the checkout"
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    amount_max: str = Field(default="10000.00", pattern=r"^\d{1,12}\.\d{2}$")
    webhook_allow_private: bool = Field(
        default=False, description="deliver to this machine too: for development only"
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        known = {network.name for network in KNOWN_NETWORKS} | {"local"}
        unknown = [name for name in self.networks if name not in known]
        if unknown:
            raise ValueError(f"NETWORKS: {unknown[0]!r} is none of {', '.join(sorted(known))}")
        for name in self.networks:
            urls = self.rpc_urls.get(name, ())
            if not 1 <= len(urls) <= PROVIDERS_MAX:
                raise ValueError(f"RPC_URLS_{name.upper()}: give one to {PROVIDERS_MAX} URLs")
        self.master_key_bytes()
        self.book()
        return self

    def master_key_bytes(self) -> bytes:
        try:
            key = base64.b64decode(self.master_key.get_secret_value(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != MASTER_KEY_BYTES:
            raise ValueError("MASTER_KEY: give 32 random bytes in base64")
        return key

    def book(self) -> NetworkBook:
        """The networks served, with the confirmations asked for."""
        known = {network.name: network for network in KNOWN_NETWORKS}
        networks = []
        for name in self.networks:
            network = self._local() if name == "local" else known[name]
            blocks = self.confirmations.get(name, network.policy.blocks)
            policy = network.policy.model_copy(update={"blocks": blocks})
            networks.append(network.model_copy(update={"policy": policy}))
        return NetworkBook(networks=tuple(networks))

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
    name.upper() for name in Settings.model_fields if name.upper() not in _PER_NETWORK
)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises SettingsError with every variable that is wrong."""
    values = dict(os.environ if environment is None else environment)
    try:
        return Settings.model_validate(_fields(values))
    except ValidationError as error:
        lines = [_explained(problem) for problem in error.errors()]
        raise SettingsError("these settings need your attention:\n" + "\n".join(lines)) from None


def _fields(values: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in VARIABLES:
        text = _value(values, name)
        if text is not None:
            fields[name.lower()] = text
    for prefix in _PER_NETWORK:
        found = {
            name.removeprefix(prefix + "_").lower(): text
            for name, text in values.items()
            if name.startswith(prefix + "_") and text
        }
        if found:
            fields[prefix.lower()] = found
    return fields


def _value(values: Mapping[str, str], name: str) -> str | None:
    path = values.get(f"{name}_FILE")
    if path:
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
    reason = "is not set" if problem["type"] == "missing" else str(problem["msg"])
    return f"  {variable}: {reason}{hint}"
