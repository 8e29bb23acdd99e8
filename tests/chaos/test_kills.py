"""The small size of the kill campaign: one of each kind of crash, judged as the large one is."""

import pytest

from chaos import kills
from chaos.points import POINTS, unmarked, unpublished

pytestmark = pytest.mark.services
SMALL = ("write: before the outbox", "publish: on the bus, not marked", "fork: committed")


async def test_a_killed_ingester_loses_and_repeats_nothing() -> None:
    points = [point for point in POINTS if point.name.startswith(SMALL)]
    assert len(points) == len(SMALL)
    assert {point.trap for point in points} >= {unmarked, unpublished}
    outcome = await kills.kills(1, points=points)
    assert outcome.clean, outcome.wrong
    assert outcome.times == len(SMALL)
    assert outcome.payments > 0


async def test_a_wiped_nats_store_loses_and_repeats_nothing() -> None:
    outcome = await kills.wipes(2)
    assert outcome.clean, outcome.wrong
    assert outcome.payments > 0


async def test_a_crashed_postgresql_loses_and_repeats_nothing() -> None:
    outcome = await kills.stops(1)
    assert outcome.clean, outcome.wrong
    assert outcome.payments > 0
