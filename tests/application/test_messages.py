"""Public messages: which facts have one, what it says, the same bytes for ever."""

import json

from adapters.addresses import checksum_address
from application.messages import Messages, message_type
from application.ports import Stream
from domain.merchant import MESSAGE_TYPES
from domain.payment import PaymentSession
from tests.api.world import World
from tests.examples import EXAMPLES, PAYER


async def _messages(world: World, session: PaymentSession) -> list[tuple[str, bytes]]:
    """Type and body of every message of a session, oldest first."""
    makes = Messages(world.store, world.networks, checksum_address)
    found = []
    for recorded in await world.store.read_stream(Stream("payment_session", session.session_id)):
        message = await makes.message_for(recorded)
        if message is not None:
            assert message.merchant_id == session.merchant_id
            found.append((message.type, message.body))
    return found


async def test_a_payment_tells_of_itself_step_by_step() -> None:
    world = World()
    tenant = await world.tenant("Shop", 1)
    session = await world.session(tenant, merchant_reference="order-1")
    await world.pay(session)
    messages = await _messages(world, session)
    assert [kind for kind, _ in messages] == [
        "payment.created",
        "payment.confirming",
        "payment.completed",
    ]
    body = json.loads(messages[-1][1])
    data = body["data"]
    assert body["id"].startswith("evt_")
    assert body["sequence"] == 5
    assert data["amount"] == data["amount_confirmed"] == "10.00"
    assert (data["status"], data["merchant_reference"]) == ("completed", "order-1")
    assert data["transfers"][0]["from"] == checksum_address(PAYER)
    assert data["confirmed_at"].endswith("Z")


async def test_a_message_says_what_was_true_then_and_never_changes() -> None:
    world = World()
    session = await world.session(await world.tenant("Shop", 1))
    first = await _messages(world, session)
    await world.pay(session)
    later = await _messages(world, session)
    assert later[0] == first[0]
    assert json.loads(later[0][1])["data"]["status"] == "pending"


async def test_no_message_holds_personal_data() -> None:
    world = World()
    session = await world.session(await world.tenant("Shop", 1), customer_email="ada@example.com")
    await world.pay(session)
    for _, body in await _messages(world, session):
        assert b"ada@example.com" not in body
        assert b"ciphertext" not in body


def test_a_merchant_can_subscribe_to_every_message_there_is() -> None:
    sent = {message_type(event) for event in EXAMPLES} - {None}
    assert set(MESSAGE_TYPES) == sent
