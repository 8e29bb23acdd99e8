"""Sessions that share the merchant's wallet: who pays, and how we are told."""

import asyncio
from typing import Any

import pytest

from adapters.question_limits import FAILURES_MAX, FAILURES_WINDOW_SECONDS
from adapters.signatures import text_hash
from domain.payment import CLAIMS_MAX
from domain.values import parse_public_id, public_id
from tests.api.conftest import Api
from tests.api.signing import Wallet
from tests.api.world import Tenant, World
from tests.examples import RECEIVING

PATH = "/v1/payment-sessions"
NEW: dict[str, Any] = {"amount": "10.00", "currency": "USD", "pay_by": "merchant_wallet"}
ALICE, BOB = Wallet(0x21), Wallet(0x22)
KEY = {"Idempotency-Key": "claim-1"}


class NoCode:
    """A provider of a chain without contracts."""

    name = "no code"
    asked = 0

    async def call(self, method: str, *params: object) -> str:
        assert method == "eth_getCode", params
        self.asked += 1
        return "0x"


@pytest.fixture(autouse=True)
async def wallet(world: World, shop: Tenant) -> str:
    await world.receive_at(shop, RECEIVING)
    return RECEIVING


async def _open(api: Api) -> str:
    answer = await api.post(PATH, NEW)
    assert answer.status == 201, answer.body
    session: str = answer.json["id"]
    return session


async def _sign(api: Api, session: str, wallet: Wallet, address: str = "", **more: Any) -> Any:
    words = (await api.get(f"{PATH}/{session}/payer-words")).json
    signature = "0x" + wallet.sign_hash(text_hash(words["text"])).hex()
    body = {"address": address or wallet.address, "signature": signature}
    return await api.post(f"{PATH}/{session}/payers", body, **more)


async def test_a_session_can_be_paid_to_the_merchants_own_wallet(api: Api, world: World) -> None:
    created = (await api.post(PATH, NEW)).json
    assert created["pay_by"] == "merchant_wallet"
    assert created["payment"]["address"] == world.write(RECEIVING)
    assert (created["proven_payers"], created["announced"]) == ([], [])
    assert created["tolerance"] == "0.00"
    own = (await api.post(PATH, {**NEW, "pay_by": "deposit_address"})).json
    assert own["pay_by"] == "deposit_address"
    assert own["payment"]["address"] != world.write(RECEIVING)
    assert (await api.post(PATH, {"amount": "1.00", "currency": "USD"})).json["pay_by"] == (
        "deposit_address"
    )


async def test_a_wrong_way_to_pay_is_named_and_the_wallet_must_be_set_first(
    api: Api, other: Tenant
) -> None:
    wrong = await api.post(PATH, {**NEW, "pay_by": "cheque"})
    wrong.problem(422, "payment_session.pay_by_unknown", "pay_by")
    unset = await api.with_key(other.key).post(PATH, NEW)
    unset.problem(409, "merchant.receiving_address_missing")


async def test_the_words_name_the_session_and_never_change(api: Api, world: World) -> None:
    session = await _open(api)
    words = (await api.get(f"{PATH}/{session}/payer-words")).json
    for part in (session, "10.00 USDC", world.write(RECEIVING), "chain id 31337"):
        assert part in words["text"]
    assert words["typed_data"]["message"]["paymentSession"] == session
    world.clock.advance(3600)
    assert (await api.get(f"{PATH}/{session}/payer-words")).json == words


async def test_what_a_wallet_that_signed_sends_pays_the_session(api: Api, world: World) -> None:
    session = await _open(api)
    proven = await _sign(api, session, ALICE)
    assert proven.status == 200, proven.body
    assert proven.json["proven_payers"] == [world.write(ALICE.address)]
    assert (await _sign(api, session, ALICE)).json == proven.json  # a second time changes nothing
    await world.arrive(RECEIVING, sender=ALICE.address)
    paid = (await api.get(f"{PATH}/{session}")).json
    assert (paid["status"], paid["amount_received"]) == ("completed", "10.00")


