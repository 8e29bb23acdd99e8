from uuid import UUID

from tests.api.conftest import Api
from tests.api.world import Tenant, World

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/webhook-deliveries"
NEW = {"url": "https://shop.example/hooks", "event_types": ["payment.completed"]}


async def test_an_endpoint_is_created_listed_read_and_deleted(api: Api) -> None:
    created = await api.post(ENDPOINTS, NEW)
    assert created.status == 201
    endpoint = created.json
    assert endpoint.pop("secret").startswith("whsec_")
    assert endpoint["event_types"] == ["payment.completed"]
    assert (await api.get(ENDPOINTS)).json["data"] == [endpoint]
    assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}")).json == endpoint
    deleted = await api.call("DELETE", f"{ENDPOINTS}/{endpoint['id']}")
    assert (deleted.status, deleted.body) == (204, b"")
    gone = await api.call("DELETE", f"{ENDPOINTS}/{endpoint['id']}")
    gone.problem(404, "webhook_endpoint.unknown")


async def test_a_repeated_creation_gives_the_same_secret_and_stores_none(
    api: Api, world: World, shop: Tenant
) -> None:
    headers = {"Idempotency-Key": "hooks"}
    first = await api.post(ENDPOINTS, NEW, headers=headers)
    again = await api.post(ENDPOINTS, NEW, headers=headers)
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(world.vault.secrets) == 1
    stored = await world.store.stored_response(shop.merchant_id, "test", "hooks")
    assert stored is not None
    assert b"whsec_" not in stored.body
    await api.call("DELETE", f"{ENDPOINTS}/{first.json['id']}")
    late = await api.post(ENDPOINTS, NEW, headers=headers)
    assert (late.status, late.json["id"]) == (201, first.json["id"])
    assert "secret" not in late.json


async def test_wrong_endpoints_are_told_why(api: Api, world: World) -> None:
    world.poster.refused.add("https://10.0.0.1/")
    private = await api.post(ENDPOINTS, {"url": "https://10.0.0.1/"})
    private.problem(422, "webhook_endpoint.url_refused", "url")
    unknown = await api.post(ENDPOINTS, {**NEW, "event_types": ["payment.exploded"]})
    unknown.problem(422, "webhook_endpoint.event_type_unknown", "event_types")
    empty = await api.post(ENDPOINTS, {"url": ""})
    empty.problem(422, "request.invalid", "url")
    for _ in range(20):
        assert (await api.post(ENDPOINTS, NEW)).status == 201
    (await api.post(ENDPOINTS, NEW)).problem(409, "webhook_endpoint.limit_reached")


async def test_the_delivery_log_shows_what_was_sent_and_answered(
    api: Api, world: World, shop: Tenant
) -> None:
    endpoint = (await api.post(ENDPOINTS, NEW)).json
    delivery_id = await world.delivery(shop, UUID(hex=endpoint["id"][3:]))
    listed = (await api.get(f"{DELIVERIES}?webhook_endpoint_id={endpoint['id']}")).json["data"]
    assert [(one["status"], one["attempts"]) for one in listed] == [("failed", 1)]
    whole = (await api.get(f"{DELIVERIES}/wd_{delivery_id.hex}")).json
    assert whole["body"] == '{"type":"payment.completed"}'
    assert [attempt["status_code"] for attempt in whole["attempt_log"]] == [410]
    assert (await api.get(f"{DELIVERIES}?status=due")).json["data"] == []


async def test_a_failed_delivery_is_replayed_once(api: Api, world: World, shop: Tenant) -> None:
    delivery_id = await world.delivery(shop, UUID(int=1))
    path = f"{DELIVERIES}/wd_{delivery_id.hex}/replay"
    for _ in range(2):
        replayed = await api.post(path)
        assert (replayed.status, replayed.json["status"]) == (200, "due")
    names = [one.event.name for one in await world.store.read_log(after=0, limit=1000)]
    assert names.count("delivery.replayed") == 1
