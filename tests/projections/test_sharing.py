"""How a rebuild is divided, and what one of the two does when the other fails."""

import asyncio
from collections.abc import Sequence

import pytest

from projections.applying import Follower
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Place
from projections.projection import Projection
from projections.rebuild import Job, Pace, replay, resumed
from projections.renewal import rebuild
from projections.sharing import HelperFailed, OnHelped, divided
from projections.upkeep import working
from tests.projections.conftest import Stage
from tests.projections.test_runner import rows


def job(projection: Projection, position: int = 0) -> Job:
    place = Place(f"{projection.schema}_r1", position, live=False)
    return Job(Follower(projection, place), indexed=False, resumed=False)


def test_shares_are_of_about_the_same_weight_and_nothing_is_left_out() -> None:
    one, other = divided([job(each) for each in PROJECTIONS], head=1_000_000)
    costs = [sum(each.projection.cost for each in share) for share in (one, other)]
    assert abs(costs[0] - costs[1]) <= 0.1 * sum(costs)
    names = [each.projection.name for each in (*one, *other)]
    assert sorted(names) == sorted(each.name for each in PROJECTIONS)


def test_what_is_nearly_there_weighs_little() -> None:
    payments, *others = PROJECTIONS
    jobs = [job(payments, 999_000), *(job(each) for each in others)]
    one, other = divided(jobs, head=1_000_000)
    assert min(len(one), len(other)) > 0
    weights = [
        sum(each.projection.cost * (1_000_000 - each.position) for each in share)
        for share in (one, other)
    ]
    assert abs(weights[0] - weights[1]) <= 0.1 * sum(weights)


def test_one_projection_is_nobody_elses() -> None:
    one, other = divided([job(PROJECTIONS[0])], head=10)
    assert (len(one), other) == (1, [])


class Unready:
    """A helper that fails once it was asked; `asked` is what for."""

    def __init__(self, events_min: int) -> None:
        self.events_min = events_min
        self.asked: list[str] = []

    async def replay(self, names: Sequence[str], tell: OnHelped) -> None:
        self.asked += names
        await tell("replaying", 0, None)
        await asyncio.sleep(0)
        raise HelperFailed("on purpose")


@pytest.mark.services
async def test_a_helper_that_fails_ends_both_and_is_not_asked_for_a_short_log(
    stage: Stage,
) -> None:
    await stage.history().write(50)
    failing = Unready(events_min=0)
    with pytest.raises(HelperFailed, match="on purpose"):
        await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock, helper=failing)
    assert "inbox" in failing.asked
    ready = await rows(stage, "SELECT count(*) FROM rm_admin.rebuilds WHERE state <> 'building'")
    assert ready[0][0] < len(PROJECTIONS)
    idle = Unready(events_min=1_000_000)
    rebuilt = await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock, helper=idle)
    assert idle.asked == []
    assert {each.position for each in rebuilt} == {await stage.store.head()}


class Idle:
    """A helper that says at once that it is done."""

    events_min = 0

    async def replay(self, names: Sequence[str], tell: OnHelped) -> None:
        await tell("catching up", 0, None)


class Quick:
    """A helper of this process that is done long before the first one."""

    events_min = 0

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def replay(self, names: Sequence[str], tell: OnHelped) -> None:
        stage = self._stage
        async with working(stage.owner, ()) as connection:
            async with connection.transaction():
                chosen = [each for each in PROJECTIONS if each.name in names]
                jobs = [await resumed(connection, each) for each in chosen]
            begun = [job for job in jobs if job is not None]
            await replay(connection, begun, Pace(stage.store, stage.clock, lambda _: None))
        await stage.history(seed=2).write(40)  # facts that come while the first is still at it


@pytest.mark.services
async def test_that_a_helper_is_done_is_believed_when_the_database_says_so_too(
    stage: Stage,
) -> None:
    await stage.history().write(50)
    with pytest.raises(HelperFailed, match=r"but .*rm_inbox_v3_r1.* is not ready"):
        await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock, helper=Idle())
    rebuilt = await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock)
    assert all(each.schema.endswith("_r1") for each in rebuilt)
    unindexed = await rows(stage, "SELECT schema FROM rm_admin.rebuilds WHERE NOT indexed")
    assert unindexed == [], "what was not done by the one is done by the next"


@pytest.mark.services
async def test_what_the_faster_one_has_missed_is_caught_up_before_anything_is_compared(
    stage: Stage,
) -> None:
    await stage.history().write(50)
    rebuilt = await rebuild(
        stage.owner, stage.store, PROJECTIONS, stage.clock, helper=Quick(stage)
    )
    assert {each.position for each in rebuilt} == {await stage.store.head()}
