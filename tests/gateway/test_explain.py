"""What a support desk reads: every fact has its sentence, and the story is whole and told once."""

import io
import re
from datetime import timedelta
from uuid import UUID

import orjson
import pytest
from rich.console import Console

from adapters.addresses import checksum_address
from application.deciders import DELIVERY, REFUND, transfer_stream_id
from application.handling import UnitOfWork
from application.messages import Messages
from application.ports import Context, Stream
from domain import commands as c
from domain import events as e
from domain.events import EVENTS
from gateway.explain import Explainer, Explanation
from gateway.explain_page import as_data, show
from gateway.explain_sentences import SENTENCES, told
from gateway.explain_words import Told, Words, moment
from gateway.failures import GatewayError
from tests.examples import AT, BOOK, CREATED, EXAMPLES, block_hash
from tests.gateway.support_desk import Case, lines, new_case
from workers.dispatcher import Dispatcher

# Facts that are told of no payment, refund, transfer or delivery. A new event is either here, or
# it needs a sentence.
NOT_TOLD = {
    "journal.entry_posted",
    "merchant.api_key_created",
    "merchant.api_key_revoked",
    "merchant.receiving_address_set",
    "merchant.refund_wallet_assigned",
    "merchant.registered",
    "merchant.tolerance_set",
    "merchant.wallet_configured",
    "merchant.webhook_endpoint_created",
    "merchant.webhook_endpoint_deleted",
    "merchant.webhook_endpoint_disabled",
    "network.confirmation_policy_set",
    "network.halted",
    "network.reorg_detected",
    "network.resumed",
    "payment_claim.made",
    "payment_claim.transfer_seen",
    "projection.dropped",
    "projection.rebuild_started",
    "projection.stream_parked",
    "projection.stream_retried",
    "projection.switched",
    "projection.switched_back",
    "refund_float.released",
    "refund_float.reserved",
    "refund_float.spending_reversed",
    "refund_float.spent",
    "refund_float.top_up_reversed",
    "refund_float.topped_up",
}


def test_every_event_has_its_sentence_or_is_left_out_on_purpose() -> None:
    assert {kind.name for kind in SENTENCES} == set(EVENTS) - NOT_TOLD
    assert set(EVENTS) >= NOT_TOLD


@pytest.mark.parametrize(
    "event", [x for x in EXAMPLES if x.name not in NOT_TOLD], ids=lambda event: event.name
)
def test_a_sentence_is_for_people(event: e.Event) -> None:
    assert isinstance(CREATED, e.SessionCreated)
    said = told(event, Words(BOOK, checksum_address, CREATED))
    assert not said.what[0].islower()
    assert said.what.endswith((".", ")."))
    text = f"{said.what} {said.why}"
    for inside in ("eip155:", "UUID", "units=", "datetime", "+00:00", "{", "0x" + "ff" * 20):
        assert inside not in text, text
    for name, value in event:
        if name == "amount":
            assert BOOK.unit_of(value.asset)[0] in text
        if name == "tx_hash":
            assert said.tx_hash == value
        if name == "reason" and value is not None:
            assert value in text


def test_who_acts_is_named_as_people_know_them() -> None:
    words = Words(BOOK, checksum_address, None, {"ab": "'till' …x7Qz"})
    assert words.who("api_key:ab") == "the merchant (API key 'till' …x7Qz)"
    assert words.who("api_key:cd") == "the merchant"
    assert words.who("chain:31337") == "the chain (Local test chain)"
    assert words.who("customer") == "the customer"
    assert words.who("system") == "the gateway"


# ---------------------------------------------------------------- whole stories, on the twins


@pytest.fixture
async def case() -> Case:
    return await new_case()


