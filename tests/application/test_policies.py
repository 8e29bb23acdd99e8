"""A configured confirmation policy gets its version from the log, whoever adopts it and when."""

import asyncio

import pytest

from application.deciders import POLICY, policy_stream_id
from application.policies import Policies
from application.ports import Stream
from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule
from tests.application.desk import Desk
from tests.examples import LOCAL

TIERED = LOCAL.changed(
    policy=LOCAL.policy.changed(
        tiers=(AmountTier(from_usd=1_000, rule=ConfirmationRule(tag="finalized")),)
    )
)


async def test_adopting_the_same_policy_again_writes_nothing() -> None:
    desk = Desk()
    policies = Policies(desk.handler)
    assert (await policies.history(LOCAL)).newest is None
    first = await policies.adopt(LOCAL)
    head = await desk.store.head()
    assert await policies.adopt(LOCAL) == first == await policies.history(LOCAL)
    assert await desk.store.head() == head


async def test_a_change_is_the_next_version_and_older_ones_stay_what_they_were() -> None:
    policies = Policies(Desk().handler)
    for network in (LOCAL, TIERED, LOCAL):
        history = await policies.adopt(network)
        assert history.newest is not None
        assert history.newest.same_terms(network.policy)
    versions: list[ConfirmationPolicy] = list(history.policies)
    assert [policy.version for policy in versions] == [1, 2, 3]
    assert versions[1].rule_for(10**9, 6).text == "a finalized block"
    assert versions[0].rule_for(10**9, 6).text == "3 confirmations"


@pytest.mark.parametrize("seed", range(20))
async def test_two_that_start_at_once_agree_on_one_version(seed: int) -> None:
    desk = Desk(seed)
    policies = Policies(desk.handler)
    one, two = await asyncio.gather(policies.adopt(TIERED), policies.adopt(TIERED))
    assert one == two
    stream = Stream(POLICY.stream_type, policy_stream_id(LOCAL.name))
    assert len(await desk.store.read_stream(stream)) == 1
