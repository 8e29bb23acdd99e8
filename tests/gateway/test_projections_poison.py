"""A stream that cannot be folded waits alone, and is taken in again when the fault is mended.

The fault is planted in the projection; the runner, the log and the tables are real.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID

import pytest

from adapters.clock import SystemClock
from application.handling import Handler
from application.ports import Fact, Stream
from application.upkeep import Upkeep, upkeep_stream
from domain.payment import PaymentSession
from projections.catalogue import PROJECTIONS
from projections.parked import NotParked, ParkedAlready, StreamUnknown, park, parked_streams, retry
from projections.payments import Payments
from projections.rebuild import Order
from projections.renewal import rebuild
from projections.runner import ProjectionRunner
from projections.upkeep import tell
from tests.conftest import Migrated
from tests.examples import OBSERVED
from tests.gateway.projections_site import Site, opened
from tests.projections.test_runner import created, running, session_stream

pytestmark = pytest.mark.services
ANN = {"by": "operator:ann", "reason": "a drill"}


class Faulty(Payments):
    """Cannot fold some sessions, as if a release had brought a bug."""

    broken: ClassVar[set[UUID]] = set()

    def evolve(self, state: PaymentSession | None, recorded: Fact[Any]) -> PaymentSession:
        if recorded.stream.id in self.broken:
            raise ZeroDivisionError("a bug")
        return super().evolve(state, recorded)


FAULTY = (Faulty(), *PROJECTIONS[1:])


@pytest.fixture
async def site(migrated: Migrated, nats_url: str) -> AsyncIterator[Site]:
    Faulty.broken.clear()
    async with opened(migrated, nats_url) as found:
        yield found
    Faulty.broken.clear()


@asynccontextmanager
async def followed(site: Site) -> AsyncIterator[None]:
    clock = SystemClock()
    async with running(ProjectionRunner(site.app, site.store, FAULTY, None, clock)):
        yield


async def lags(site: Site) -> dict[str, int]:
    """How many facts of each projection's neighbours are not in its rows, when all should be."""
    await site.caught_up()
    found = await site.rows(
        "SELECT name, (SELECT max(position) FROM es.events) - position "
        "FROM rm_admin.checkpoints WHERE live"
    )
    return dict(found)


async def alike(site: Site) -> None:
    """What is shown equals a clean rebuild by code without the fault."""
    (clean,) = await rebuild(
        site.owner, site.store, [Payments()], SystemClock(), Order("test", restart=True)
    )
    assert clean.parked == 0
    for table in Payments().tables:
        rebuilt = await site.contents(clean.schema, table.name)
        assert rebuilt == await site.contents("rm", table.name), table.name
        assert rebuilt


async def write(site: Site, numbers: range) -> None:
    """Sessions that are created, and paid a little later."""
    for number in numbers:
        await site.append(session_stream(number), created(number))
    for number in numbers:
        await site.append(session_stream(number), OBSERVED, after=1)


async def test_a_poisoned_stream_waits_alone_and_its_retry_equals_a_clean_rebuild(
    site: Site,
) -> None:
    poisoned = session_stream(5)
    async with followed(site):
        await write(site, range(1, 5))
        before = await lags(site)
        await site.append(poisoned, created(5))
        await site.caught_up()
        Faulty.broken.add(poisoned.id)
        await site.append(poisoned, OBSERVED, after=1)
        await write(site, range(6, 20))
        assert await lags(site) == before == dict.fromkeys(before, 0)
        (left,) = await parked_streams(site.app)
        assert (left.stream, left.error, left.live) == (poisoned, "ZeroDivisionError: a bug", True)
        others = await site.rows(
            "SELECT count(*) FROM rm.payments WHERE version = 2 AND session_id <> %s", poisoned.id
        )
        assert others == [(18,)], "its neighbours are whole"
        again = await _retry(site, poisoned)
        assert (again.settled, again.error) == (False, "ZeroDivisionError: a bug")
        (left,) = await parked_streams(site.app)
        assert left.attempts == 2
        Faulty.broken.clear()
        mended = await _retry(site, poisoned)
        assert (mended.settled, mended.schemas) == (True, ("rm_payments_v4",))
        await write(site, range(20, 25))
        await site.caught_up()
        assert await parked_streams(site.app) == []
    await alike(site)


async def _retry(site: Site, stream: Stream) -> Any:
    return await retry(site.app, site.store, Faulty(), stream, SystemClock(), **ANN)


