"""A merchant: where its customers pay to, its API keys as hashes, its webhook endpoints.

Shapes  Test and live settings live side by side, each under its mode, and never mix.
Errors  see domain/errors.py; an unknown scope or event type is named with what is possible.
"""

from typing import assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.errors import (
    ApiKeyUnknown,
    EndpointLimitReached,
    EndpointUnknown,
    EventTypeUnknown,
    NameMalformed,
    ScopeUnknown,
)
from domain.values import Mode, Value

SCOPES = ("read", "write", "refund")
MESSAGE_TYPES = (
    "payment.created",
    "payment.confirming",
    "payment.completed",
    "payment.failed",
    "payment.refunded",
    "payment.retracted",
    "payment.reversed",
    "refund.created",
    "refund.failed",
)
ENDPOINTS_MAX = 20
NAME_LENGTH_MAX = 120


class RefundWallet(Value):
    index: int
    address: str


class ApiKey(Value):
    key_id: UUID
    mode: Mode
    scopes: tuple[str, ...]
    revoked: bool = False


class Endpoint(Value):
    endpoint_id: UUID
    mode: Mode
    url: str
    event_types: tuple[str, ...]
    secret_id: UUID
    enabled: bool = True

    def wants(self, message_type: str) -> bool:
        return self.enabled and (not self.event_types or message_type in self.event_types)


class Merchant(Value):
    merchant_id: UUID
    display_name: str
    extended_public_keys: dict[Mode, str] = {}
    refund_wallets: dict[Mode, RefundWallet] = {}
    api_keys: dict[UUID, ApiKey] = {}
    endpoints: dict[UUID, Endpoint] = {}


def decide(command: c.MerchantCommand, merchant: Merchant | None) -> tuple[e.Event, ...]:
    if isinstance(command, c.RegisterMerchant):
        return _register(command, merchant)
    assert merchant is not None, "commands reach a registered merchant only"
    match command:
        case c.ConfigureWallet():
            if merchant.extended_public_keys.get(command.mode) == command.extended_public_key:
                return ()
            return (e.WalletConfigured(**dict(command)),)
        case c.AssignRefundWallet():
            if command.mode in merchant.refund_wallets:
                return ()
            return (e.RefundWalletAssigned(**dict(command)),)
        case c.CreateApiKey():
            unknown = [scope for scope in command.scopes if scope not in SCOPES]
            if unknown or not command.scopes:
                raise ScopeUnknown(f"choose one or more scopes of: {', '.join(SCOPES)}")
            return () if command.key_id in merchant.api_keys else (_key(command),)
        case c.RevokeApiKey():
            key = merchant.api_keys.get(command.key_id)
            if key is None:
                raise ApiKeyUnknown("there is no such API key")
            return () if key.revoked else (e.ApiKeyRevoked(**dict(command)),)
        case c.CreateEndpoint():
            return _create_endpoint(command, merchant)
        case c.DeleteEndpoint():
            if command.endpoint_id not in merchant.endpoints:
                raise EndpointUnknown("there is no such webhook endpoint")
            return (e.WebhookEndpointDeleted(**dict(command)),)
        case c.DisableEndpoint():
            endpoint = merchant.endpoints.get(command.endpoint_id)
            if endpoint is None or not endpoint.enabled:
                return ()
            return (e.WebhookEndpointDisabled(**dict(command)),)
        case _:
            assert_never(command)


def _register(command: c.RegisterMerchant, merchant: Merchant | None) -> tuple[e.Event, ...]:
    if not 0 < len(command.display_name.strip()) <= NAME_LENGTH_MAX:
        raise NameMalformed(f"a merchant's name has 1 to {NAME_LENGTH_MAX} characters")
    return () if merchant is not None else (e.MerchantRegistered(**dict(command)),)


def _key(command: c.CreateApiKey) -> e.ApiKeyCreated:
    return e.ApiKeyCreated(**dict(command))


def _create_endpoint(command: c.CreateEndpoint, merchant: Merchant) -> tuple[e.Event, ...]:
    if command.endpoint_id in merchant.endpoints:
        return ()
    if len(merchant.endpoints) >= ENDPOINTS_MAX:
        raise EndpointLimitReached(f"a merchant has at most {ENDPOINTS_MAX} webhook endpoints")
    unknown = [kind for kind in command.event_types if kind not in MESSAGE_TYPES]
    if unknown:
        raise EventTypeUnknown(
            f"{unknown[0]!r} is no event type; choose of: {', '.join(MESSAGE_TYPES)}"
        )
    return (e.WebhookEndpointCreated(**dict(command)),)


def evolve(merchant: Merchant | None, event: e.Event) -> Merchant:
    if isinstance(event, e.MerchantRegistered):
        return Merchant(merchant_id=event.merchant_id, display_name=event.display_name)
    assert merchant is not None, f"{event.name} before the merchant was registered"
    match event:
        case e.WalletConfigured():
            keys = {**merchant.extended_public_keys, event.mode: event.extended_public_key}
            return merchant.model_copy(update={"extended_public_keys": keys})
        case e.RefundWalletAssigned():
            wallet = RefundWallet(index=event.index, address=event.address)
            wallets = {**merchant.refund_wallets, event.mode: wallet}
            return merchant.model_copy(update={"refund_wallets": wallets})
        case e.ApiKeyCreated():
            key = ApiKey(key_id=event.key_id, mode=event.mode, scopes=event.scopes)
            return _with_key(merchant, key)
        case e.ApiKeyRevoked():
            key = merchant.api_keys[event.key_id]
            return _with_key(merchant, key.model_copy(update={"revoked": True}))
        case e.WebhookEndpointCreated():
            fields = {k: v for k, v in dict(event).items() if k != "at"}
            return _with_endpoint(merchant, Endpoint(**fields))
        case e.WebhookEndpointDeleted():
            kept = {k: v for k, v in merchant.endpoints.items() if k != event.endpoint_id}
            return merchant.model_copy(update={"endpoints": kept})
        case e.WebhookEndpointDisabled():
            endpoint = merchant.endpoints[event.endpoint_id]
            return _with_endpoint(merchant, endpoint.model_copy(update={"enabled": False}))
        case _:
            raise AssertionError(f"{event.name} is no event of a merchant")


def _with_key(merchant: Merchant, key: ApiKey) -> Merchant:
    return merchant.model_copy(update={"api_keys": {**merchant.api_keys, key.key_id: key}})


def _with_endpoint(merchant: Merchant, endpoint: Endpoint) -> Merchant:
    endpoints = {**merchant.endpoints, endpoint.endpoint_id: endpoint}
    return merchant.model_copy(update={"endpoints": endpoints})
