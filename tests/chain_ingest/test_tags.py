"""Rules by the chain's own word: what two providers call final, on the branch that we hold."""

import pytest
from structlog.testing import capture_logs

from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule, Network
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, STRICT, USDC, World

FINAL = ConfirmationPolicy(version=1, blocks=3, tag="finalized")
FAR = 10_000


def network(policy: ConfirmationPolicy = FINAL) -> Network:
    return STRICT.model_copy(update={"policy": policy})


async def paid_world(sources: int = 3, policy: ConfirmationPolicy = FINAL) -> World:
    """A payment in block 2, buried under ten more; no provider calls it final yet."""
    world = World(network(policy), sources=sources)
    for source in world.sources:
        source.tags = {"finalized": 0, "safe": 0}
    await world.mine_and_follow()
    world.pay(1)
    await world.mine_and_follow(11)
    assert world.said() == ["observed"]
    return world


async def tag(world: World, *numbers: int | None, name: str = "finalized") -> None:
    """The providers call these blocks so, and a block time goes by."""
    for source, number in zip(world.sources, numbers, strict=False):
        source.tags[name] = number  # type: ignore[index]  # one of the two tags
    world.clock.advance(world.network.block_seconds)
    await world.follow()


async def test_it_is_confirmed_when_two_providers_call_its_block_final_and_not_before() -> None:
    world = await paid_world()
    await tag(world, 1, 1, 1)
    assert world.said() == ["observed"]
    await tag(world, 2, 1, 1)
    assert world.said() == ["observed"]
    await tag(world, 2, 2, 1)
    assert world.said() == ["observed", "confirmed"]
    told = world.transfers[-1]
    assert (told.confirmations, told.policy_version, told.rule) == (11, 1, "a finalized block")
    await tag(world, 5, 5, 5)
    assert world.said() == ["observed", "confirmed"], "once"


async def test_safe_and_finalized_are_not_taken_for_each_other() -> None:
    world = await paid_world(policy=FINAL.model_copy(update={"tag": "safe"}))
    await tag(world, 5, 5, 5, name="finalized")
    assert world.said() == ["observed"]
    await tag(world, 5, 5, 5, name="safe")
    assert world.transfers[-1].rule == "a safe block"


async def test_no_number_of_blocks_stands_in_for_a_tag() -> None:
    world = await paid_world()
    await world.mine_and_follow(100)
    assert world.said() == ["observed"]


async def test_one_liar_cannot_make_a_block_final() -> None:
    world = await paid_world()
    await tag(world, FAR, 1, 1)
    await tag(world, FAR, 0, None)
    await tag(world, FAR, None, None)
    assert world.said() == ["observed"]


async def test_a_liar_who_calls_nothing_final_cannot_hold_it_up() -> None:
    world = await paid_world()
    await tag(world, 0, 4, 3)
    assert world.said() == ["observed", "confirmed"]


async def test_a_final_block_of_another_branch_makes_ours_no_safer() -> None:
    world = await paid_world()
    fork = world.chain.copy()
    fork.reorg(11, keep=False)
    fork.transfer(USDC, PAYER, DEPOSIT, 1)
    fork.mine(11)
    world.sources[0].chain = fork
    await tag(world, 8, 4, 1)
    assert world.said() == ["observed"], "the second one with our block has not come so far"
    await tag(world, 8, 4, 3)
    assert world.said() == ["observed", "confirmed"]


async def test_a_liar_with_a_fork_does_not_hide_that_the_others_have_come_far_enough() -> None:
    world = await paid_world()
    fork = world.chain.copy()
    fork.reorg(11, keep=False)
    fork.mine(12)
    world.sources[0].chain = fork
    await tag(world, 9, 6, 2)
    assert world.said() == ["observed", "confirmed"]


async def test_the_tag_may_be_ahead_of_what_we_have_read() -> None:
    world = World(network(), sources=2)
    await world.mine_and_follow()
    for source in world.sources:
        source.tags["finalized"] = FAR
    world.pay(1)
    world.chain.mine(2)
    assert await world.follower.step(), "the payment's block"
    world.clock.advance(1)
    assert await world.follower.step(), "its confirmation"
    assert world.said() == ["observed", "confirmed"]
    assert world.transfers[-1].confirmations == 1


async def test_a_single_provider_is_enough_only_where_the_policy_takes_its_word() -> None:
    strict = await paid_world(sources=1)
    await tag(strict, 5)
    assert strict.said() == ["observed"]
    lenient = await paid_world(1, FINAL.model_copy(update={"allow_unattested": True}))
    await tag(lenient, 5)
    assert lenient.said() == ["observed", "confirmed"]


async def test_among_several_one_is_enough_only_where_the_policy_takes_its_word() -> None:
    world = await paid_world(3, FINAL.model_copy(update={"allow_unattested": True}))
    await tag(world, 5, None, None)
    assert world.said() == ["observed", "confirmed"]


