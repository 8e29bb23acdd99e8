"""How a network stands is told when it changes, to the log and to everybody who reads."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from adapters.memory.chain_encoding import transfer_log
from application.chain_source import TxReceipt
from application.standing import (
    PENDING_SHOWN_SECONDS,
    STANDING_SECONDS,
    STANDING_STALE_SECONDS,
    Standing,
)
from chain_ingest.finality import FINAL_SECONDS
from chain_ingest.standing import HEAD_STALL_SECONDS_MIN, STALL_FACTOR, TROUBLE_SECONDS_MIN
from domain.networks import ConfirmationPolicy, Network
from tests.chain_ingest.world import DEPOSIT, PAYER, START, STRICT, USDC, World

STEPS_MAX = 200
TAGGED = STRICT.model_copy(
    update={"policy": ConfirmationPolicy(version=1, blocks=3, tag="finalized")}
)


async def tick(world: World, seconds: float = 0) -> Standing:
    """So much time goes by; then the follower does all there is to do, as its loop would."""
    world.clock.advance(seconds)
    for _ in range(STEPS_MAX):
        if await world.follower._try_step():
            break
    standing = await world.store.standing("local")
    assert standing is not None
    return standing


async def following(network: Network = STRICT, sources: int = 2) -> World:
    world = World(network, sources=sources)
    world.chain.mine(5)
    standing = await tick(world)
    assert (standing.trouble, standing.pending, standing.tip) == (None, False, 5)
    return world


async def test_a_network_that_is_followed_says_so_and_how_far_a_quorum_has_come() -> None:
    standing = await tick(await following(), STANDING_SECONDS)
    assert (standing.attested, standing.single) == (5, False)
    standing = await tick(await following(sources=1), STANDING_SECONDS)
    assert (standing.attested, standing.single) == (None, True)


async def test_it_is_written_when_it_changes_and_now_and_then_besides() -> None:
    world = await following()
    before = world.store.written
    for _ in range(20):
        await tick(world, 0.1)
    assert world.store.written == before
    await tick(world, STANDING_SECONDS)
    assert world.store.written == before + 1


async def test_too_few_providers_are_pending_once_that_has_lasted() -> None:
    world = await following()
    world.sources[1].lag = 3  # it answers, and has nothing to add to what the other one says
    world.sources[0].down = world.sources[1].down = True
    began = world.clock.now()
    assert (await tick(world)).trouble is None
    standing = await tick(world, TROUBLE_SECONDS_MIN)
    assert (standing.trouble, standing.since, standing.pending) == ("too_few", began, True)
    for source in world.sources:
        source.down, source.lag = False, 0
    with capture_logs() as logs:
        standing = await tick(world, 20)
    assert (standing.trouble, standing.since) == (None, None)
    assert [each["trouble"] for each in logs if each["event"] == "network_follows"] == ["too_few"]


async def test_providers_who_contradict_each_other_are_named_as_that() -> None:
    world = await following()
    fork = world.chain.copy()
    fork.reorg(2, keep=False)
    fork.mine(4)
    world.chain.mine(2)
    world.sources[1].chain = fork
    await tick(world)
    with capture_logs() as logs:
        standing = await tick(world, TROUBLE_SECONDS_MIN)
        await tick(world, TROUBLE_SECONDS_MIN)
    assert (standing.trouble, standing.pending) == ("disagreement", True)
    assert "2 versions" in standing.detail
    said = [each for each in logs if each["event"] == "network_pending"]
    assert [each["log_level"] for each in said] == ["error"], "once"


async def test_receipts_that_nobody_can_prove_are_named_as_that() -> None:
    world = await following(sources=2)

    def forged(receipts: object) -> list[TxReceipt]:
        assert isinstance(receipts, tuple)
        log = transfer_log(USDC, PAYER, DEPOSIT, 10**12)
        return [TxReceipt(each.tx_hash, 2, 1, 1, each.logs_bloom, (log,)) for each in receipts]

    for source in world.sources:
        source.forges = forged
    world.pay(1)
    world.chain.mine()
    await tick(world)
    standing = await tick(world)
    assert world.said() == []
    assert standing.trouble in {None, "unprovable", "too_few"}
    # Whoever lied is left alone for a while, and asked again after it.
    seen = set()
    for _ in range(30):
        standing = await tick(world, TROUBLE_SECONDS_MIN)
        seen.add(standing.trouble)
    assert seen & {"unprovable", "too_few"}
    assert standing.pending


async def test_a_head_that_stands_still_is_an_error_once_until_it_moves() -> None:
    world = await following()
    with capture_logs() as logs:
        standing = await tick(world, HEAD_STALL_SECONDS_MIN)
        await tick(world, HEAD_STALL_SECONDS_MIN)
    assert (standing.trouble, standing.pending) == ("head_stalled", True)
    assert [each["log_level"] for each in logs if each["event"] == "head_stalled"] == ["error"]
    world.chain.mine()
    with capture_logs() as logs:
        standing = await tick(world, 1)
    assert standing.trouble is None
    assert [each["event"] for each in logs if "head" in each["event"]] == ["head_goes_on"]


async def test_a_head_that_stood_still_because_nobody_looked_is_no_alarm() -> None:
    world = await following()
    keeper = world.follower._standing
    keeper.slack_seconds = 100
    assert (await tick(world, 150)).trouble is None
    keeper.slack_seconds = 0
    assert (await tick(world, 1)).trouble is None
    assert (await tick(world, HEAD_STALL_SECONDS_MIN)).trouble == "head_stalled"


async def test_blocks_on_one_word_do_not_keep_the_head_from_standing_still() -> None:
    world = await following()
    world.sources[1].down = True
    for _ in range(4):
        world.clock.advance(15)
        await world.follower._providers.tip()
    world.chain.mine(3)
    standing = await tick(world, HEAD_STALL_SECONDS_MIN)
    assert (standing.trouble, standing.attested, standing.tip) == ("head_stalled", 5, 8)


async def stalling(network: Network) -> World:
    world = World(network, sources=2)
    for source in world.sources:
        source.tags["finalized"] = 2
    world.chain.mine(5)
    await tick(world)
    await tick(world, FINAL_SECONDS)
    return world


async def live_on(world: World, seconds: float) -> Standing:
    """The chain goes on, whatever it calls final."""
    standing = await tick(world)
    for _ in range(int(seconds // 20)):
        world.chain.mine(2)
        standing = await tick(world, 20)
    return standing


@pytest.mark.parametrize(("network", "pending"), [(STRICT, False), (TAGGED, True)])
async def test_final_that_stands_still_for_three_times_its_norm_is_an_alarm(
    network: Network, pending: bool
) -> None:
    world = await stalling(network)
    norm = STALL_FACTOR * network.finality_seconds
    assert (await live_on(world, norm - FINAL_SECONDS - 20)).trouble is None
    with capture_logs() as logs:
        standing = await live_on(world, 2 * norm)
    assert (standing.trouble, standing.pending) == ("finality_stalled", pending)
    assert [each["log_level"] for each in logs if each["event"] == "finality_stalled"] == ["error"]
    for source in world.sources:
        source.tags["finalized"] = 9
    with capture_logs() as logs:
        standing = await live_on(world, FINAL_SECONDS + 20)
    assert standing.trouble is None
    assert [each["event"] for each in logs if "finality" in each["event"]] == ["finality_goes_on"]


async def test_a_norm_shorter_than_a_question_takes_is_no_stall() -> None:
    world = await stalling(STRICT.model_copy(update={"finality_seconds": 4}))
    assert (
        await live_on(world, STALL_FACTOR * FINAL_SECONDS - FINAL_SECONDS - 20)
    ).trouble is None
    standing = await live_on(world, 2 * FINAL_SECONDS)
    assert standing.trouble == "finality_stalled"


async def test_payments_by_depth_go_on_while_final_stands_still() -> None:
    world = await stalling(STRICT)
    await live_on(world, 2 * STALL_FACTOR * STRICT.finality_seconds)
    world.pay(1)
    world.chain.mine(3)
    await tick(world, 3)
    assert world.said() == ["observed", "confirmed"]


async def test_final_that_no_quorum_tells_of_is_a_stall_too() -> None:
    world = World(STRICT, sources=2)
    for source in world.sources:
        source.tags["finalized"] = None
    world.chain.mine(5)
    standing = await live_on(world, STALL_FACTOR * STRICT.finality_seconds + 20)
    assert (standing.trouble, standing.detail) == (
        "finality_stalled",
        "no quorum tells of any final block",
    )


async def test_what_stood_still_while_no_ingester_ran_is_no_stall() -> None:
    world = await stalling(STRICT)
    world.clock.advance(100 * STRICT.finality_seconds)
    for source in world.sources:
        source.tags["finalized"] = 5
    world.restart()
    world.chain.mine(3)
    assert (await tick(world)).trouble is None


async def test_a_halt_is_the_gravest_and_stays_over_a_restart_with_its_beginning() -> None:
    world = await following()
    for source in world.sources:
        source.tags["finalized"] = 4
    await tick(world, FINAL_SECONDS)
    world.chain.reorg(4, keep=False)
    world.chain.mine(6)
    standing = await tick(world)
    began = world.clock.now()
    assert (standing.trouble, standing.pending, standing.since) == ("halted", True, began)
    world.restart()
    standing = await tick(world, 1_000)
    assert (standing.trouble, standing.since) == ("halted", began)
    await world.resume()
    assert (await tick(world, 5)).trouble is None


async def test_an_outage_of_the_store_is_told_when_it_is_back() -> None:
    world = await following()
    world.store.outage = True
    world.clock.advance(TROUBLE_SECONDS_MIN)
    await world.follower._try_step()
    world.store.outage = False
    assert (await tick(world, 20)).trouble is None


def test_whoever_fell_silent_is_not_believed_any_more() -> None:
    standing = Standing("local", START, tip=5)
    soon = START + timedelta(seconds=STANDING_STALE_SECONDS)
    assert standing.seen_at(soon) is standing
    assert not standing.shown(soon)
    late = soon + timedelta(seconds=1)
    assert standing.seen_at(late).trouble == "unattended"
    assert standing.shown(late)


def test_people_hear_of_it_when_it_has_lasted_and_matters_to_payments() -> None:
    since = START - timedelta(seconds=PENDING_SHOWN_SECONDS)
    standing = Standing("local", START, trouble="too_few", since=since, pending=True)
    assert standing.shown(START)
    assert not standing.shown(START - timedelta(seconds=1))
    quiet = Standing("local", START, trouble="finality_stalled", since=since, pending=False)
    assert not quiet.shown(START)


async def test_one_provider_is_said_to_be_one_at_start() -> None:
    import asyncio  # noqa: PLC0415 - the only test with a loop of its own

    world = World(sources=1)
    stop = asyncio.Event()
    stop.set()
    with capture_logs() as logs:
        await world.follower.run(stop)
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["one_provider"]
    pair = World(STRICT, sources=2)
    with capture_logs() as logs:
        await pair.follower.run(stop)
    assert [each for each in logs if each["event"] == "one_provider"] == []