async def test_neighbours_of_a_poisoned_stream_are_seen_as_soon_as_before(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    async def seconds_to_be_seen(numbers: range) -> float:
        """The median of them, each asked for by itself."""
        took: list[float] = []
        for number in numbers:
            began = time.monotonic()
            await site.append(session_stream(number), created(number))
            await site.caught_up()
            took.append(time.monotonic() - began)
        return statistics.median(took)

    async with followed(site):
        await seconds_to_be_seen(range(1, 5))
        before = await seconds_to_be_seen(range(5, 35))
        Faulty.broken.update(session_stream(number).id for number in range(100, 130))
        await write(site, range(100, 130))
        after = await seconds_to_be_seen(range(35, 65))
        assert len(await parked_streams(site.app)) == 30
    record_property("seconds_before", round(before, 4))
    record_property("seconds_after", round(after, 4))
    assert after < 2 * before + 0.1, "on a machine that others use too"


async def test_a_retry_mends_the_rebuild_under_way_too(site: Site) -> None:
    poisoned = session_stream(5)
    Faulty.broken.add(poisoned.id)
    async with followed(site):
        await write(site, range(1, 10))
        await site.caught_up()
        order = Order("operator:ann")
        (begun,) = await rebuild(site.owner, site.store, [Faulty()], SystemClock(), order)
        assert begun.parked == 1
        Faulty.broken.clear()
        mended = await _retry(site, poisoned)
        assert mended.schemas == ("rm_payments_v4", "rm_payments_v4_r1")
        (done,) = await rebuild(site.owner, site.store, [Faulty()], SystemClock(), order)
        assert (done.schema, done.parked) == (begun.schema, 0)
        await site.caught_up()
    for table in Payments().tables:
        assert await site.contents(done.schema, table.name) == await site.contents(
            "rm", table.name
        )
    await alike(site)


async def test_a_stream_parked_by_hand_misses_what_comes_and_gets_it_back(site: Site) -> None:
    aside = session_stream(3)
    async with followed(site):
        await write(site, range(1, 6))
        await site.caught_up()
        schemas = await park(site.app, site.store, Faulty(), aside, SystemClock(), **ANN)
        assert schemas == ("rm_payments_v4",)
        with pytest.raises(ParkedAlready):
            await park(site.app, site.store, Faulty(), aside, SystemClock(), **ANN)
        await site.append(aside, OBSERVED, after=2)
        await write(site, range(6, 9))
        await site.caught_up()
        version = "SELECT version FROM rm.payments WHERE session_id = %s"
        assert await site.rows(version, aside.id) == [(2,)]
        assert (await _retry(site, aside)).settled
        assert await site.rows(version, aside.id) == [(3,)]
        await site.append(aside, OBSERVED, after=3)
        await site.caught_up()
        assert await site.rows(version, aside.id) == [(4,)], "the runner forgot what it held"
        assert await parked_streams(site.app) == []
    await alike(site)
    with pytest.raises(NotParked):
        await _retry(site, aside)
    with pytest.raises(StreamUnknown):
        await park(site.app, site.store, Faulty(), session_stream(999), SystemClock(), **ANN)


async def test_many_are_retried_while_the_runner_goes_on(site: Site) -> None:
    Faulty.broken.update(session_stream(number).id for number in range(1, 31))
    async with followed(site):
        await write(site, range(1, 61))
        await site.caught_up()
        assert len(await parked_streams(site.app)) == 30
        Faulty.broken.clear()
        writing = asyncio.create_task(write(site, range(61, 120)))
        for number in range(1, 31):
            assert (await _retry(site, session_stream(number))).settled
        await writing
        await site.caught_up()
        assert await parked_streams(site.app) == []
    await alike(site)


async def test_what_is_noted_is_told_in_the_log_once(site: Site) -> None:
    await write(site, range(1, 3))
    await park(site.app, site.store, Faulty(), session_stream(1), SystemClock(), **ANN)
    await _retry(site, session_stream(1))
    upkeep = Upkeep(Handler(site.store, SystemClock()))
    assert await tell(site.app, upkeep) == 2
    assert await tell(site.app, upkeep) == 0
    async with site.app.connection() as connection:  # as if it had been killed in between
        await connection.execute("UPDATE rm_admin.operations SET told = false")
    assert await tell(site.app, upkeep) == 2
    facts = await site.store.read_stream(upkeep_stream("payments"))
    assert [(fact.event.name, fact.context.actor) for fact in facts] == [
        ("projection.stream_parked", "operator:ann"),
        ("projection.stream_retried", "operator:ann"),
    ]
