"""One provider's answer, however absurd, neither ends the process nor stops the others."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from adapters.evm_decoding import decode_logs
from adapters.memory.chain_encoding import hash_of
from application.chain_source import Header, LogEntry
from chain_ingest.health import FAILURES_UNTIL_DOWN, PAUSE_SECONDS_MAX
from chain_ingest.panel import Panel
from chain_ingest.proof import header_hash, why_header_lies
from chain_ingest.tally import Tally
from chain_ingest.transfers import TRANSFER_TOPIC
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, STRANGER, STRICT, USDC, World

TOPIC = "0x" + TRANSFER_TOPIC.hex()


def padded(address: str) -> str:
    return "0x" + "00" * 12 + address[2:]


@pytest.mark.parametrize("method", ["header", "logs_of_block", "receipts_of_block", "chain_id"])
async def test_whatever_breaks_over_one_answer_the_others_go_on(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(STRICT, sources=3)
    calls = 0

    async def broken(*_: object) -> object:
        nonlocal calls
        calls += 1
        return {}["nothing"]  # type: ignore[index]  # what a bug looks like

    monkeypatch.setattr(world.sources[0], method, broken)
    if method == "chain_id":
        await world.follower._providers.check()
    for units in range(1, 6):
        world.pay(units)
        world.chain.mine()
        await world.follow()
    assert calls
    seen = [each.sighting.amount.units for each in world.transfers if each.kind == "observed"]
    assert seen == [1, 2, 3, 4, 5]
    assert all(each.sighting.attested for each in world.transfers)
    assert "wrong_shape" in world.follower._providers.panel.states["provider-0"].failures


async def test_what_nobody_foresaw_is_told_once_with_its_traceback_and_counts_as_failure() -> None:
    world = World(STRICT, sources=2)
    source = world.sources[0]
    panel = Panel(STRICT, world.sources, world.clock, Tally())

    async def wrong(_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'strip'")

    with capture_logs() as lines:
        for _ in range(FAILURES_UNTIL_DOWN):
            assert await panel.ask(source, wrong) is None
            world.clock.advance(PAUSE_SECONDS_MAX)
    (line,) = (each for each in lines if each["event"] == "answer_not_understood")
    assert isinstance(line["exc_info"], AttributeError)
    state = panel.states[source.name]
    assert (state.standing, state.failures) == ("down", {"wrong_shape": FAILURES_UNTIL_DOWN})


async def test_being_told_to_stop_is_no_answer() -> None:
    world = World(STRICT, sources=2)
    panel = Panel(STRICT, world.sources, world.clock, Tally())

    async def stopped(_: object) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await panel.ask(world.sources[0], stopped)


@pytest.mark.parametrize("data", [None, 5, True, "0x1"])
async def test_a_log_whose_data_is_no_data_stops_nobody(
    data: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow(3)

    async def logs(
        block_hash: str, _: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        entry = {
            "address": USDC,
            "blockHash": block_hash,
            "blockNumber": "0x4",
            "transactionHash": "0x" + "11" * 32,
            "topics": [TOPIC, padded(PAYER), padded(DEPOSIT)],
            "data": data,
        }
        return decode_logs([entry], set(recipients or ())).entries  # as EvmClient does

    monkeypatch.setattr(world.sources[0], "logs_of_block", logs)
    world.pay(5)
    world.chain.mine()
    for _ in range(3):
        await world.follower._try_step()
    assert world.said() == ["observed"]


async def test_a_block_that_says_it_settles_itself_is_a_lie() -> None:
    world = World(STRICT, sources=3)
    world.chain.mine(4)
    header = world.chain.blocks[4].header
    for height in (4, 5, 2**63 - 1):
        own = _settling(header, height)
        assert "says that it settles" in str(why_header_lies(own))
    assert why_header_lies(_settling(header, 3)) is None


async def test_two_down_and_one_whose_blocks_settle_themselves_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow(3)
    liar, *others = world.sources
    for source in others:
        source.down = True
    for _ in range(FAILURES_UNTIL_DOWN + 1):
        world.clock.advance(PAUSE_SECONDS_MAX)
        await world.follower._providers.tip()

    def bent(header: Header) -> Header:
        return header if header.number < 4 else _settling(header, header.number)

    async def logs(
        block_hash: str, _: Sequence[str], __: Collection[str] | None
    ) -> Sequence[LogEntry]:
        topics = (TOPIC, padded(PAYER), padded(DEPOSIT))
        return [LogEntry(4, block_hash, "0x" + "11" * 32, USDC, topics, "0x05")]

    liar.bends = bent
    monkeypatch.setattr(liar, "logs_of_block", logs)
    world.chain.mine()
    for _ in range(3):
        await world.follower._try_step()
    assert world.transfers == []
    assert world.tally.take().lies
    for source in others:
        source.down = False
    world.clock.advance(PAUSE_SECONDS_MAX)
    await world.follow()
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.number == 4


async def test_a_standing_that_cannot_be_written_stops_no_payment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(LOCAL)

    async def broken(_: object) -> None:
        raise OverflowError("bigint out of range")

    monkeypatch.setattr(world.store, "keep_standing", broken)
    world.pay(7)
    world.chain.mine(2)
    with capture_logs() as lines:
        for _ in range(5):
            await world.follower._try_step()
    assert world.said() == ["observed"]
    assert sum(line["event"] == "standing_not_told" for line in lines) == 1


async def test_headers_are_not_kept_for_the_sake_of_their_hash() -> None:
    """A megabyte of extra data in each poll's header once added up to hundreds."""
    assert not hasattr(header_hash, "cache_info")
    world = World(STRICT, sources=3)
    await world.mine_and_follow(1)
    made = 0

    def bent(header: Header) -> Header:
        nonlocal made
        made += 1
        other = replace(header, extra_data=made.to_bytes(4, "big"))
        return replace(other, hash=hash_of(other))

    world.sources[0].bends = bent
    world.pay(1, to=STRANGER)
    await world.mine_and_follow(3)
    assert made >= 3


def _settling(header: Header, height: int) -> Header:
    own = replace(header, ext_data_hash=bytes(32), settled_height=height)
    return replace(own, hash=header_hash(own))