async def test_an_unpaid_payment_says_what_it_waits_for_and_until_when(case: Case) -> None:
    session = await case.world.session(case.shop)
    found = await case.session(session)
    assert found.standing.now == ("Nothing of 10.00 USDC has arrived yet.",)
    (waits,) = found.standing.next
    assert waits.startswith(f"Waits for 10.00 USDC until {moment(session.expires_at)}.")
    assert moment(session.credits_until) in waits
    (entry,) = found.entries
    assert checksum_address(session.deposit_address) in entry.told.what
    assert entry.who.startswith("the merchant")


async def test_a_seen_transfer_says_how_many_confirmations_are_missing(case: Case) -> None:
    session = await case.world.session(case.shop)
    await case.world.observe(session, "10.00", number=100)
    found = await case.session(session)
    assert found.standing.now == (
        "Enough has arrived, 10.00 USDC, but not all of it is safe yet.",
    )
    assert found.standing.next[0] == (
        "10.00 USDC waits for 2 more confirmations (1 of 3, by policy version 2): about 2 seconds."
    )
    case.world.reads.heads.numbers["local"] = 101
    assert "1 more confirmation (2 of 3" in (await case.session(session)).standing.next[0]
    case.desk.tag = "finalized"
    assert (await case.session(session)).standing.next[0] == (
        "10.00 USDC waits until the chain calls its block finalized, as policy version 2 asks."
    )


async def test_what_one_provider_alone_has_seen_waits_for_a_second(case: Case) -> None:
    session = await case.world.session(case.shop)
    seen = await case.world.observe(session, number=100)
    strict = case.world.networks.networks[0].model_copy(
        update={
            "policy": case.world.networks.networks[0].policy.model_copy(
                update={"allow_unattested": False}
            )
        }
    )
    assert seen.attested
    networks = case.world.networks.model_copy(update={"networks": (strict,)})
    explainer = Explainer(
        case.world.store, case.world.reads.heads, case.desk, networks, checksum_address
    )
    text = f"ps_{session.session_id.hex}"
    at = case.world.clock.now()
    assert "more confirmations" in (await explainer.explain(text, at)).standing.next[0]
    alone = seen.model_copy(update={"attested": False, "block_hash": "0x" + "ce" * 32})
    await case.world._report("observed", alone, 1)
    (waits, _) = (await explainer.explain(text, at)).standing.next
    assert waits == "10.00 USDC waits for a second provider: one alone is not believed here."


async def test_a_paid_payment_tells_each_thing_once_and_in_order(case: Case) -> None:
    session = await case.world.session(case.shop)
    await case.world.pay(session)
    found = await case.session(session)
    names = [entry.fact.event.name for entry in found.entries]
    assert names == [
        "payment_session.created",
        "onchain_transfer.observed",
        "onchain_transfer.assigned",
        "payment.covered",
        "onchain_transfer.confirmed",
        "payment.completed",
    ]
    seen, confirmed = found.entries[1].told, found.entries[4].told
    assert "from 0xFFfFfFffFFfffFFfFFfFFFFFffFFFffffFfFFFfF" in seen.what
    assert "in block 100" in seen.what
    assert seen.tx_hash == "0x" + "11" * 32
    assert "sent to the session's own deposit address" in (found.entries[2].told.why or "")
    assert "policy version 1" in (confirmed.why or "")
    assert found.standing.now[0].startswith("Paid: 10.00 USDC of 10.00 USDC asked for")
    case.world.clock.advance(60 * 24 * 3600)
    later = await case.session(session)
    assert later.standing.next == (
        (
            f"Nothing more is awaited after {moment(session.credits_until)}: "
            "later money goes to the inbox."
        ),
    )


async def test_part_of_the_money_says_what_is_missing_before_and_after_the_window(
    case: Case,
) -> None:
    session = await case.world.session(case.shop)
    await case.world.pay(session, "4.00")
    found = await case.session(session)
    assert found.standing.now == (
        "4.00 USDC of 10.00 USDC has arrived; 6.00 USDC is missing.",
        "Less than asked for has arrived.",
    )
    case.world.clock.advance((session.expires_at - case.world.clock.now()).total_seconds())
    (late,) = (await case.session(session)).standing.next
    assert late.startswith(f"6.00 USDC mined before {moment(session.credits_until)} still")


