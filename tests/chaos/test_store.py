"""The small size of the store's campaign, and that its judge and a bad store differ."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from rich.console import Console

from adapters import event_store
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.event_store_draft import Draft
from adapters.event_store_write import Group, Outcome
from adapters.postgres import Postgres
from application.ports import StoreUnavailable
from chaos import consumer
from chaos import store as campaign
from chaos.store_load import Attempt, Load
from chaos.store_oracle import Verdict, judge
from tests.conftest import Migrated

pytestmark = pytest.mark.services
SLOW_DISK_SECONDS = 0.5  # nearly all of the time, so that a crash hits a group that waits for it


async def test_a_crash_under_eight_writers_loses_doubles_and_denies_nothing() -> None:
    verdict = await campaign.stops(1, long_every=0)
    assert verdict.clean, verdict
    assert verdict.acknowledged > 0
    assert verdict.refused > 0


async def test_a_store_that_reports_success_before_its_commit_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted defect: callers are told what a disk has not been asked to keep yet."""

    class Hasty(Group):
        async def _insert_beside(
            self, accepted: Sequence[Draft], outcomes: Sequence[Outcome]
        ) -> None:
            await super()._insert_beside(accepted, outcomes)
            for each, outcome in zip(self._drafts, outcomes, strict=True):
                each.resolve(outcome)
            await asyncio.sleep(SLOW_DISK_SECONDS)

    monkeypatch.setattr(event_store, "Group", Hasty)
    verdict = await campaign.stops(2, long_every=0)
    assert verdict.lost > 0
    assert not verdict.clean


@pytest.mark.parametrize(("unknown_after", "more"), [(0, 0), (2, 2), (99, campaign.MORE_MAX)])
async def test_the_server_is_stopped_again_until_an_outcome_is_unknown(
    unknown_after: int, more: int
) -> None:
    load, crashes = Load(Random(1)), 0

    async def crash() -> None:
        nonlocal crashes
        crashes += 1
        if crashes == unknown_after:
            load._unknown["attempt-1"] = Attempt("attempt-1", 1, unknown=True)

    if unknown_after == 0:
        load._unknown["attempt-1"] = Attempt("attempt-1", 1, unknown=True)
    assert await campaign._until_unknown(load, crash) == crashes == more


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict(stops=20, unknown=1), 0),
        (Verdict(stops=20, unknown=0), 1),
        (Verdict(stops=1, unknown=0), 0),
        (Verdict(stops=20, unknown=1, lost=1), 1),
    ],
)
def test_a_full_run_without_an_unknown_outcome_is_not_called_clean(
    verdict: Verdict, status: int
) -> None:
    assert campaign.status(verdict) == status
    console = Console(width=200)
    with console.capture() as told:
        campaign._show(verdict, 1.0, console)
    assert (campaign.NOT_EXERCISED in told.get()) is (verdict.unknown == 0)
    assert campaign.summary(verdict, 1.0)["unknown_exercised"] is (verdict.unknown > 0)


async def test_a_consumer_that_has_ended_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer, "DEAF_SECONDS_MAX", 0.05)
    postgres = Postgres("postgresql://nobody@127.0.0.1:9/none", name="test")
    gone = consumer.Consumer(postgres, "nats://127.0.0.1:9", "local")
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError, match="still listens"):
            await gone.stop_listening()


# ---------------------------------------------------------------- the judge alone


class Story:
    """A log, and what was said of it, all of it true."""

    def __init__(self, dsn: str, attempts: Sequence[Attempt], head: int) -> None:
        self.dsn = dsn
        self.attempts = list(attempts)
        self.seen = list(range(1, head + 1))

    def written(self) -> Attempt:
        return next(each for each in self.attempts if each.position is not None)

    def told(self, **otherwise: object) -> None:
        """Somebody whose batch is there was told something else."""
        number = self.attempts.index(self.written())
        self.attempts[number] = replace(self.attempts[number], **otherwise)  # type: ignore[arg-type]  # fields of it


@pytest.fixture
async def story(migrated: Migrated) -> AsyncIterator[Story]:
    load, stop = Load(Random(1)), asyncio.Event()
    async with (
        Postgres(migrated.app_dsn, name="test", max_size=2) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        writers = [asyncio.create_task(load.write(store, stop)) for _ in range(8)]
        while len(load.attempts) < 200:
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*writers)
        yield Story(migrated.admin_dsn, load.attempts, await store.head())


def test_the_judge_finds_nothing_wrong_with_the_truth(story: Story) -> None:
    verdict = judge(story.dsn, story.attempts, story.seen)
    assert verdict.clean, verdict
    assert verdict.acknowledged + verdict.refused == len(story.attempts)
    assert verdict.events == len(story.seen)


LIES: dict[str, Callable[[Story], None]] = {
    "lost: acknowledged and not there": lambda story: story.attempts.append(
        Attempt("attempt-never", 1, position=3)
    ),
    "lost: acknowledged at another place": lambda story: story.told(position=10**9),
    "lost: half of it is there": lambda story: story.told(events=story.written().events + 1),
    "duplicated: there is more of it": lambda story: story.told(events=0),
    "denied": lambda story: story.told(position=None, refused=StoreUnavailable("lost")),
    "unresolved: nobody found out": lambda story: story.told(position=None, unknown=True),
    "unresolved: found out wrongly": lambda story: story.told(
        position=None, unknown=True, resolved=StoreUnavailable("lost")
    ),
    "missed": lambda story: story.seen.remove(7),
    "disordered": lambda story: story.seen.insert(3, story.seen.pop(5)),
    "wrong: an event of nobody": lambda story: story.attempts.remove(story.written()),
}


@pytest.mark.parametrize("lie", LIES)
def test_the_judge_finds_each_lie(story: Story, lie: str) -> None:
    LIES[lie](story)
    verdict = judge(story.dsn, story.attempts, story.seen)
    assert getattr(verdict, lie.partition(":")[0])
    assert not verdict.clean


def test_an_unknown_outcome_that_was_found_out_is_no_fault(story: Story) -> None:
    there = story.written().position
    story.told(position=None, unknown=True, resolved=there)
    gone = Attempt("attempt-gone", 1, unknown=True, resolved=StoreUnavailable("lost"))
    story.attempts.append(gone)
    verdict = judge(story.dsn, story.attempts, story.seen)
    assert verdict.clean, verdict
    assert (verdict.unknown, verdict.unknown_written) == (2, 1)
