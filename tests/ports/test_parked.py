"""One suite for parked messages: in PostgreSQL, and on the twin."""

from datetime import timedelta

import pytest

from application.outside import BusMessage, ParkedMessage
from tests.ports.ingesting import AT, Kit, database_or_none, kit

__all__ = ["database_or_none", "kit"]
pytestmark = pytest.mark.services


async def park(kit: Kit, *names: str) -> None:
    for name in names:
        await kit.parked.park("chain", BusMessage("chain.local.x", b"b", 5, None, name), "why")


async def found(kit: Kit, name: str) -> ParkedMessage:
    message = await kit.parked.find("chain", name)
    assert message is not None
    return message


async def test_a_parked_message_is_found_by_its_id_and_source(kit: Kit) -> None:
    await park(kit, "one")
    message = await found(kit, "one")
    assert (message.subject, message.data, message.error) == ("chain.local.x", b"b", "why")
    assert (message.retries, message.outcome, message.settled) == (0, None, False)
    assert await kit.parked.find("chain", "other") is None
    assert await kit.parked.find("elsewhere", "one") is None
    assert await kit.parked.find("chain", "no\0ne") is None


async def test_a_retry_is_counted_and_what_fails_waits_on(kit: Kit) -> None:
    await park(kit, "one")
    for retries in (1, 2):
        at = AT + timedelta(seconds=retries)
        message = await found(kit, "one")
        await kit.parked.retried(message, "failed", at=at, reason="try", error="a \0 bug")
        message = await found(kit, "one")
        assert (message.retries, message.retried_at, message.outcome) == (retries, at, "failed")
        assert message.retry_error == "a \N{REPLACEMENT CHARACTER} bug"
        assert message.error == "why"
        assert [each.message_id for each in await kit.parked.list(10)] == ["one"]


@pytest.mark.parametrize("outcome", ["settled", "already_settled"])
async def test_what_is_settled_no_longer_waits_and_is_kept(kit: Kit, outcome: str) -> None:
    await park(kit, "one", "two")
    await kit.parked.retried(
        await found(kit, "one"),
        outcome,  # type: ignore[arg-type]  # two of the three
        at=AT,
        reason="mended",
        error=None,
    )
    assert [each.message_id for each in await kit.parked.list(10)] == ["two"]
    kept = await kit.parked.list(10, settled=True)
    assert {each.message_id for each in kept} == {"one", "two"}
    message = await found(kit, "one")
    assert (message.outcome, message.retry_reason, message.settled) == (outcome, "mended", True)


async def test_a_slower_retry_cannot_unsettle_it_nor_can_parking_it_again(kit: Kit) -> None:
    await park(kit, "one")
    stale = await found(kit, "one")
    await kit.parked.retried(stale, "settled", at=AT, reason="mended", error=None)
    settled = await found(kit, "one")
    await kit.parked.retried(stale, "failed", at=AT, reason="slow", error="no")
    await park(kit, "one")
    assert await found(kit, "one") == settled