async def test_a_refund_is_told_with_the_payment_and_by_itself(case: Case) -> None:
    session = await case.world.session(case.shop)
    await case.world.pay(session)
    await case.world.fund(case.shop, "50.00")
    refund = await case.world.refunds.request(
        session.session_id,
        "4.00",
        "cold coffee",
        None,
        case.shop.caller(),
        None,
        lambda _: (201, b""),
    )
    name = f"rf_{refund.refund_id.hex}"
    found = await case.session(session)
    assert [line for line in lines(found) if "4.00 USDC" in line] == [
        (
            f"Refund of 4.00 USDC to 0xFFfFfFffFFfffFFfFFfFFFFFffFFFffffFfFFFfF, paid by the "
            f"merchant's refund wallet {checksum_address(refund.wallet)}: {name}."
        )
    ]
    assert f"The refund {name} of 4.00 USDC is under way." in found.standing.next
    alone = await case.of(name)
    assert alone.title == f"Refund {name} of ps_{session.session_id.hex}"
    assert "waits for the signer" in alone.standing.next[0]
    assert alone.entries[0].told.why == '"cold coffee"'


async def test_a_completed_refund_is_watched_until_it_is_final(case: Case) -> None:
    session = await case.world.session(case.shop)
    await case.world.pay(session)
    await case.world.fund(case.shop, "50.00")
    asked = await case.world.refunds.request(
        session.session_id, "4.00", None, None, case.shop.caller(), None, lambda _: (201, b"")
    )
    tx_hash, number, hash_ = "0x" + "22" * 32, 110, block_hash(110)

    async def decided(command: c.RefundCommand) -> Explanation:
        async def work(unit: UnitOfWork) -> None:
            await unit.decide(REFUND, asked.refund_id, command)

        await case.world.handler.execute(Context(actor="chain:31337"), work)
        return await case.of(f"rf_{asked.refund_id.hex}")

    at = case.world.clock.now()
    await decided(c.RecordSigned(at=at, tx_hash=tx_hash, nonce=0))
    await decided(c.RecordBroadcast(at=at, tx_hash=tx_hash))
    completed = await decided(
        c.RecordRefundMined(
            at=at, tx_hash=tx_hash, block_number=number, block_hash=hash_, confirmations=3
        )
    )
    assert "Until its block is final it is watched" in completed.standing.next[0]
    final = await decided(
        c.RecordRefundFinal(at=at, tx_hash=tx_hash, block_number=number, block_hash=hash_)
    )
    assert final.entries[-1].told == Told(
        "The refund is final: it cannot be taken back any more.",
        f"its block 110 ({hash_}) is too deep in the chain for any reorg",
        tx_hash,
    )
    assert final.standing.now == completed.standing.now
    assert final.standing.next == (
        "Nothing more is awaited: its block is final, and no reorg can take it out.",
    )


