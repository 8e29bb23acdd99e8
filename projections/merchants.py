"""Merchants with what opens their doors: API keys by hash, and webhook endpoints.

Shapes  merchants  a row a merchant, with the folded state and the hashes of its keys
        api_keys   a row a key ever made; revoked ones stay and say so
        endpoints  a row an endpoint; deleted and disabled ones stay and say so
Units   scopes and event types in one text each, separated by spaces; neither contains one.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from application.ports import Fact
from domain import events as e
from domain import merchant
from domain.merchant import Merchant
from domain.values import Value
from projections.projection import StreamProjection, state_table
from projections.table import Row, Table

MERCHANTS = state_table("merchants", "merchant_id", (("display_name", "text"),))
API_KEYS = Table(
    "api_keys",
    (
        ("key_id", "uuid"),
        ("key_hash", "text"),
        ("merchant_id", "uuid"),
        ("mode", "text"),
        ("scopes", "text"),
        ("label", "text"),
        ("last4", "text"),
        ("created_at", "timestamptz"),
        ("revoked", "boolean"),
    ),
    ("key_id",),
    indexes=("(key_hash)", "(merchant_id, mode)"),
)
ENDPOINTS = Table(
    "endpoints",
    (
        ("endpoint_id", "uuid"),
        ("merchant_id", "uuid"),
        ("mode", "text"),
        ("url", "text"),
        ("event_types", "text"),
        ("created_at", "timestamptz"),
        ("enabled", "boolean"),
        ("deleted", "boolean"),
    ),
    ("endpoint_id",),
    indexes=("(merchant_id, mode)",),
)


class MerchantRecord(Value):
    """The merchant as decided about, and the facts by which it came to have what it has."""

    merchant: Merchant
    keys: dict[UUID, e.ApiKeyCreated] = {}
    endpoints: dict[UUID, e.WebhookEndpointCreated] = {}


class Merchants(StreamProjection[MerchantRecord]):
    name, version = "merchants", 2
    state_type = MerchantRecord
    states = MERCHANTS
    tables = (MERCHANTS, API_KEYS, ENDPOINTS)
    handles = frozenset(
        {
            e.MerchantRegistered,
            e.WalletConfigured,
            e.ReceivingAddressSet,
            e.ToleranceSet,
            e.RefundWalletAssigned,
            e.ApiKeyCreated,
            e.ApiKeyRevoked,
            e.WebhookEndpointCreated,
            e.WebhookEndpointDeleted,
            e.WebhookEndpointDisabled,
        }
    )

    def evolve(self, state: MerchantRecord | None, recorded: Fact[Any]) -> MerchantRecord:
        event = recorded.event
        folded = merchant.evolve(state.merchant if state else None, event)
        if state is None:
            return MerchantRecord(merchant=folded)
        update: dict[str, object] = {"merchant": folded}
        if isinstance(event, e.ApiKeyCreated):
            update["keys"] = {**state.keys, event.key_id: event}
        if isinstance(event, e.WebhookEndpointCreated):
            update["endpoints"] = {**state.endpoints, event.endpoint_id: event}
        return state.model_copy(update=update)

    def columns(self, state: MerchantRecord) -> Row:
        return (state.merchant.display_name,)

    def beside(self, state: MerchantRecord, recorded: Fact[Any]) -> Iterable[tuple[str, Row]]:
        match recorded.event:
            case e.ApiKeyCreated(key_id=key_id) | e.ApiKeyRevoked(key_id=key_id):
                yield API_KEYS.name, _key_row(state, key_id)
            case (
                e.WebhookEndpointCreated(endpoint_id=endpoint_id)
                | e.WebhookEndpointDeleted(endpoint_id=endpoint_id)
                | e.WebhookEndpointDisabled(endpoint_id=endpoint_id)
            ):
                yield ENDPOINTS.name, _endpoint_row(state, endpoint_id)
            case _:
                pass


def _key_row(state: MerchantRecord, key_id: UUID) -> Row:
    made = state.keys[key_id]
    return (
        key_id,
        made.key_hash,
        state.merchant.merchant_id,
        made.mode,
        " ".join(made.scopes),
        made.label,
        made.last4,
        made.at,
        state.merchant.api_keys[key_id].revoked,
    )


def _endpoint_row(state: MerchantRecord, endpoint_id: UUID) -> Row:
    made = state.endpoints[endpoint_id]
    held = state.merchant.endpoints.get(endpoint_id)
    return (
        endpoint_id,
        state.merchant.merchant_id,
        made.mode,
        made.url,
        " ".join(made.event_types),
        made.at,
        held is not None and held.enabled,
        held is None,
    )