async def test_a_tag_that_goes_back_takes_nothing_back_and_is_named_once() -> None:
    world = await paid_world()
    await tag(world, 5, 5, 5)
    world.pay(2)
    await world.mine_and_follow()
    with capture_logs() as logs:
        for _ in range(3):
            await tag(world, 1, 1, 1)
    assert world.said() == ["observed", "confirmed", "observed"]
    assert [each["event"] for each in logs if "tag" in each] == ["tag_waits"]
    with capture_logs() as logs:
        await tag(world, 13, 13, 13)
    assert world.said() == ["observed", "confirmed", "observed", "confirmed"]
    assert [each["event"] for each in logs if "tag" in each] == ["tag_goes_on"]


async def test_a_tag_that_nobody_serves_takes_no_provider_out_of_service() -> None:
    world = await paid_world()
    with capture_logs() as logs:
        for _ in range(10):
            await tag(world, None, None, None)
            world.pay(1)
            await world.mine_and_follow()
    assert world.said() == ["observed"] * 11
    assert all(each.sighting.attested for each in world.transfers)
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["tag_waits"]
    await tag(world, 5, 5, None)
    assert world.said().count("confirmed") == 1


async def test_a_tag_is_asked_for_only_while_somebody_waits_and_once_a_block_time() -> None:
    world = World(network(FINAL.model_copy(update={"tag": "safe"})), sources=3)
    asked: list[object] = []
    for source in world.sources:
        source.tags["safe"] = 0
        _listen(source, asked, "safe")
    await world.mine_and_follow(5)
    world.clock.advance(60)
    await world.mine_and_follow(5)
    assert asked == [], "nobody waits"
    world.pay(1)
    await world.mine_and_follow()
    world.clock.advance(1)
    for _ in range(5):
        await world.mine_and_follow(4)
    assert asked == ["safe"] * 3, "one question to each provider"
    await tag(world, 30, 30, 30, name="safe")
    assert world.said() == ["observed", "confirmed"]
    asked.clear()
    world.clock.advance(60)
    await world.mine_and_follow(5)
    assert asked == []


def _listen(source: object, asked: list[object], tag: str) -> None:
    header = source.header  # type: ignore[attr-defined]  # a MemorySource

    async def listening(block: object) -> object:
        if block == tag:
            asked.append(block)
        return await header(block)

    source.header = listening  # type: ignore[attr-defined]  # as above


async def test_what_is_final_is_asked_for_once_a_minute_whoever_waits() -> None:
    world = World(STRICT, sources=2)
    asked: list[object] = []
    for source in world.sources:
        _listen(source, asked, "safe")
        _listen(source, asked, "finalized")
    world.pay(1)
    for _ in range(3):
        await world.mine_and_follow(20)
        world.clock.advance(19)
    assert asked == ["finalized"] * 2, "once each provider"
    world.clock.advance(3)
    await world.mine_and_follow()
    assert asked == ["finalized"] * 4


async def test_tiers_and_tags_work_together_and_a_restart_forgets_neither() -> None:
    policy = ConfirmationPolicy(
        version=1,
        blocks=2,
        tiers=(AmountTier(from_usd=10, rule=ConfirmationRule(tag="finalized")),),
    )
    world = World(network(policy), sources=2)
    for source in world.sources:
        source.tags["finalized"] = 0
    world.pay(9_999_999)
    await world.mine_and_follow()
    world.pay(1)
    await world.mine_and_follow(3)
    assert world.said() == ["observed", "observed", "confirmed"]
    world.network = network(ConfirmationPolicy(version=1, blocks=1))
    world.restart()
    await tag(world, 2, 1)
    assert world.said().count("confirmed") == 1
    await tag(world, 2, 2)
    assert world.said().count("confirmed") == 2
    assert (world.transfers[-1].policy_version, world.transfers[-1].rule) == (
        1,
        "a finalized block",
    )


async def test_a_sighting_that_a_reorg_took_is_not_confirmed_by_a_tag() -> None:
    world = await paid_world()
    world.chain.reorg(11, keep=False)
    world.chain.mine(12)
    await tag(world, 9, 9, 9)
    assert world.said() == ["observed", "reorg", "retracted"]


@pytest.mark.parametrize("final", [400, 300])
async def test_what_was_read_by_ranges_is_confirmed_by_the_tag_too(final: int) -> None:
    world = World(network(), sources=2)
    await world.follow()
    world.chain.mine(10)
    world.pay(1)
    world.chain.mine(500)
    for source in world.sources:
        source.tags["finalized"] = final
    await world.follow()
    world.clock.advance(1)
    await world.follow()
    assert world.said() == ["observed", "confirmed"]


async def test_a_write_whose_answer_was_lost_confirms_once() -> None:
    world = await paid_world()
    world.store.lose_answer = True
    with pytest.raises(Exception, match="connection failed"):
        await tag(world, 5, 5, 5)
    await tag(world, 5, 5, 5)
    assert world.said() == ["observed", "confirmed"]


async def test_unattested_sightings_wait_for_a_quorum_even_if_the_chain_is_final() -> None:
    world = World(LOCAL.model_copy(update={"policy": FINAL}), sources=1)
    world.sources[0].tags["finalized"] = FAR
    world.pay(1)
    await world.mine_and_follow(5)
    world.clock.advance(1)
    await world.follow()
    assert world.said() == ["observed"]
