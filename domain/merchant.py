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
    ToleranceOutOfRange,
)
from domain.money import Amount
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
    "payment.reduced",
    "refund.created",
    "refund.failed",
    "refund.reversed",
    "transfer.unmatched",
    "transfer.reversed",
    "transfer.refunded",
)
ENDPOINTS_MAX = 20
NAME_LENGTH_MAX = 120
MICROS_PER_DOLLAR = 1_000_000
TOLERANCE_MICROS_MAX = 100 * MICROS_PER_DOLLAR
TOLERANCE_BASIS_POINTS_MAX = 1_000  # 10 %


class Tolerance(Value):
    """How much of an amount due may be missing: the larger of the two."""

    absolute_micros: int = 0
    basis_points: int = 0

    def of(self, due: Amount, decimals: int) -> Amount:
        """In base units of the token, rounded down; never more than half of what is due."""
        absolute = self.absolute_micros * 10**decimals // MICROS_PER_DOLLAR
        share = due.units * self.basis_points // 10_000
        return due.changed(units=min(max(absolute, share), due.units // 2))


EXACT = Tolerance()


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
    receiving_addresses: dict[Mode, str] = {}
    known_wallets: tuple[str, ...] = ()  # that were ever receiving addresses
    tolerances: dict[Mode, Tolerance] = {}
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
        case c.SetReceivingAddress():
            if merchant.receiving_addresses.get(command.mode) == command.address:
                return ()
            return (e.ReceivingAddressSet(**dict(command)),)
        case c.SetTolerance():
            return _set_tolerance(command, merchant)
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


def _set_tolerance(command: c.SetTolerance, merchant: Merchant) -> tuple[e.Event, ...]:
    within = (
        0 <= command.absolute_micros <= TOLERANCE_MICROS_MAX
        and 0 <= command.basis_points <= TOLERANCE_BASIS_POINTS_MAX
    )
    if not within:
        raise ToleranceOutOfRange(
            f"at most {TOLERANCE_MICROS_MAX // MICROS_PER_DOLLAR} USD and "
            f"{TOLERANCE_BASIS_POINTS_MAX // 100} % of an amount may be missing"
        )
    wanted = Tolerance(absolute_micros=command.absolute_micros, basis_points=command.basis_points)
    if merchant.tolerances.get(command.mode, EXACT) == wanted:
        return ()
    return (e.ToleranceSet(**dict(command)),)


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
            return merchant.changed(extended_public_keys=keys)
        case e.ReceivingAddressSet():
            addresses = {**merchant.receiving_addresses, event.mode: event.address}
            known = dict.fromkeys((*merchant.known_wallets, event.address))
            return merchant.changed(receiving_addresses=addresses, known_wallets=tuple(known))
        case e.ToleranceSet():
            tolerance = Tolerance(
                absolute_micros=event.absolute_micros, basis_points=event.basis_points
            )
            tolerances = {**merchant.tolerances, event.mode: tolerance}
            return merchant.changed(tolerances=tolerances)
        case e.RefundWalletAssigned():
            wallet = RefundWallet(index=event.index, address=event.address)
            wallets = {**merchant.refund_wallets, event.mode: wallet}
            return merchant.changed(refund_wallets=wallets)
        case e.ApiKeyCreated():
            key = ApiKey(key_id=event.key_id, mode=event.mode, scopes=event.scopes)
            return _with_key(merchant, key)
        case e.ApiKeyRevoked():
            key = merchant.api_keys[event.key_id]
            return _with_key(merchant, key.changed(revoked=True))
        case e.WebhookEndpointCreated():
            fields = {k: v for k, v in dict(event).items() if k != "at"}
            return _with_endpoint(merchant, Endpoint(**fields))
        case e.WebhookEndpointDeleted():
            kept = {k: v for k, v in merchant.endpoints.items() if k != event.endpoint_id}
            return merchant.changed(endpoints=kept)
        case e.WebhookEndpointDisabled():
            endpoint = merchant.endpoints[event.endpoint_id]
            return _with_endpoint(merchant, endpoint.changed(enabled=False))
        case _:
            raise AssertionError(f"{event.name} is no event of a merchant")


def _with_key(merchant: Merchant, key: ApiKey) -> Merchant:
    return merchant.changed(api_keys={**merchant.api_keys, key.key_id: key})


def _with_endpoint(merchant: Merchant, endpoint: Endpoint) -> Merchant:
    endpoints = {**merchant.endpoints, endpoint.endpoint_id: endpoint}
    return merchant.changed(endpoints=endpoints)
