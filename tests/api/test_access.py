"""Each operation times each way of not being allowed, read from the contract itself."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from adapters.addresses import checksum_address
from api.app import create_app
from application.api_keys import new_key
from application.ports import StoreUnavailable
from domain.values import public_id
from tests.api.conftest import Answer, Api
from tests.api.signing import Wallet
from tests.api.world import ALL, Tenant, World
from tests.examples import RECEIVING


def _operations() -> list[tuple[str, str, str]]:
    document = create_app(World().api()).openapi()
    return [
        (method.upper(), path, operation["x-required-scope"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path.startswith("/v1/")
    ]


OPERATIONS = _operations()
# What a stranger is told about an object that is not his. A new operation needs a line here.
STRANGERS: dict[tuple[str, str], int | str] = {
    ("POST", "/v1/payment-sessions"): "creates his own",
    ("GET", "/v1/payment-sessions"): "empty",
    ("GET", "/v1/payment-sessions/{session_id}"): 404,
    ("POST", "/v1/payment-sessions/{session_id}/cancel"): 404,
    ("GET", "/v1/payment-sessions/{session_id}/events"): 404,
    ("GET", "/v1/payment-sessions/{session_id}/payer-words"): 404,
    ("POST", "/v1/payment-sessions/{session_id}/payers"): 404,
    ("POST", "/v1/payment-sessions/{session_id}/transactions"): 404,
    ("GET", "/v1/transfers"): "empty",
    ("GET", "/v1/transfers/{transfer_id}"): 404,
    ("POST", "/v1/transfers/{transfer_id}/accept"): 404,
    ("POST", "/v1/transfers/{transfer_id}/dismiss"): 404,
    ("POST", "/v1/transfers/{transfer_id}/assign"): 404,
    ("POST", "/v1/transfers/{transfer_id}/refund"): 404,
    ("GET", "/v1/settings"): "sees his own",
    ("PUT", "/v1/settings"): "sees his own",
    ("GET", "/v1/balances"): "sees his own",
    ("GET", "/v1/statements/{month}"): "sees his own",
    ("POST", "/v1/refunds"): 404,
    ("GET", "/v1/refunds"): "empty",
    ("GET", "/v1/refunds/{refund_id}"): 404,
    ("POST", "/v1/webhook-endpoints"): "creates his own",
    ("GET", "/v1/webhook-endpoints"): "empty",
    ("GET", "/v1/webhook-endpoints/{endpoint_id}"): 404,
    ("DELETE", "/v1/webhook-endpoints/{endpoint_id}"): 404,
    ("GET", "/v1/webhook-deliveries"): "empty",
    ("GET", "/v1/webhook-deliveries/{delivery_id}"): 404,
    ("POST", "/v1/webhook-deliveries/{delivery_id}/replay"): 404,
}
each_operation = pytest.mark.parametrize(
    ("method", "path", "scope"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS]
)


PAYING = Wallet(0x21)
MONTH = "2026-11"


@dataclass(slots=True)
class Owned:
    """One object of each kind, all of the shop's, in test mode."""

    ids: dict[str, str]

    signature: str = ""

    def url(self, path: str) -> str:
        shared = path.endswith(("/payer-words", "/payers", "/transactions"))
        session_id = self.ids["wallet_session_id" if shared else "session_id"]
        return path.format(**{**self.ids, "session_id": session_id})

    def body(self, method: str, path: str) -> dict[str, Any] | None:
        if method not in {"POST", "PUT"}:
            return None
        session_id = self.ids["session_id"]
        bodies: dict[str, dict[str, Any]] = {
            "/v1/payment-sessions": {"amount": "10.00", "currency": "USD"},
            "/v1/refunds": {"payment_session_id": session_id, "amount": "1.00"},
            "/v1/webhook-endpoints": {"url": "https://shop.example/hooks"},
            "/v1/settings": {"tolerance": {"absolute": "0.05"}},
            "payers": {"address": PAYING.address, "signature": self.signature},
            "transactions": {"tx_hash": "0x" + "55" * 32},
            "accept": {"reason": "a tip"},
            "dismiss": {"reason": "our own money"},
            "assign": {"reason": "it is his", "payment_session_id": session_id},
            "refund": {"reason": "paid twice"},
        }
        return bodies.get(path) or bodies.get(path.rpartition("/")[2])


@pytest.fixture
async def owned(world: World, shop: Tenant, other: Tenant) -> Owned:
    session = await world.session(shop)
    await world.pay(session)
    await world.fund(shop, "50.00")
    await world.fund(other, "50.00")
    caller = shop.caller()
    refund = await world.refunds.request(
        session.session_id, "1.00", None, None, caller, None, lambda _: (201, b"")
    )
    endpoint, _ = await world.webhooks.create_endpoint(
        "https://shop.example/hooks", (), caller, None, lambda _: (201, b"")
    )
    delivery_id = await world.delivery(shop, endpoint.endpoint_id)
    await world.receive_at(shop, RECEIVING)
    shared = await world.session(shop, pay_by="merchant_wallet")
    words = await world.claims.words_for(shared.session_id)
    transfer_id = await world.arrive(RECEIVING)
    return Owned(
        {
            "session_id": public_id("ps", session.session_id),
            "wallet_session_id": public_id("ps", shared.session_id),
            "transfer_id": public_id("tr", transfer_id),
            "refund_id": public_id("rf", refund.refund_id),
            "endpoint_id": public_id("we", endpoint.endpoint_id),
            "delivery_id": public_id("wd", delivery_id),
            "month": MONTH,
        },
        PAYING.sign_text(words),
    )