async def test_a_signature_after_the_payment_finds_it_in_the_inbox(api: Api, world: World) -> None:
    session = await _open(api)
    transfer = public_id("tr", await world.arrive(RECEIVING, sender=ALICE.address))
    assert (await api.get(f"/v1/transfers/{transfer}")).json["waiting"] is True
    assert (await _sign(api, session, ALICE)).json["status"] == "completed"
    assert (await api.get(f"/v1/transfers/{transfer}")).json["payment_session_id"] == session


async def test_typed_data_is_as_good_as_text(api: Api, world: World) -> None:
    session = await _open(api)
    words = await world.claims.words_for(parse_public_id("ps", session))
    body = {"address": ALICE.address, "signature": ALICE.sign_typed(words)}
    answer = await api.post(f"{PATH}/{session}/payers", body)
    assert answer.json["proven_payers"] == [world.write(ALICE.address)]
    history = (await api.get(f"{PATH}/{session}/events")).json["data"]
    assert history[-1]["data"]["scheme"] == "eip712"


async def test_another_wallets_signature_and_other_words_prove_nothing(
    api: Api, world: World
) -> None:
    one, two = await _open(api), await _open(api)
    refused = await _sign(api, one, BOB, address=ALICE.address)
    # A wallet that might be a contract is asked on chain, where this world has no provider.
    refused.problem(503, "service.unavailable", "rpc")
    words = await world.claims.words_for(parse_public_id("ps", two))
    body = {"address": ALICE.address, "signature": ALICE.sign_text(words)}
    (await api.post(f"{PATH}/{one}/payers", body)).problem(503, "service.unavailable", "rpc")
    assert (await api.get(f"{PATH}/{one}")).json["proven_payers"] == []


async def test_signatures_that_must_be_checked_on_chain_are_few(api: Api, world: World) -> None:
    provider = NoCode()
    world.providers["local"] = (provider,)
    session = await _open(api)
    path, body = f"{PATH}/{session}/payers", {"address": BOB.address, "signature": "0x00"}
    for _ in range(FAILURES_MAX):
        (await api.post(path, body)).problem(422, "payment_session.signature_refused", "signature")
    assert provider.asked == FAILURES_MAX
    refused = await api.post(path, body)
    error = refused.problem(429, "request.too_often")
    assert refused.headers["Retry-After"] == str(FAILURES_WINDOW_SECONDS)
    assert f"try again in {FAILURES_WINDOW_SECONDS} seconds" in error["message"]
    assert provider.asked == FAILURES_MAX
    assert (await _sign(api, session, ALICE)).status == 200
    operation = (await api.get("/openapi.json")).json["paths"][
        "/v1/payment-sessions/{session_id}/payers"
    ]["post"]
    assert "429" in operation["responses"]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"signature": "0x00"}, "request.invalid", "address"),
        ({"address": "0x12", "signature": "0x00"}, "address.malformed", "address"),
        ({"address": ALICE.address}, "request.invalid", "signature"),
        ({"address": ALICE.address, "signature": "0xzz"}, "payment_session.signature_refused", "signature"),
        ({"address": ALICE.address, "signature": "0x"}, "payment_session.signature_refused", "signature"),
        ({"address": ALICE.address, "signature": "0x" + "00" * 4097}, "request.invalid", "signature"),
    ],
)  # fmt: skip
async def test_a_malformed_proof_is_refused_by_its_field(
    api: Api, body: dict[str, Any], code: str, field: str
) -> None:
    session = await _open(api)
    (await api.post(f"{PATH}/{session}/payers", body)).problem(422, code, field)


async def test_an_announced_transaction_of_the_exact_amount_pays_the_session(
    api: Api, world: World
) -> None:
    session = await _open(api)
    tx_hash = "0x" + "77" * 32
    said = await api.post(f"{PATH}/{session}/transactions", {"tx_hash": tx_hash.upper()[2:]})
    said.problem(422, "transaction_hash.malformed", "tx_hash")
    said = await api.post(f"{PATH}/{session}/transactions", {"tx_hash": tx_hash})
    assert (said.status, said.json["announced"]) == (200, [tx_hash])
    again = await api.post(f"{PATH}/{session}/transactions", {"tx_hash": tx_hash})
    assert again.json == said.json
    await world.arrive(RECEIVING, tx="77")
    assert (await api.get(f"{PATH}/{session}")).json["status"] == "completed"