async def test_webhooks_that_fail_are_named_with_the_reason_and_the_next_attempt(
    case: Case,
) -> None:
    world, shop = case.world, case.shop
    endpoint_id = UUID(int=77)

    async def listen(unit: UnitOfWork) -> None:
        from application.deciders import MERCHANT  # noqa: PLC0415 - one use

        create = c.CreateEndpoint(
            at=unit.now,
            endpoint_id=endpoint_id,
            mode="test",
            url="https://shop.example/hooks",
            event_types=(),
            secret_id=UUID(int=78),
        )
        await unit.decide(MERCHANT, shop.merchant_id, create)

    await world.handler.execute(Context(actor="test"), listen)
    session = await world.session(shop)
    from adapters.memory.checkpoints import MemoryCheckpoints  # noqa: PLC0415 - one use

    dispatcher = Dispatcher(
        world.handler,
        Messages(world.store, world.networks, checksum_address),
        MemoryCheckpoints(),
        world.bus,
        world.clock,
    )
    while await dispatcher.dispatch():
        pass
    found = await case.session(session)
    assert found.webhooks == ("payment.created to https://shop.example/hooks: not attempted yet",)
    opened = [
        fact
        for fact in await world.store.read_log(after=0, limit=1000)
        if isinstance(fact.event, e.DeliveryOpened)
    ]
    (delivery_id,) = [fact.stream.id for fact in opened]

    async def fail(unit: UnitOfWork) -> None:
        attempt = c.RecordAttempt(
            at=unit.now, status_code=500, latency_ms=9, error="the receiver answered 500"
        )
        await unit.decide(DELIVERY, delivery_id, attempt)

    await world.handler.execute(Context(actor="system"), fail)
    (line,) = (await case.session(session)).webhooks
    again = moment(world.clock.now() + timedelta(seconds=10))
    assert line == (
        "payment.created to https://shop.example/hooks: failing, 1 attempts made "
        f"(the receiver answered 500), next attempt at {again}"
    )
    told_alone = await case.of(f"wd_{delivery_id.hex}")
    assert told_alone.standing.now == (line,)
    assert "Attempt 1 failed." in lines(told_alone)[1]


async def test_a_stray_at_the_address_is_told_with_its_reason_and_by_itself(case: Case) -> None:
    world = case.world
    session = await world.session(case.shop)
    token = world.networks.networks[0].tokens[1]
    asset = world.networks.networks[0].asset(token)
    right = world._sighting(session, "10.00", "77", 100)
    wrong = right.model_copy(
        update={
            "token": token.address,
            "amount": right.amount.model_copy(update={"asset": asset}),
        }
    )
    await world._report("observed", wrong, 1)
    stream_id = transfer_stream_id(wrong.transfer_id)
    case.desk.stray_ids.append(stream_id)
    name = f"tr_{stream_id.hex}"
    found = await case.session(session)
    assert found.inbox == (
        (
            f"{name}: 10.00 USDT from 0xFFfFfFffFFfffFFfFFfFFFFFffFFFffffFfFFFfF, waits in the inbox: "
            "sent in USDT, the session asks for USDC (wrong_token)"
        ),
    )
    alone = await case.of(name)
    assert alone.standing.now[1] == (
        "It is in the inbox: sent in USDT, the session asks for USDC."
    )
    assert any(line.startswith("The merchant decides") for line in alone.standing.next)
    await world._report("confirmed", wrong, 3)
    (decide,) = (await case.of(name)).standing.next
    assert "give it back" in decide


async def test_an_id_of_nothing_is_said_so(case: Case) -> None:
    for text in ("ps_" + "0" * 32, "rf_" + "0" * 32, "tr_" + "0" * 32, "wd_" + "0" * 32):
        with pytest.raises(GatewayError, match="there is no"):
            await case.of(text)
    with pytest.raises(GatewayError, match="there is no"):
        await case.of(f"31337:0x{'00' * 32}:0")
    for text in ("", "ps_12", "we_" + "0" * 32, "hello", "31337:0x12:0"):
        with pytest.raises(GatewayError, match="cannot be explained"):
            await case.of(text)


async def test_page_and_json_say_the_same_and_hashes_stay_whole(case: Case) -> None:
    session = await case.world.session(case.shop)
    await case.world.pay(session)
    found = await case.session(session)
    page = io.StringIO()
    show(found, Console(file=page, width=60))
    text = page.getvalue()
    data = orjson.loads(orjson.dumps(as_data(found)))
    for entry in data["timeline"]:
        assert entry["what"] in text
        assert (entry["why"] or "") in text
    assert re.search(r"transaction 0x[0-9a-f]{64}\n", text)
    for line in (*data["now"], *data["next"]):
        assert line in text
    assert data["timeline"][1]["actor"] == "chain:31337"
    assert AT.strftime("%B %Y, UTC") in text
    assert await case.world.store.read_stream(Stream("payment_session", session.session_id))
