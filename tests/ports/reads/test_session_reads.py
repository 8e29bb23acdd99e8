"""Payment sessions: found, listed, filtered, due to expire."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.deciders import PAYMENT
from application.ports import Stream
from domain import events as e
from domain.errors import CursorMalformed
from tests.examples import (
    AT,
    CREATED,
    MERCHANT_ID,
    OBSERVED,
    SESSION_ID,
)
from tests.ports.reads.conftest import QUERY, Given, created, example, numbers, session_stream

# ---------------------------------------------------------------- payment sessions


async def test_a_session_is_found_with_state_version_and_position(reads: Given) -> None:
    await reads.append(Stream("payment_session", SESSION_ID), CREATED)
    position = await reads.append(Stream("payment_session", SESSION_ID), OBSERVED, after=1)
    row = await reads.sessions.find(SESSION_ID)
    assert row is not None
    assert row.session == PAYMENT.evolve(PAYMENT.evolve(None, CREATED), OBSERVED)
    assert (row.version, row.position) == (2, position)
    assert await reads.sessions.find(UUID(int=404)) is None


async def test_pages_go_from_the_newest_to_the_oldest_and_end(reads: Given) -> None:
    for number in range(1, 8):
        await reads.append(session_stream(number), created(number))
    seen: list[int] = []
    cursor = None
    for _ in range(3):
        page = await reads.sessions.page(replace(QUERY, limit=3, cursor=cursor))
        seen += numbers(page)
        cursor = page.next_cursor
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert cursor is None


async def test_a_full_last_page_has_no_cursor(reads: Given) -> None:
    for number in range(1, 4):
        await reads.append(session_stream(number), created(number))
    page = await reads.sessions.page(replace(QUERY, limit=3))
    assert numbers(page) == [3, 2, 1]
    assert page.next_cursor is None


async def test_what_is_created_between_two_pages_moves_nothing(reads: Given) -> None:
    for number in range(1, 5):
        await reads.append(session_stream(number), created(number))
    first = await reads.sessions.page(replace(QUERY, limit=2))
    later = AT + timedelta(seconds=1)
    await reads.append(session_stream(5), created(5, at=later))
    second = await reads.sessions.page(replace(QUERY, limit=2, cursor=first.next_cursor))
    assert numbers(first) + numbers(second) == [4, 3, 2, 1]


async def test_pages_hold_one_merchant_and_one_mode_only(reads: Given) -> None:
    await reads.append(session_stream(1), created(1))
    await reads.append(session_stream(2), created(2, merchant_id=UUID(int=0xA2)))
    await reads.append(session_stream(3), created(3, mode="live"))
    assert numbers(await reads.sessions.page(QUERY)) == [1]
    assert numbers(await reads.sessions.page(replace(QUERY, mode="live"))) == [3]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"status": "failed"}, [2]),
        ({"status": "pending"}, [4, 3, 1]),
        ({"network": "other"}, [3]),
        ({"merchant_reference": "order-9"}, [4]),
        ({"merchant_reference": "nul \x00"}, []),
        ({"tx_hash": OBSERVED.tx_hash}, [3]),
        ({"tx_hash": "0x" + "00" * 32}, []),
        ({"created_from": AT + timedelta(minutes=2)}, [4, 3]),
        ({"created_to": AT + timedelta(minutes=2)}, [2, 1]),
        ({"network": "local", "status": "pending"}, [4, 1]),
    ],
)
async def test_each_filter_finds_what_it_asks_for(
    reads: Given, asked: dict[str, Any], found: list[int]
) -> None:
    short = OBSERVED.model_copy(update={"amount": OBSERVED.amount.model_copy(update={"units": 1})})
    await reads.append(session_stream(1), created(1, merchant_reference=None))
    await reads.append(
        session_stream(2), created(2, at=AT + timedelta(minutes=1)), e.SessionExpired(at=AT)
    )
    own = {"network": "other", "at": AT + timedelta(minutes=2)}
    await reads.append(session_stream(3), created(3, **own), short)
    own = {"merchant_reference": "order-9", "at": AT + timedelta(minutes=3)}
    await reads.append(session_stream(4), created(4, **own))
    assert numbers(await reads.sessions.page(replace(QUERY, **asked))) == found


@pytest.mark.parametrize("cursor", ["", "!", "AAAA", "MQ", "MS4yLjM", "LTEuMg", "é", "9" * 200])
async def test_a_cursor_nobody_gave_out_is_refused(reads: Given, cursor: str) -> None:
    with pytest.raises(CursorMalformed):
        await reads.sessions.page(replace(QUERY, cursor=cursor))


@pytest.mark.parametrize("cursor", ["", "!", "MS4y", "OTk5OTk5OTk5OTk5OTk5OTk5OTk"])
async def test_a_cursor_of_another_list_is_refused(reads: Given, cursor: str) -> None:
    with pytest.raises(CursorMalformed):
        await reads.refunds.page(MERCHANT_ID, "test", cursor=cursor)
    with pytest.raises(CursorMalformed):
        await reads.deliveries.page(MERCHANT_ID, "test", cursor=cursor)


async def test_only_open_sessions_whose_window_has_closed_are_due_to_expire(
    reads: Given,
) -> None:
    await reads.append(session_stream(1), created(1, expires_at=AT + timedelta(minutes=2)))
    await reads.append(session_stream(2), created(2, expires_at=AT + timedelta(minutes=1)))
    await reads.append(session_stream(3), created(3, expires_at=AT + timedelta(minutes=9)))
    ended = created(4, expires_at=AT)
    await reads.append(session_stream(4), ended, e.SessionCancelled(at=AT))
    covered = example(e.PaymentCovered)
    await reads.append(session_stream(5), created(5, expires_at=AT), OBSERVED, covered)
    now = AT + timedelta(minutes=2)
    assert [each.int for each in await reads.sessions.due_to_expire(now, 10)] == [2, 1]
    assert [each.int for each in await reads.sessions.due_to_expire(now, 1)] == [2]


async def test_a_network_is_expected_to_be_paid_on_while_a_session_is_open_there(
    reads: Given,
) -> None:
    assert not await reads.sessions.expects("local")
    await reads.append(session_stream(1), created(1))
    assert await reads.sessions.expects("local")
    assert not await reads.sessions.expects("other")
    await reads.append(session_stream(1), e.SessionCancelled(at=AT), after=1)
    assert not await reads.sessions.expects("local")


async def test_since_when_somebody_may_pay_on_a_network_is_known(reads: Given) -> None:
    later, over = AT + timedelta(minutes=1), AT + timedelta(hours=1)
    assert await reads.sessions.opened_since("local", AT) is None
    await reads.append(session_stream(1), created(1, at=AT, expires_at=later))
    await reads.append(session_stream(2), created(2, at=later, expires_at=over))
    assert await reads.sessions.opened_since("local", AT) == AT
    assert await reads.sessions.opened_since("local", later) == later
    assert await reads.sessions.opened_since("local", over) is None
    assert await reads.sessions.opened_since("other", AT) is None


async def test_what_is_due_on_one_network_is_not_crowded_out_by_another(reads: Given) -> None:
    for number, network in ((1, "other"), (2, "local"), (3, "other")):
        await reads.append(session_stream(number), created(number, network=network))
    now = AT + timedelta(hours=1)

    async def due(network: str) -> list[int]:
        found = await reads.sessions.due_to_expire(now, 1, network=network)
        return [each.int for each in found]

    assert await due("local") == [2]
    assert await due("other") == [1]
    assert await due("real") == []