async def test_two_sessions_that_name_one_transaction_get_nothing_until_a_person_decides(
    api: Api, world: World
) -> None:
    sessions = [await _open(api), await _open(api)]
    body = {"tx_hash": "0x" + "77" * 32}
    await asyncio.gather(*(api.post(f"{PATH}/{one}/transactions", body) for one in sessions))
    await world.arrive(RECEIVING, tx="77")
    (waiting,) = (await api.get("/v1/transfers")).json["data"]
    assert waiting["verdict"] == "ambiguous_hash"


async def test_the_same_key_gives_the_same_answer_to_an_announcement(
    api: Api, world: World
) -> None:
    session = await _open(api)
    path, body = f"{PATH}/{session}/transactions", {"tx_hash": "0x" + "77" * 32}
    first = await api.post(path, body, headers=KEY)
    await world.arrive(RECEIVING, tx="77")
    assert (await api.get(f"{PATH}/{session}")).json != first.json
    again = await api.post(path, body, headers=KEY)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    facts = await world.store.head()
    for other in ({"tx_hash": "0x" + "78" * 32}, {"tx_hash": "nonsense"}):
        reused = await api.post(path, other, headers=KEY)
        reused.problem(422, "idempotency_key_reused", "Idempotency-Key")
    assert await world.store.head() == facts


async def test_the_same_key_gives_the_same_answer_to_a_signature(api: Api, world: World) -> None:
    session = await _open(api)
    first = await _sign(api, session, ALICE, headers=KEY)
    assert first.json["proven_payers"] == [world.write(ALICE.address)]
    await world.arrive(RECEIVING, sender=ALICE.address)
    again = await _sign(api, session, ALICE, headers=KEY)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    facts = await world.store.head()
    for other in (BOB, ALICE):  # Alice's is known, and would be answered without a look
        path = f"{PATH}/{session}/payers"
        body = {"address": other.address, "signature": "0x" + "00" * 65}
        reused = await api.post(path, body, headers=KEY)
        reused.problem(422, "idempotency_key_reused", "Idempotency-Key")
    assert await world.store.head() == facts


async def test_a_key_is_kept_also_where_there_is_nothing_new(api: Api, world: World) -> None:
    session = await _open(api)
    told = await _sign(api, session, ALICE)
    first = await _sign(api, session, ALICE, headers=KEY)
    assert first.json == told.json
    assert "Idempotent-Replayed" not in first.headers
    again = await _sign(api, session, BOB, headers=KEY)
    again.problem(422, "idempotency_key_reused", "Idempotency-Key")


async def test_one_key_at_once_is_one_claim_and_one_answer(api: Api, world: World) -> None:
    session = await _open(api)
    path, body = f"{PATH}/{session}/transactions", {"tx_hash": "0x" + "77" * 32}
    answers = await asyncio.gather(*(api.post(path, body, headers=KEY) for _ in range(10)))
    assert {(each.status, each.body) for each in answers} == {(200, answers[0].body)}
    assert sum("Idempotent-Replayed" not in each.headers for each in answers) == 1


async def test_claims_are_for_shared_wallets_only_and_few(
    api: Api, world: World, shop: Tenant
) -> None:
    own = public_id("ps", (await world.session(shop)).session_id)
    announce = await api.post(f"{PATH}/{own}/transactions", {"tx_hash": "0x" + "77" * 32})
    announce.problem(409, "payment_session.claim_not_needed")
    signed = await _sign(api, own, ALICE)
    signed.problem(409, "payment_session.claim_not_needed")
    session = await _open(api)
    for number in range(CLAIMS_MAX):
        body = {"tx_hash": f"0x{number:064x}"}
        assert (await api.post(f"{PATH}/{session}/transactions", body)).status == 200
    more = await api.post(f"{PATH}/{session}/transactions", {"tx_hash": "0x" + "77" * 32})
    more.problem(409, "payment_session.too_many_claims")
