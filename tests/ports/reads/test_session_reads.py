"""Payment sessions: found, listed, filtered, due to expire."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.session_filter import asked_for
from application.deciders import PAYMENT
from application.ports import Stream
from domain import events as e
from domain.errors import CursorMalformed
from projections import pages, payment_reads
from tests.examples import (
    AT,
    CREATED,
    MERCHANT_ID,
    OBSERVED,
    OTHER_ASSET,
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


THIRD = OBSERVED.model_copy(
    update={"amount": OBSERVED.amount.model_copy(update={"units": 1}), "payer": "0x" + "3a" * 20}
)
SECOND = THIRD.model_copy(update={"transfer_id": "31337:0xb0b:1", "payer": "0x" + "2b" * 20})
DUE = CREATED.due.units
OTHER = CREATED.due.model_copy(update={"asset": OTHER_ASSET, "units": DUE + 1})


async def four_sessions(reads: Given) -> None:
    await reads.append(session_stream(1), created(1, merchant_reference=None))
    await reads.append(
        session_stream(2), created(2, at=AT + timedelta(minutes=1)), e.SessionExpired(at=AT)
    )
    own = {"network": "other", "at": AT + timedelta(minutes=2)}
    await reads.append(session_stream(3), created(3, **own), THIRD)
    own = {"merchant_reference": "order-9", "at": AT + timedelta(minutes=3), "due": OTHER}
    await reads.append(session_stream(4), created(4, **own))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"status": "failed"}, [2]),
        ({"status": "pending"}, [4, 3, 1]),
        ({"status": "refunded"}, []),
        ({"network": "other"}, [3]),
        ({"network": "nul \x00"}, []),
        ({"assets": (OTHER_ASSET,)}, [4]),
        ({"assets": (CREATED.due.asset, OTHER_ASSET)}, [4, 3, 2, 1]),
        ({"assets": ()}, []),
        ({"merchant_reference": "order-9"}, [4]),
        ({"merchant_reference": "nul \x00"}, []),
        ({"tx_hash": OBSERVED.tx_hash}, [3]),
        ({"tx_hash": "0x" + "00" * 32}, []),
        ({"payer": THIRD.payer}, [3]),
        ({"payer": "0x" + "00" * 20}, []),
        ({"address": THIRD.payer}, [3]),
        ({"address": f"0x{2:040x}"}, [2]),
        ({"session_id": UUID(int=4)}, [4]),
        ({"session_id": UUID(int=404)}, []),
        ({"units_min": DUE + 1}, [4]),
        ({"units_max": DUE}, [3, 2, 1]),
        ({"units_min": DUE, "units_max": DUE + 1}, [4, 3, 2, 1]),
        ({"units_min": DUE + 1, "units_max": DUE}, []),
        ({"created_from": AT + timedelta(minutes=2)}, [4, 3]),
        ({"created_to": AT + timedelta(minutes=2)}, [2, 1]),
        ({"network": "local", "status": "pending"}, [4, 1]),
        ({"network": "local", "units_max": DUE}, [2, 1]),
        ({"payer": THIRD.payer, "status": "failed"}, []),
        ({"payer": THIRD.payer, "tx_hash": THIRD.tx_hash, "network": "other"}, [3]),
        ({"tx_hash": THIRD.tx_hash, "address": f"0x{3:040x}"}, [3]),
        ({"tx_hash": THIRD.tx_hash, "address": THIRD.payer}, [3]),
        ({"tx_hash": THIRD.tx_hash, "address": f"0x{2:040x}"}, []),
        ({"merchant_reference": "order-9", "status": "failed"}, []),
        ({"session_id": UUID(int=4), "merchant_reference": "order-9", "units_min": DUE}, [4]),
        ({"created_to": AT + timedelta(minutes=3), "status": "pending"}, [3, 1]),
    ],
)
async def test_each_filter_finds_what_it_asks_for(
    reads: Given, asked: dict[str, Any], found: list[int]
) -> None:
    await four_sessions(reads)
    assert numbers(await reads.sessions.page(replace(QUERY, **asked))) == found


async def test_a_wallet_that_paid_twice_is_found_once_and_stays_found_after_a_reorg(
    reads: Given,
) -> None:
    again = THIRD.model_copy(update={"transfer_id": "31337:0xb0b:1", "tx_hash": "0xb0b"})
    gone = example(e.TransferRetracted).model_copy(update={"transfer_id": THIRD.transfer_id})
    await reads.append(session_stream(1), created(1), THIRD, again, gone)
    await reads.append(session_stream(2), created(2, merchant_id=UUID(int=0xA2)), THIRD)
    assert numbers(await reads.sessions.page(replace(QUERY, payer=THIRD.payer))) == [1]
    assert numbers(await reads.sessions.page(replace(QUERY, tx_hash=THIRD.tx_hash))) == [1]


async def test_both_wallets_of_a_transfer_that_was_mined_again_find_its_session(
    reads: Given,
) -> None:
    gone = example(e.TransferRetracted).model_copy(update={"transfer_id": THIRD.transfer_id})
    again = THIRD.model_copy(update={"payer": SECOND.payer})
    await reads.append(session_stream(1), created(1), THIRD)
    await reads.append(session_stream(1), gone, again, example(e.PaymentCovered), after=2)
    for payer in (THIRD.payer, SECOND.payer):
        for status, found in (("pending", []), ("confirming", [1])):
            query = replace(QUERY, payer=payer, status=status)
            assert numbers(await reads.sessions.page(query)) == found


async def test_an_id_and_a_transaction_have_to_be_of_one_session(reads: Given) -> None:
    await reads.append(session_stream(1), created(1), THIRD)
    await reads.append(session_stream(2), created(2))
    for number, found in ((1, [1]), (2, [])):
        query = replace(QUERY, session_id=UUID(int=number), tx_hash=THIRD.tx_hash)
        assert numbers(await reads.sessions.page(query)) == found


async def test_the_wallet_that_sessions_share_is_the_address_of_none_of_them(
    reads: Given,
) -> None:
    shared = created(1, pay_by="merchant_wallet", deposit_address="0x" + "5a" * 20)
    await reads.append(session_stream(1), shared)
    assert numbers(await reads.sessions.page(replace(QUERY, address="0x" + "5a" * 20))) == []


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"status": "pending"},
    {"assets": (CREATED.due.asset, OTHER_ASSET)},
    {"units_min": DUE - 2},
    {"merchant_reference": "order-1", "units_min": DUE + 1},
    {"payer": THIRD.payer, "status": "pending"},
    {"payer": THIRD.payer, "assets": (OTHER_ASSET,), "network": "local", "units_min": DUE + 1},
    {"address": THIRD.payer},
    {"address": THIRD.payer, "payer": THIRD.payer, "units_max": DUE + 2},
    {"address": THIRD.payer, "payer": SECOND.payer},
    {"address": THIRD.payer, "merchant_reference": "order-1"},
    {"created_to": AT + timedelta(seconds=20), "network": "local", "units_max": DUE + 3},
)


@pytest.mark.parametrize("walked", [4, 1_000])
@pytest.mark.parametrize("asked", FILTERS)
async def test_pages_of_any_filter_give_each_match_once_however_few_rows_each_may_walk(
    reads: Given, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], walked: int
) -> None:
    monkeypatch.setattr(pages, "ROWS_WALKED_MAX", walked)
    monkeypatch.setattr(payment_reads, "PAYERS_WALKED_MAX", walked)
    monkeypatch.setattr(payment_reads, "PAYERS_COMPARED_MAX", walked)
    for number in range(1, 31):
        own: dict[str, Any] = {"at": AT + timedelta(seconds=number // 2)}
        own["due"] = (CREATED.due if number % 3 else OTHER).changed(units=DUE + number % 5)
        own["network"] = "other" if number % 7 == 0 else "local"
        own["merchant_reference"] = f"order-{number % 2}"
        more = (THIRD, SECOND)[: 1 + number % 4 // 3] if number % 2 else ()
        await reads.append(session_stream(number), created(number, **own), *more)
    whole = numbers(await reads.sessions.page(replace(QUERY, limit=100)))
    seen: list[int] = []
    query = replace(QUERY, limit=5, **asked)
    for _ in range(31):
        page = await reads.sessions.page(query)
        seen += numbers(page)
        if page.next_cursor is None:
            break
        query = replace(query, cursor=page.next_cursor)
    assert page.next_cursor is None
    assert len(seen) == len(set(seen)) > 0
    assert seen == [each for each in whole if each in seen], "newest first"
    rows = [await reads.sessions.find(UUID(int=each)) for each in whole]
    matching = [r.session.session_id.int for r in rows if r and asked_for(query, r.session)]
    assert seen == matching


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
    for limit, numbers_ in ((10, [2, 1]), (1, [2])):
        due = await reads.sessions.due_to_expire(now, limit, network="local")
        assert [each.int for each in due] == numbers_


async def test_a_network_is_expected_to_be_paid_on_while_a_session_is_open_there(
    reads: Given,
) -> None:
    assert not await reads.sessions.expects("local")
    await reads.append(session_stream(1), created(1))
    assert await reads.sessions.expects("local")
    assert not await reads.sessions.expects("other")
    await reads.append(session_stream(1), e.SessionCancelled(at=AT), after=1)
    assert not await reads.sessions.expects("local")


async def test_since_when_somebody_may_pay_on_a_network_is_known_to_the_hour(
    reads: Given,
) -> None:
    later, over = AT + timedelta(minutes=1), AT + timedelta(hours=3)
    assert await reads.sessions.opened_since("local", AT) is None
    await reads.append(session_stream(1), created(1, at=AT, expires_at=later))
    await reads.append(session_stream(2), created(2, at=later, expires_at=over))
    opened = reads.sessions.opened_since
    assert await opened("local", AT) == AT
    assert await opened("local", later) == AT, "its window closed within this hour"
    assert await opened("local", AT + timedelta(hours=2)) == later
    assert await opened("local", over + timedelta(hours=1)) is None
    assert await opened("other", AT) is None


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