async def _call(api: Api, owned: Owned, method: str, path: str) -> Answer:
    body = owned.body(method, path)
    return await api.call(
        method, owned.url(path), body, headers={"Idempotency-Key": uuid4().hex} if body else None
    )


def test_every_operation_has_a_line_in_the_matrix() -> None:
    assert {(method, path) for method, path, _ in OPERATIONS} == set(STRANGERS)


@each_operation
async def test_the_owner_with_just_the_scope_gets_through(
    api: Api, owned: Owned, shop: Tenant, method: str, path: str, scope: str
) -> None:
    answer = await _call(api.with_key(shop.keys[(scope,)]), owned, method, path)
    refused_by_state = {("POST", "/v1/payment-sessions/{session_id}/cancel"): 409}
    assert answer.status == refused_by_state.get((method, path), answer.status)
    assert answer.status < 400 or (method, path) in refused_by_state


@each_operation
async def test_no_key_and_wrong_keys_are_401(
    api: Api, owned: Owned, shop: Tenant, method: str, path: str, scope: str
) -> None:
    stranger, _, _ = new_key("test", bytes(range(32)))
    broken = shop.key[:-1] + ("0" if shop.key[-1] != "0" else "1")
    other_mode = shop.key.replace("sk_test_", "sk_live_")
    missing = await _call(api.with_key(""), owned, method, path)
    missing.problem(401, "api_key.missing", "Authorization")
    assert missing.headers["WWW-Authenticate"].startswith("Bearer")
    for key in (stranger, broken, other_mode, "nonsense", "sk_test_" + "é" * 38, shop.key + "0"):
        answer = await _call(api.with_key(key), owned, method, path)
        answer.problem(401, "api_key.invalid", "Authorization")


@each_operation
async def test_another_scope_is_403_and_told_which_is_missing(
    api: Api, owned: Owned, shop: Tenant, method: str, path: str, scope: str
) -> None:
    for name in ALL:
        if name != scope:
            answer = await _call(api.with_key(shop.keys[(name,)]), owned, method, path)
            error = answer.problem(403, "api_key.scope_missing", "Authorization")
            assert repr(scope) in error["message"]


@each_operation
async def test_a_stranger_and_the_other_mode_find_nothing(
    api: Api, owned: Owned, shop: Tenant, other: Tenant, method: str, path: str, scope: str
) -> None:
    expected = STRANGERS[method, path]
    for key in (other.key, shop.live_key):
        answer = await _call(api.with_key(key), owned, method, path)
        if expected == 404:
            assert answer.status == 404
            assert answer.json["error"] == _as_if_unknown(
                answer, await _unknown(api.with_key(key), owned, method, path)
            )
        elif expected == "empty":
            assert (answer.status, answer.json["data"]) == (200, [])
        elif expected == "sees his own":
            assert answer.status == 200
            ours = {*owned.ids.values(), checksum_address(RECEIVING)} - {MONTH}
            assert not [one for one in ours if one in answer.body.decode()]
            assert key == shop.live_key or shop.merchant_id.hex not in answer.body.decode()
        else:
            assert answer.status == 201


async def _unknown(api: Api, owned: Owned, method: str, path: str) -> Answer:
    """The same call about an object nobody has."""
    nobody = {name: text[:3] + "0" * 32 for name, text in owned.ids.items()}
    return await _call(api, Owned(nobody, owned.signature), method, path)


def _as_if_unknown(answer: Answer, unknown: Answer) -> Any:
    assert unknown.status == 404
    return {**unknown.json["error"], "request_id": answer.json["error"]["request_id"]}


@each_operation
async def test_the_key_is_looked_at_before_anything_else(
    api: Api, owned: Owned, method: str, path: str, scope: str
) -> None:
    answer = await api.with_key("").call(
        method, owned.url(path) + "?limit=nonsense", data=b"{", headers={"Idempotency-Key": ""}
    )
    answer.problem(401, "api_key.missing")


async def test_a_key_with_a_bad_checksum_reaches_no_database(
    api: Api, world: World, shop: Tenant
) -> None:
    world.store.outage = StoreUnavailable("away")
    broken = shop.key[:-1] + ("0" if shop.key[-1] != "0" else "1")
    (await api.with_key(broken).get("/v1/refunds")).problem(401, "api_key.invalid")
    stranger, _, _ = new_key("test", bytes(range(32)))
    (await api.with_key(stranger).get("/v1/refunds")).problem(503, "service.unavailable")


async def test_a_revoked_key_is_refused_within_a_second(
    api: Api, world: World, shop: Tenant
) -> None:
    assert (await api.get("/v1/refunds")).status == 200
    await world.revoke(shop, shop.key)
    world.clock.advance(1)
    (await api.get("/v1/refunds")).problem(401, "api_key.invalid")
