"""Every wrong input is told which field is wrong, and nothing of it is stored."""

import asyncio
import json
from typing import Any

import pytest

from api.wire import BODY_BYTES_MAX
from tests.api.conftest import Api
from tests.api.world import World

PATH = "/v1/payment-sessions"
NEW: dict[str, Any] = {"amount": "10.00", "currency": "USD"}

WRONG_AMOUNTS = (
    "NaN", "Infinity", "1e400", "1e2", "-1", "-0", "+1", "0", "0.00", "0.001", " 1", "1 ", "1,00",
    "", ".5", "5.", "01", "0x10", "١٢", "1" + "." + "0" * 30, "9" * 78, "10000.01", "1\n",
    "0.30000000000000004", "1_000", "\u0000", "9" * 101,
)  # fmt: skip

WRONG_FIELDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("amount", {"amount": 10}),
    ("amount", {"amount": 10.5}),
    ("amount", {"amount": True}),
    ("amount", {"amount": None}),
    ("amount", {"amount": ["10.00"]}),
    ("currency", {"currency": "EUR"}),
    ("currency", {"currency": "usd"}),
    ("currency", {"currency": 840}),
    ("network", {"network": "dogecoin"}),
    ("network", {"network": "polygon"}),  # a live network, and this is a test key
    ("network", {"network": "\u0000"}),
    ("token", {"token": "DAI"}),
    ("colour", {"colour": "green"}),
    ("merchant_id", {"merchant_id": "somebody else"}),
    ("description", {"description": "a\u0000b"}),
    ("description", {"description": "x" * 501}),
    ("description", {"description": "\ud800"}),
    ("merchant_reference", {"merchant_reference": "two\nlines"}),
    ("merchant_reference", {"merchant_reference": ""}),
    ("success_url", {"success_url": "javascript:alert(1)"}),
    ("success_url", {"success_url": "http://shop.example/"}),
    ("success_url", {"success_url": "https://user:secret@shop.example/"}),
    ("success_url", {"success_url": "https:///nowhere"}),
    ("success_url", {"success_url": "https://shop.example/ space"}),
    ("success_url", {"success_url": "https://[::1/"}),
    ("cancel_url", {"cancel_url": "https://shop.example/" + "x" * 2048}),
    ("customer_email", {"customer_email": "jane"}),
    ("customer_email", {"customer_email": "a@b.example\u0000"}),
    ("metadata", {"metadata": {str(n): "x" for n in range(21)}}),
    ("metadata", {"metadata": "text"}),
    ("metadata.k", {"metadata": {"k": 1}}),
    ("metadata.k", {"metadata": {"k": "x" * 501}}),
    ("metadata.k", {"metadata": {"k": {"deep": "er"}}}),
    ("metadata." + "k" * 41, {"metadata": {"k" * 41: "x"}}),
    ("metadata.k\u0000", {"metadata": {"k\u0000": "x"}}),
    ("expires_in", {"expires_in": 59}),
    ("expires_in", {"expires_in": 2_592_001}),
    ("expires_in", {"expires_in": "3600"}),
    ("expires_in", {"expires_in": 3600.5}),
    ("expires_in", {"expires_in": True}),
    ("expires_in", {"expires_in": 10**400}),
)

WRONG_BODIES: tuple[tuple[str, bytes, int, str], ...] = (
    ("not JSON", b"{", 400, "body"),
    ("no object", b"[]", 422, "body"),
    ("null", b"null", 422, "body"),
    ("nothing", b"", 400, "body"),
    ("two documents", b"{} {}", 400, "body"),
    ("NaN", b'{"amount": NaN, "currency": "USD"}', 400, "body"),
    ("infinity", b'{"amount": -Infinity, "currency": "USD"}', 400, "body"),
    ("1e400", b'{"amount": 1e400, "currency": "USD"}', 422, "amount"),
    ("a long number", b'{"amount": ' + b"9" * 5000 + b', "currency": "USD"}', 422, "amount"),
    ("a long fraction", b'{"amount": 0.' + b"1" * 5000 + b', "currency": "USD"}', 422, "amount"),
    ("an exponent", b'{"amount": 1e999999999, "currency": "USD"}', 422, "amount"),
    ("float noise", json.dumps({**NEW, "amount": 0.1 + 0.2}).encode(), 422, "amount"),
    ("twice", b'{"amount": "1.00", "amount": "2.00", "currency": "USD"}', 400, "amount"),
    ("deep", b"[" * 30_000 + b"]" * 30_000, 400, "body"),
    ("deep inside", b'{"metadata":' + b'{"a":' * 900 + b"1" + b"}" * 901, 400, "body"),
    ("not UTF-8", b'{"amount": "\xff"}', 400, "body"),
    ("a byte order mark", b"\xef\xbb\xbf{}", 400, "body"),
    ("half a pair as a name", b'{"\\ud800": "x"}', 422, "body"),
    ("missing", b"{}", 422, "currency"),
)


@pytest.mark.parametrize("amount", WRONG_AMOUNTS)
async def test_a_wrong_amount_is_named(api: Api, world: World, amount: str) -> None:
    answer = await api.post(PATH, {**NEW, "amount": amount})
    assert answer.json["error"]["details"][0]["field"] == "amount"
    answer.problem(422, answer.json["error"]["type"], "amount")
    assert not any(row.stream.type == "payment_session" for row in await _log(world))


