"""An operator decides about the inbox for a merchant."""

import io
from typing import Any

import pytest
from rich.console import Console

from adapters.addresses import checksum_address
from domain.errors import AddressMalformed, PublicIdMalformed, ReasonMissing, TransferNotUnmatched
from domain.values import public_id
from gateway.failures import GatewayError
from gateway.operate_inbox import Operator, show, stream_of
from tests.api.world import Tenant, World
from tests.examples import RECEIVING


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def shop(world: World) -> Tenant:
    shop = await world.tenant("Acme", 1)
    await world.receive_at(shop, RECEIVING)
    return shop


@pytest.fixture
def operator(world: World) -> Operator:
    return Operator(world.handler, world.networks, world.refunds)


async def _last(world: World, name: str) -> Any:
    log = await world.store.read_log(after=0, limit=1_000)
    return next(each for each in reversed(log) if each.event.name == name)


@pytest.mark.parametrize(
    ("what", "fact"),
    [("accept", "onchain_transfer.accepted"), ("dismiss", "onchain_transfer.dismissed")],
)
async def test_a_decision_names_the_operator_and_the_merchant(
    world: World, shop: Tenant, operator: Operator, what: Any, fact: str
) -> None:
    transfer = await world.arrive(RECEIVING)
    await operator.decide(transfer, what, "the merchant called")
    recorded = await _last(world, fact)
    assert recorded.context.actor == "operator"
    assert recorded.context.merchant_id == shop.merchant_id
    assert recorded.event.reason == "the merchant called"
    with pytest.raises(TransferNotUnmatched):
        await operator.decide(transfer, what, "once more")


async def test_money_is_credited_to_the_session_the_operator_names(
    world: World, shop: Tenant, operator: Operator
) -> None:
    transfer = await world.arrive(RECEIVING)
    session = await world.session(shop, pay_by="merchant_wallet")
    with pytest.raises(PublicIdMalformed):
        await operator.decide(transfer, "assign", "his", "order-1")
    said = await operator.decide(transfer, "assign", "his", public_id("ps", session.session_id))
    assert said.startswith("assigned")
    row = await world.reads.sessions.find(session.session_id)
    assert row is not None
    assert row.session.status == "completed"


async def test_money_goes_back_under_the_rules_of_every_refund(
    world: World, shop: Tenant, operator: Operator
) -> None:
    transfer = await world.arrive(RECEIVING)
    await world.fund(shop, "50.00")
    with pytest.raises(ReasonMissing):
        await operator.decide(transfer, "refund", " ")
    with pytest.raises(AddressMalformed):
        await operator.decide(transfer, "refund", "back", "0x12")
    assert "rf_" in await operator.decide(transfer, "refund", "back")
    assert (await _last(world, "refund.requested")).context.actor == "operator"


async def test_money_of_nobody_and_unknown_transfers_are_said_so(
    world: World, operator: Operator
) -> None:
    nobodys = await world.arrive("0x" + "0c" * 20)
    with pytest.raises(GatewayError, match="no merchant"):
        await operator.decide(nobodys, "accept", "ours?")
    with pytest.raises(GatewayError, match="no such transfer"):
        await operator.decide(stream_of("tr_" + "0" * 32), "accept", "ours?")


async def test_a_transfer_has_two_names(world: World, shop: Tenant) -> None:
    transfer = await world.arrive(RECEIVING, tx="44")
    assert stream_of(public_id("tr", transfer)) == transfer
    assert stream_of(f"31337:0x{'44' * 32}:0") == transfer
    for wrong in ("", "tr_1", "0x" + "44" * 32, "ps_" + "0" * 32):
        with pytest.raises(GatewayError, match="names no transfer"):
            stream_of(wrong)


@pytest.mark.parametrize("columns", [40, 80])
async def test_every_id_of_the_inbox_can_be_copied_from_a_narrow_terminal_or_a_pipe(
    world: World, shop: Tenant, columns: int
) -> None:
    transfers = [await world.arrive(RECEIVING, tx=tx) for tx in ("44", "45")]
    nobodys = await world.arrive("0x" + "0c" * 20, tx="46")
    written = io.StringIO()
    show(await world.reads.inbox.newest(10), world.networks, Console(file=written, width=columns))
    text = written.getvalue().splitlines()
    for stream_id in (*transfers, nobodys):
        assert stream_of(text[text.index(public_id("tr", stream_id))]) == stream_id
    for tx in ("44", "45", "46"):
        assert f"  31337:0x{tx * 32}:0" in text
    assert text.count(f"  to   {checksum_address(RECEIVING)}") == 2
    assert "  10.00 USDC on local, confirmed, of no merchant, open" in text
    assert sum(line.startswith("  because ") for line in text) == 3


async def test_an_empty_inbox_is_said_so(world: World) -> None:
    written = io.StringIO()
    show((), world.networks, Console(file=written, width=80))
    assert written.getvalue() == "The inbox is empty.\n"
