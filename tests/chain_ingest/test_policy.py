"""A sighting is confirmed under the policy that held when its transfer was first seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from application.chain_messages import TransferReport
from application.ingest import Sighted, Terms
from application.ports import StoreUnavailable
from chain_ingest.terms import Policy
from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule, Network
from domain.policy import PolicyHistory
from tests import examples
from tests.chain_ingest.world import BRIDGED, LOCAL, OTHER_DEPOSIT, STRICT, World

USD = 10**6
LARGE_USD = 1_000
TIERED = ConfirmationPolicy(
    version=1,
    blocks=2,
    tiers=(AmountTier(from_usd=LARGE_USD, rule=ConfirmationRule(blocks=5)),),
    allow_unattested=True,
)


def under(policy: ConfirmationPolicy, network: Network = LOCAL) -> Network:
    return network.model_copy(update={"policy": policy})


def rules(world: World, kind: str = "observed") -> list[str]:
    return [each.rule for each in world.transfers if each.kind == kind]


def versions(world: World, kind: str = "observed") -> list[int]:
    return [each.policy_version for each in world.transfers if each.kind == kind]


def last(world: World) -> TransferReport:
    return world.transfers[-1]


# ---------------------------------------------------------------- tiers


@pytest.mark.parametrize(
    ("units", "blocks"), [(LARGE_USD * USD - 1, 2), (LARGE_USD * USD, 5), (LARGE_USD * USD + 1, 5)]
)
async def test_a_tier_begins_with_the_very_unit_of_its_amount(units: int, blocks: int) -> None:
    world = World(under(TIERED))
    world.pay(units)
    await world.mine_and_follow(blocks - 1)
    assert world.said() == ["observed"]
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]
    assert last(world).confirmations == blocks
    assert last(world).rule == f"{blocks} confirmations"


async def test_a_payment_in_two_blocks_is_judged_by_its_sum() -> None:
    world = World(under(TIERED))
    world.pay(600 * USD)
    await world.mine_and_follow()
    world.pay(400 * USD)
    await world.mine_and_follow()
    assert rules(world) == ["2 confirmations", "5 confirmations"]
    assert world.said() == ["observed", "observed", "confirmed"]
    await world.mine_and_follow(3)
    assert world.said().count("confirmed") == 1, "four confirmations are not five"
    await world.mine_and_follow()
    assert world.said().count("confirmed") == 2


async def test_parts_in_one_block_share_the_rule_of_their_sum_whatever_their_order() -> None:
    for parts in ((999, 1), (1, 999), (500, 250, 250)):
        world = World(under(TIERED))
        for part in parts:
            world.pay(part * USD)
        await world.mine_and_follow()
        assert set(rules(world)) == {"5 confirmations"}, parts


async def test_another_address_and_another_token_do_not_add_up() -> None:
    world = World(under(TIERED))
    world.pay(600 * USD)
    world.pay(600 * USD, to=OTHER_DEPOSIT)
    world.pay(600 * USD, token=BRIDGED)
    await world.mine_and_follow()
    assert rules(world) == ["2 confirmations"] * 3


async def test_what_was_confirmed_before_counts_and_what_was_retracted_does_not() -> None:
    world = World(under(TIERED))
    await world.mine_and_follow()
    world.pay(600 * USD)
    await world.mine_and_follow(4)
    assert world.said() == ["observed", "confirmed"]
    world.pay(400 * USD)
    await world.mine_and_follow()
    assert rules(world)[-1] == "5 confirmations"
    world.chain.reorg(5, keep=False)
    world.pay(600 * USD)
    await world.mine_and_follow(6)
    assert rules(world)[-1] == "2 confirmations"


async def test_a_range_of_blocks_gives_the_rules_that_block_by_block_gives() -> None:
    amounts = (600, 300, 100, 1)
    slow, quick = World(under(TIERED)), World(under(TIERED))
    for world in (slow, quick):
        await world.follow()
        for amount in amounts:
            world.pay(amount * USD)
            world.chain.mine()
            if world is slow:
                await world.follow()
        world.chain.mine(400)
        await world.follow()
    assert quick.sources[0].calls["logs_of_range"] > 0
    assert slow.transfers[0].kind == quick.transfers[0].kind
    assert rules(quick) == rules(slow) == [*["2 confirmations"] * 2, *["5 confirmations"] * 2]


class _Received:
    """A store that knows nothing but what has been received."""

    def __init__(self, units: int) -> None:
        self._units = units
        self.asked_above: list[int] = []

    async def first_terms(self, *_: object) -> dict[str, Terms]:
        return {}

    async def received(
        self, _: str, purses: set[tuple[str, str]], *, above: int
    ) -> dict[tuple[str, str], int]:
        self.asked_above.append(above)
        return dict.fromkeys(purses, self._units)


class _Adopted:
    async def adopt(self, network: Network) -> PolicyHistory:
        return PolicyHistory(policies=(network.policy,))


@given(
    before=st.integers(0, 2 * LARGE_USD * USD),
    parts=st.lists(st.integers(1, LARGE_USD * USD), min_size=1, max_size=6),
)
async def test_however_it_is_split_no_part_of_a_large_sum_gets_the_rule_of_a_small_one(
    before: int, parts: list[int]
) -> None:
    network = under(TIERED, examples.LOCAL)
    policy = Policy(network, _Adopted(), _Received(before))  # type: ignore[arg-type]  # the part used
    await policy.adopt()
    amounts = [examples.SEEN.amount.model_copy(update={"units": units}) for units in parts]
    sightings = [
        examples.sighting(amount, tx=f"{number + 16:02x}") for number, amount in enumerate(amounts)
    ]
    seen = await policy.terms_for(sightings)
    large = before + sum(parts) >= LARGE_USD * USD
    assert [each.sighting for each in seen] == sightings
    assert {each.terms.rule.blocks for each in seen} == {5 if large else 2}


async def test_what_an_address_received_counts_as_far_back_as_the_deepest_rule_looks() -> None:
    network = under(TIERED, examples.LOCAL)
    store = _Received(0)
    policy = Policy(network, _Adopted(), store)  # type: ignore[arg-type]  # the part used
    await policy.adopt()
    await policy.terms_for([examples.sighting(number=100)])
    assert store.asked_above == [100 - 5]


# ---------------------------------------------------------------- versions


async def test_a_changed_policy_holds_for_new_sightings_only_across_a_restart() -> None:
    world = World(under(ConfirmationPolicy(version=1, blocks=2, allow_unattested=True)))
    world.pay(1)
    await world.mine_and_follow()
    world.network = under(ConfirmationPolicy(version=1, blocks=4, allow_unattested=True))
    world.restart()
    world.pay(2)
    await world.mine_and_follow()
    assert versions(world) == [1, 2]
    assert rules(world) == ["2 confirmations", "4 confirmations"]
    assert (last(world).kind, last(world).sighting.amount.units) == ("confirmed", 1)
    assert (last(world).policy_version, last(world).rule) == (1, "2 confirmations")
    world.restart()
    await world.mine_and_follow(3)
    assert (last(world).kind, last(world).confirmations) == ("confirmed", 4)
    assert (last(world).policy_version, last(world).rule) == (2, "4 confirmations")


async def test_restarting_with_the_same_policy_makes_no_new_version() -> None:
    world = World()
    await world.mine_and_follow()
    head = await world.log.head()
    assert head == 1
    world.restart()
    await world.mine_and_follow()
    assert await world.log.head() == head


async def test_a_transfer_mined_again_keeps_the_version_of_its_first_sighting() -> None:
    world = World(under(ConfirmationPolicy(version=1, blocks=3, allow_unattested=True)))
    await world.mine_and_follow()
    world.pay(1)
    await world.mine_and_follow()
    world.network = under(ConfirmationPolicy(version=1, blocks=1, allow_unattested=True))
    world.restart()
    world.chain.reorg(1)
    world.pay(2)
    await world.mine_and_follow(2)
    assert [(each.kind, each.policy_version) for each in world.transfers] == [
        ("observed", 1),
        ("retracted", 1),
        ("observed", 1),
        ("observed", 2),
        ("confirmed", 2),
    ]
    first, _, again, _, _ = world.transfers
    assert first.sighting.transfer_id == again.sighting.transfer_id
    assert first.sighting.block_hash != again.sighting.block_hash
    await world.mine_and_follow()
    assert (last(world).kind, last(world).rule) == ("confirmed", "3 confirmations")


async def test_mined_again_beside_another_part_it_is_judged_by_the_sum_it_now_stands_in() -> None:
    world = World(under(TIERED))
    await world.mine_and_follow()
    world.pay(600 * USD)
    await world.mine_and_follow()
    world.chain.reorg(1)
    world.pay(600 * USD)
    await world.mine_and_follow(2)
    assert rules(world) == ["2 confirmations", "5 confirmations", "5 confirmations"]
    assert versions(world) == [1, 1, 1]


async def test_a_version_from_before_the_log_knew_any_keeps_the_rule_of_the_first_sighting() -> (
    None
):
    world = World()
    old = Terms(1_000_009, ConfirmationRule(blocks=9))
    world.pay(1)
    await world.mine_and_follow()
    rows = world.store._networks["local"].seen
    for seen in rows.values():
        seen.terms = old
    world.chain.reorg(1)
    await world.mine_and_follow(2)
    assert (last(world).policy_version, last(world).rule) == (1_000_009, "9 confirmations")


async def test_what_one_provider_hid_gets_terms_of_its_own_and_the_others_keep_theirs() -> None:
    world = World(STRICT, sources=2)
    world.pay(1)
    await world.mine_and_follow()
    (seen,) = await world.store.sightings_above("local", 0)
    policy = ConfirmationPolicy(version=1, blocks=7)
    world.network = under(policy, STRICT)
    world.restart()
    await world.follow()
    block = await world.follower._providers.agreed(1)
    hidden = seen.sighting.model_copy(update={"transfer_id": seen.sighting.transfer_id + "1"})
    cursor = await world.store.cursor("local")
    assert cursor is not None
    await world.follower._passing.reexamine(cursor, block, (seen.sighting, hidden))
    found = await world.store.sightings_above("local", 0)
    assert list(found) == [seen, Sighted(hidden, Terms(2, ConfirmationRule(blocks=7)))]
    assert versions(world) == [1, 2]


async def test_nothing_is_read_before_the_policy_has_its_version() -> None:
    world = World()
    world.pay(1)
    world.chain.mine()
    world.log.outage = StoreUnavailable("switched off by a test")
    with pytest.raises(StoreUnavailable):
        await world.follow()
    assert await world.store.cursor("local") is None
    world.log.outage = None
    await world.follow()
    assert versions(world) == [1]


# ---------------------------------------------------------------- how bad a reorg was


@pytest.mark.parametrize(
    ("units", "mined", "depth", "level"),
    [
        (1, 2, 1, "warning"),  # not confirmed, and shallow
        (1, 2, 2, "error"),  # two confirmations: it was
        (LARGE_USD * USD, 2, 1, "warning"),
        (None, 4, 2, "error"),  # deeper than the smallest rule
    ],
)
async def test_a_reorg_is_an_error_when_the_rule_had_been_met(
    units: int | None, mined: int, depth: int, level: str
) -> None:
    world = World(under(TIERED))
    await world.mine_and_follow()
    if units is not None:
        world.pay(units)
    await world.mine_and_follow(mined)
    world.chain.reorg(depth, keep=False)
    world.chain.mine(depth + 1)
    with capture_logs() as logs:
        await world.follow()
    assert [each["log_level"] for each in logs if each["event"] == "reorg"] == [level]


async def test_a_reorg_of_what_waits_for_a_tag_is_an_error_only_once_it_was_confirmed() -> None:
    final = replace_tag(TIERED)
    for tagged, level in ((1, "warning"), (2, "error")):
        world = World(under(final))
        await world.mine_and_follow()
        world.pay(1)
        await world.mine_and_follow(3)
        world.sources[0].tags["finalized"] = tagged
        world.clock.advance(1)
        await world.follow()
        world.chain.reorg(3, keep=False)
        world.chain.mine(4)
        with capture_logs() as logs:
            await world.follow()
        assert [each["log_level"] for each in logs if each["event"] == "reorg"] == [level]


def replace_tag(policy: ConfirmationPolicy) -> ConfirmationPolicy:
    return policy.model_copy(update={"tag": "finalized"})