@pytest.mark.parametrize(("field", "change"), WRONG_FIELDS)
async def test_a_wrong_field_is_named(
    api: Api, world: World, field: str, change: dict[str, Any]
) -> None:
    answer = await api.post(PATH, {**NEW, **change})
    answer.problem(422, answer.json["error"]["type"], field)
    assert not any(row.stream.type == "payment_session" for row in await _log(world))


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [case[1:] for case in WRONG_BODIES],
    ids=[c[0] for c in WRONG_BODIES],
)
async def test_a_wrong_body_is_named(api: Api, body: bytes, status: int, field: str) -> None:
    answer = await api.post(PATH, data=body)
    answer.problem(status, answer.json["error"]["type"], field)


async def test_a_number_as_amount_is_told_to_be_a_string(api: Api) -> None:
    error = (await api.post(PATH, {**NEW, "amount": 10})).problem(422, "request.invalid")
    assert error["message"] == (
        'amount: write it as a string, such as "10.00"; JSON numbers are refused'
    )


async def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    error = (await api.post(PATH, {"amount": 1, "x": 1})).problem(422, "request.invalid")
    assert {detail["field"] for detail in error["details"]} == {"amount", "currency", "x"}


async def test_what_was_sent_is_never_sent_back(api: Api) -> None:
    answer = await api.post(PATH, {**NEW, "customer_email": "secret-jane"})
    answer.problem(422, "request.invalid", "customer_email")
    assert b"secret-jane" not in answer.body


async def test_plain_http_is_for_test_mode(api: Api, shop: Any) -> None:
    new = {**NEW, "success_url": "http://localhost:3000/thanks"}
    assert (await api.post(PATH, new)).status == 201
    live = await api.with_key(shop.live_key).post(PATH, new)
    live.problem(422, "request.invalid", "success_url")


async def test_a_body_at_the_bound_is_read_and_one_above_is_not(api: Api) -> None:
    padding = BODY_BYTES_MAX - len(json.dumps(NEW))
    assert (await api.post(PATH, data=json.dumps(NEW) + " " * padding)).status == 201
    answer = await api.post(PATH, data=json.dumps(NEW) + " " * (padding + 1))
    answer.problem(413, "request.body_too_large", "body")


async def test_a_body_without_a_length_is_bounded_too(api: Api) -> None:
    async def endless() -> Any:
        for _ in range(BODY_BYTES_MAX // 1024 + 1):
            yield b" " * 1024
            await asyncio.sleep(0)

    answer = await api.post(PATH, data=endless())
    answer.problem(413, "request.body_too_large", "body")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "application/json; charset=utf-16"),
        ("Content-Encoding", "br"),
    ],
)
async def test_only_plain_json_is_read(api: Api, header: str, value: str) -> None:
    answer = await api.post(PATH, data=json.dumps(NEW).encode(), headers={header: value})
    answer.problem(415, "request.media_type_unsupported", header)


@pytest.mark.parametrize("key", ["", " ", '""', "x" * 256, "a b", "größe", '"a b"'])
async def test_a_malformed_idempotency_key_is_named(api: Api, key: str) -> None:
    answer = await api.post(PATH, NEW, headers={"Idempotency-Key": key})
    answer.problem(400, "idempotency_key_malformed", "Idempotency-Key")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "cursor"),
        ("status=paid", "status"),
        ("stauts=completed", "stauts"),
        ("network=%00", "network"),
        ("merchant_reference=%00", "merchant_reference"),
        ("tx_hash=0x12", "tx_hash"),
        ("created_from=yesterday", "created_from"),
        ("created_from=2026-11-22T12:00:00", "created_from"),
        ("created_to=99999999999999999999", "created_to"),
        ("network=polygn", "network"),
        ("token=DAI", "token"),
        ("payer=0x12", "payer"),
        ("payer=0x7e5F4552091A69125d5DfCb7b8C2659029395Bdf", "payer"),
        ("amount_min=ten", "amount_min"),
        ("amount_max=-1", "amount_max"),
        ("amount_max=1.0000001", "amount_max"),
        ("amount_min=2&amount_max=1.99", "amount_max"),
        ("q=%00", "q"),
        ("q=", "q"),
        ("q=order-1&merchant_reference=order-1", "q"),
        ("q=0x7e5F4552091A69125d5DfCb7b8C2659029395Bdf", "q"),
        ("min_position=-1", "min_position"),
        ("min_position=", "min_position"),
        ("min_position=1&min_position=2", "min_position"),
        ("min_position=%C2%B2", "min_position"),
        ("min_position=9999999999999999999", "min_position"),
    ],
)
async def test_a_wrong_filter_is_named(api: Api, query: str, field: str) -> None:
    answer = await api.get(f"{PATH}?{query}")
    answer.problem(422, answer.json["error"]["type"], field)


@pytest.mark.parametrize(
    "session_id",
    [
        "x",
        "ps_",
        "ps_" + "0" * 31,
        "PS_" + "0" * 32,
        "rf_" + "0" * 32,
        "%00",
        "..%2f..",
        "%ff",
        "é",
    ],
)
async def test_a_malformed_id_is_as_unknown_as_any(api: Api, session_id: str) -> None:
    answer = await api.get(f"{PATH}/{session_id}")
    assert answer.status == 404
    assert answer.json["error"]["type"] in {"payment_session.unknown", "resource.unknown"}


async def _log(world: World) -> Any:
    return await world.store.read_log(after=0, limit=1000)
