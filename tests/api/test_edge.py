"""What every answer has, whatever was asked."""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from api.app import create_app
from api.edge import HEADERS
from api.services import HealthCheck
from application.ports import StoreBusy, StoreUnavailable, Unavailable
from tests.api.conftest import Api
from tests.api.serving import serving
from tests.api.world import Tenant, World

PATH = "/v1/payment-sessions"
NEW: dict[str, Any] = {"amount": "10.00", "currency": "USD"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", PATH, 200),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/payment-sessions/", 404),
        ("PUT", PATH, 405),
        ("POST", PATH, 415),
    ],
)
async def test_every_answer_has_a_request_id_and_the_security_headers(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = await api.call(method, path, headers={"X-Request-Id": "abc.DEF-1_2"})
    assert answer.status == status
    assert answer.headers["X-Request-Id"] == "abc.DEF-1_2"
    for name in HEADERS:
        assert name in answer.headers, name
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("asked", ["", "x" * 65, "a b", "a<script>", "é", "a;b"])
async def test_an_unsafe_request_id_is_replaced(api: Api, asked: str) -> None:
    answer = await api.get("/livez", headers={"X-Request-Id": asked})
    assert answer.headers["X-Request-Id"].startswith("req_")


async def test_unknown_routes_and_methods_are_problems(api: Api) -> None:
    (await api.get("/v2/anything")).problem(404, "resource.unknown")
    not_allowed = await api.call("PATCH", PATH)
    not_allowed.problem(405, "method.not_allowed")
    assert "POST" in not_allowed.headers["Allow"] or "GET" in not_allowed.headers["Allow"]


async def test_our_own_mistakes_are_500_without_a_word_and_logged_with_the_id(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(world.store, "read_stream", broken)
    with capture_logs() as logs:
        answer = await api.post(PATH, NEW, headers={"X-Request-Id": "find-me"})
    answer.problem(500, "internal")
    assert b"secret" not in answer.body
    assert b"ZeroDivision" not in answer.body
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [log["event"] for log in logs] == ["request_failed"]


async def test_a_database_that_is_away_is_503_and_the_api_recovers_by_itself(
    api: Api, world: World
) -> None:
    session = (await api.post(PATH, NEW)).json
    world.store.outage = StoreUnavailable("connection to 10.0.0.7 refused")
    for answer in (await api.post(PATH, NEW), await api.get(f"{PATH}/{session['id']}")):
        answer.problem(503, "service.unavailable", "postgresql")
        assert int(answer.headers["Retry-After"]) >= 1
        assert b"10.0.0.7" not in answer.body
    assert (await api.get("/livez")).status == 200
    world.store.outage = None
    assert (await api.post(PATH, NEW)).status == 201


async def test_a_lost_answer_tells_to_repeat_with_the_same_key(api: Api, world: World) -> None:
    headers = {"Idempotency-Key": "order-1"}
    world.store.lose_answers = 1
    lost = await api.post(PATH, NEW, headers=headers)
    assert "same Idempotency-Key" in lost.problem(503, "service.unavailable")["message"]
    again = await api.post(PATH, NEW, headers=headers)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert len((await api.get(PATH)).json["data"]) == 1


async def test_a_full_queue_says_when_to_come_back(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> int:
        raise StoreBusy(7)

    monkeypatch.setattr(world.store, "append", full)
    answer = await api.post(PATH, NEW)
    answer.problem(503, "service.unavailable")
    assert answer.headers["Retry-After"] == "7"


async def test_readiness_names_each_dependency_that_is_missing(world: World, shop: Tenant) -> None:
    away: set[str] = set()

    def check(name: str, *, required: bool = True) -> HealthCheck:
        async def ask() -> None:
            if name in away:
                raise Unavailable(name, "down")

        return HealthCheck(name, ask, required=required)

    async def hangs() -> None:
        if "rpc" in away:
            await asyncio.Event().wait()

    checks = (check("postgresql"), check("nats", required=False), HealthCheck("rpc", hangs))
    app = create_app(replace(world.api(), health=checks))
    async with serving(app) as url, aiohttp.ClientSession(url) as client:
        api = Api(client, "")
        assert (await api.get("/readyz")).json["status"] == "ready"
        away.add("nats")
        degraded = await api.get("/readyz")
        assert (degraded.status, degraded.json["status"]) == (200, "degraded")
        away.update({"postgresql", "rpc"})
        error = (await api.get("/readyz")).problem(503, "service.unavailable", "postgresql")
        assert error["details"] == [
            {"field": "postgresql", "issue": "is not available"},
            {"field": "rpc", "issue": "did not answer within 2 seconds"},
        ]
        away.clear()
        assert (await api.get("/readyz")).status == 200


async def test_the_docs_need_nothing_from_elsewhere_and_name_every_operation_and_code(
    api: Api,
) -> None:
    page = (await api.get("/docs")).body.decode()
    document = (await api.get("/openapi.json")).json
    assert "<script" not in page
    assert 'src="http' not in page
    assert "@import" not in (await api.get("/docs.css")).body.decode()
    for path, operations in document["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in operations.values():
            assert f'id="{operation["operationId"]}"' in page
    for code in ("refund.exceeds_received", "idempotency_key_reused", "internal"):
        assert f'<tr id="{code}">' in page


async def test_the_contract_lists_problems_scopes_and_bodies(api: Api) -> None:
    document = (await api.get("/openapi.json")).json
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/"):
                assert operation["security"] == [{"api_key": []}]
                assert operation["x-required-scope"] in {"read", "write", "refund"}
                for status in ("401", "403", "422", "503"):
                    content = operation["responses"][status]["content"]
                    assert list(content) == ["application/problem+json"]
    create = document["paths"][PATH]["post"]
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/NewPaymentSession"}
    assert schemas["NewPaymentSession"]["required"] == ["amount", "currency"]
    assert schemas["NewPaymentSession"]["additionalProperties"] is False
    answer = create["responses"]["201"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/SessionView"}
