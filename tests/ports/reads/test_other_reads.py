"""Refunds, deliveries, keys, addresses, books and progress."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.ports import Stream
from application.reads import (
    WatchList,
)
from domain import events as e
from projections import pages
from tests.examples import (
    ASSET,
    AT,
    CREATED,
    DELIVERY_ID,
    DEPOSIT,
    ENDPOINT_ID,
    KEY_ID,
    LOCAL,
    MERCHANT_ID,
    REFUND_ID,
    SESSION_ID,
    WALLET,
)
from tests.ports.reads.conftest import Given, created, example, session_stream

# ---------------------------------------------------------------- refunds


async def test_refunds_are_found_and_listed_and_followed_until_they_end(reads: Given) -> None:
    stream = Stream("refund", REFUND_ID)
    await reads.append(stream, example(e.RefundRequested))
    assert await reads.refunds.unfinished(10) == [REFUND_ID]
    await reads.append(stream, example(e.RefundSigned), example(e.RefundBroadcast), after=1)
    assert await reads.refunds.unfinished(10) == [REFUND_ID]
    position = await reads.append(stream, example(e.RefundCompleted), after=3)
    assert await reads.refunds.unfinished(10) == []
    row = await reads.refunds.find(REFUND_ID)
    assert row is not None
    assert (row.refund.status, row.version, row.position) == ("completed", 4, position)
    listed = await reads.refunds.page(MERCHANT_ID, "test", session_id=SESSION_ID)
    assert listed.items == (row,)
    assert (await reads.refunds.page(MERCHANT_ID, "live")).items == ()
    elsewhere = await reads.refunds.page(MERCHANT_ID, "test", session_id=UUID(int=1))
    assert elsewhere.items == ()


async def test_unfinished_refunds_come_oldest_first(reads: Given) -> None:
    for number in (3, 1, 2):
        requested = example(e.RefundRequested).model_copy(update={"refund_id": UUID(int=number)})
        await reads.append(Stream("refund", UUID(int=number)), requested)
    assert [each.int for each in await reads.refunds.unfinished(2)] == [3, 1]
    pages = await reads.refunds.page(MERCHANT_ID, "test", limit=2)
    assert [row.refund.refund_id.int for row in pages.items] == [2, 1]
    rest = await reads.refunds.page(MERCHANT_ID, "test", limit=2, cursor=pages.next_cursor)
    assert [row.refund.refund_id.int for row in rest.items] == [3]
    assert rest.next_cursor is None


async def test_what_completed_and_is_not_final_is_listed_latest_first(reads: Given) -> None:
    minutes = {1: 5, 2: 0, 3: 9, 4: 5}  # refund: completed how long after AT
    for number, later in minutes.items():
        requested = example(e.RefundRequested).model_copy(update={"refund_id": UUID(int=number)})
        completed = example(e.RefundCompleted).model_copy(
            update={"at": AT + timedelta(minutes=later)}
        )
        signed, sent = example(e.RefundSigned), example(e.RefundBroadcast)
        stream = Stream("refund", UUID(int=number))
        await reads.append(stream, requested, signed, sent, completed)
    requested = example(e.RefundRequested).model_copy(update={"refund_id": UUID(int=5)})
    await reads.append(Stream("refund", UUID(int=5)), requested, example(e.RefundFailed))
    requested = example(e.RefundRequested).model_copy(update={"refund_id": UUID(int=6)})
    await reads.append(Stream("refund", UUID(int=6)), requested)

    async def found(limit: int = 10, cursor: str | None = None) -> tuple[list[int], str | None]:
        page = await reads.refunds.not_final(limit, cursor=cursor)
        for row in page.items:
            assert row == await reads.refunds.find(row.refund.refund_id)
            assert (row.refund.status, row.refund.final_at) == ("completed", None)
        return [row.refund.refund_id.int for row in page.items], page.next_cursor

    assert await found() == ([3, 4, 1, 2], None)
    first, cursor = await found(2)
    assert (first, await found(2, cursor)) == ([3, 4], ([1, 2], None))
    # What becomes final in between leaves the pages, and shifts nothing of those that follow.
    for number in (4, 1):
        stream = Stream("refund", UUID(int=number))
        await reads.append(stream, example(e.RefundFinalized), after=4)
    assert await found(2, cursor) == ([2], None)
    assert await found() == ([3, 2], None)
    row = await reads.refunds.find(UUID(int=4))
    assert row is not None
    assert (row.refund.status, row.refund.final_at) == (
        "completed",
        example(e.RefundFinalized).at,
    )
    assert await reads.refunds.unfinished(10) == [UUID(int=6)]


async def test_refunds_that_failed_on_chain_are_found_by_when_latest_first(reads: Given) -> None:
    minutes = {1: 5, 2: 0, 3: 9, 4: 5}  # refund: failed how long after AT
    for number, later in minutes.items():
        requested = example(e.RefundRequested).model_copy(update={"refund_id": UUID(int=number)})
        failed = example(e.RefundFailed).model_copy(update={"at": AT + timedelta(minutes=later)})
        signed, sent = example(e.RefundSigned), example(e.RefundBroadcast)
        stream = Stream("refund", UUID(int=number))
        await reads.append(stream, requested, signed, sent, failed)
    requested = example(e.RefundRequested).model_copy(update={"refund_id": UUID(int=5)})
    refused = example(e.RefundFailed).model_copy(update={"at": AT + timedelta(minutes=9)})
    await reads.append(Stream("refund", UUID(int=5)), requested, refused)  # it was never signed

    async def found(later: int, limit: int = 10) -> list[int]:
        moment = AT + timedelta(minutes=later)
        page = await reads.refunds.failed_on_chain_since(moment, limit)
        for row in page.items:
            assert row == await reads.refunds.find(row.refund.refund_id)
            assert row.refund.failed_at is not None
            assert row.refund.failed_at >= moment
        return [row.refund.refund_id.int for row in page.items]

    assert await found(0) == [3, 4, 1, 2]
    assert await found(5) == [3, 4, 1]  # the moment itself belongs to it
    assert await found(10) == []
    first = await reads.refunds.failed_on_chain_since(AT, 3)
    rest = await reads.refunds.failed_on_chain_since(AT, 3, cursor=first.next_cursor)
    assert [row.refund.refund_id.int for row in (*first.items, *rest.items)] == [3, 4, 1, 2]
    assert rest.next_cursor is None
    assert (await reads.refunds.not_final(10)).items == ()


async def test_a_refund_whose_transaction_a_reorg_took_is_to_be_finished_again(
    reads: Given,
) -> None:
    stream = Stream("refund", REFUND_ID)
    completed, reversed_ = example(e.RefundCompleted), example(e.RefundReversed)
    facts = (example(e.RefundRequested), example(e.RefundSigned), example(e.RefundBroadcast))
    await reads.append(stream, *facts, completed)
    row = await reads.refunds.find(REFUND_ID)
    assert row is not None
    assert row.refund.gas == completed.gas
    await reads.append(stream, reversed_, after=4)
    assert await reads.refunds.unfinished(10) == [REFUND_ID]
    assert (await reads.refunds.not_final(10)).items == ()
    row = await reads.refunds.find(REFUND_ID)
    assert row is not None
    assert (row.refund.status, row.refund.gas, row.refund.completed_at) == (
        "broadcast",
        None,
        None,
    )
    await reads.append(stream, completed, after=5)
    assert await reads.refunds.unfinished(10) == []
    assert len((await reads.refunds.not_final(10)).items) == 1


async def test_refunds_of_transfers_are_listed_by_their_transfer(reads: Given) -> None:
    asked = {"session_id": None, "transfer_id": "31337:0x11:0"}
    of_session = example(e.RefundRequested)
    await reads.append(Stream("refund", REFUND_ID), of_session)
    for number in (1, 2):
        own = {"refund_id": UUID(int=number), **asked}
        await reads.append(Stream("refund", UUID(int=number)), of_session.model_copy(update=own))
    page = await reads.refunds.page(MERCHANT_ID, "test", transfer_id="31337:0x11:0")
    assert [row.refund.refund_id.int for row in page.items] == [2, 1]
    assert {row.refund.session_id for row in page.items} == {None}
    elsewhere = await reads.refunds.page(MERCHANT_ID, "test", transfer_id="31337:0x11:1")
    assert elsewhere.items == ()
    whole = await reads.refunds.page(MERCHANT_ID, "test")
    assert len(whole.items) == 3


# ---------------------------------------------------------------- deliveries


async def test_a_delivery_shows_every_attempt_and_what_was_answered(reads: Given) -> None:
    stream = Stream("webhook_delivery", DELIVERY_ID)
    failed = example(e.DeliveryAttemptFailed)
    won = example(e.DeliverySucceeded).model_copy(update={"attempt": 2})
    await reads.append(stream, example(e.DeliveryOpened), failed)
    position = await reads.append(stream, won, after=2)
    await reads.answer(DELIVERY_ID, 1, b"\xff not text")
    row = await reads.deliveries.find(DELIVERY_ID)
    assert row is not None
    assert (row.delivery.status, row.delivery.attempts, row.position) == ("delivered", 2, position)
    first, second = await reads.deliveries.attempts(DELIVERY_ID)
    assert (first.attempt, first.status_code, first.error) == (
        1,
        failed.status_code,
        failed.error,
    )
    assert first.response_excerpt == b"\xff not text"
    assert (second.attempt, second.at, second.error) == (2, won.at, None)
    assert second.response_excerpt == b""
    assert await reads.deliveries.attempts(UUID(int=404)) == []


async def test_an_endpoint_of_somebody_else_has_no_page_and_no_next_one(
    reads: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many deliveries it has: that there is more would tell of them."""
    monkeypatch.setattr(pages, "ROWS_WALKED_MAX", 3)
    theirs = UUID(int=7)
    for number in range(1, 9):
        own = {"delivery_id": UUID(int=number), "endpoint_id": theirs}
        opened = example(e.DeliveryOpened).model_copy(update=own)
        await reads.append(Stream("webhook_delivery", UUID(int=number)), opened)
    for merchant_id, mode, found in (
        (MERCHANT_ID, "test", 5),
        (UUID(int=0xBAD), "test", 0),
        (MERCHANT_ID, "live", 0),
    ):
        page = await reads.deliveries.page(merchant_id, mode, endpoint_id=theirs, limit=5)  # type: ignore[arg-type]  # one of the two
        assert (len(page.items), page.next_cursor is not None) == (found, found > 0)


async def test_deliveries_are_listed_by_endpoint_and_status(reads: Given) -> None:
    opened = example(e.DeliveryOpened)
    for number, endpoint in ((1, ENDPOINT_ID), (2, UUID(int=7)), (3, ENDPOINT_ID)):
        own = {"delivery_id": UUID(int=number), "endpoint_id": endpoint}
        stream = Stream("webhook_delivery", UUID(int=number))
        await reads.append(stream, opened.model_copy(update=own))
    await reads.append(
        Stream("webhook_delivery", UUID(int=3)), example(e.DeliverySucceeded), after=1
    )

    async def listed(**asked: Any) -> list[int]:
        page = await reads.deliveries.page(MERCHANT_ID, "test", **asked)
        return [row.delivery.delivery_id.int for row in page.items]

    assert await listed() == [3, 2, 1]
    assert await listed(endpoint_id=ENDPOINT_ID) == [3, 1]
    assert await listed(status="due") == [2, 1]
    assert await listed(status="due", endpoint_id=ENDPOINT_ID) == [1]
    assert await listed(status="nul \x00") == []


# ---------------------------------------------------------------- keys, addresses, books


async def test_a_key_opens_until_it_is_revoked(reads: Given) -> None:
    stream = Stream("merchant", MERCHANT_ID)
    made = example(e.ApiKeyCreated)
    await reads.append(stream, example(e.MerchantRegistered), made)
    holder = await reads.api_keys.holder(made.key_hash)
    assert holder is not None
    assert (holder.key_id, holder.merchant_id, holder.mode) == (KEY_ID, MERCHANT_ID, "test")
    assert holder.scopes == ("read", "write")
    assert await reads.api_keys.holder("00" * 32) is None
    assert await reads.api_keys.holder("nul \x00") is None
    await reads.append(stream, example(e.ApiKeyRevoked), after=2)
    assert await reads.api_keys.holder(made.key_hash) is None


async def test_an_address_is_known_on_every_network_of_its_mode_and_on_no_other(
    reads: Given,
) -> None:
    await reads.append(Stream("payment_session", SESSION_ID), CREATED)
    wallet = example(e.RefundWalletAssigned)
    await reads.append(Stream("merchant", MERCHANT_ID), example(e.MerchantRegistered), wallet)
    watch: WatchList = reads.watch_list
    for network in ("local", "other"):
        owner = await watch.owner_of(network, DEPOSIT)
        assert owner is not None
        assert (owner.purpose, owner.subject_id) == ("payment_session", SESSION_ID)
        owner = await watch.owner_of(network, WALLET)
        assert owner is not None
        assert (owner.purpose, owner.subject_id) == ("refund_float", MERCHANT_ID)
        assert owner.merchant_id == MERCHANT_ID
        assert set(await reads.watch_list.addresses(network)) == {DEPOSIT, WALLET}
    for network in ("real", "unheard of"):
        assert await watch.owner_of(network, DEPOSIT) is None
        assert set(await reads.watch_list.addresses(network)) == set()
    assert await watch.owner_of("local", "0x" + "00" * 20) is None
    assert await watch.owner_of("local", "nul \x00") is None


async def test_owners_asked_for_together_are_those_asked_for_alone(reads: Given) -> None:
    await reads.append(Stream("payment_session", SESSION_ID), CREATED)
    wallet = example(e.RefundWalletAssigned)
    await reads.append(Stream("merchant", MERCHANT_ID), example(e.MerchantRegistered), wallet)
    watch: WatchList = reads.watch_list
    nobodys = "0x" + "00" * 20
    found = await watch.owners_of("local", [DEPOSIT, WALLET, nobodys, "nul \x00"])
    assert set(found) == {DEPOSIT, WALLET}
    for address, owner in found.items():
        assert owner == await watch.owner_of("local", address)
    assert dict(await watch.owners_of("local", [])) == {}
    for network in ("real", "unheard of"):
        assert dict(await watch.owners_of(network, [DEPOSIT])) == {}


async def test_the_first_owner_of_an_address_keeps_it(reads: Given) -> None:
    for number in (1, 2):
        await reads.append(session_stream(number), created(number, deposit_address=DEPOSIT))
    owner = await reads.watch_list.owner_of("local", DEPOSIT)
    assert owner.subject_id == UUID(int=1)


async def test_new_addresses_join_those_already_watched(reads: Given) -> None:
    expected = set()
    for number in range(1, 4):
        await reads.append(session_stream(number), created(number))
        expected.add(f"0x{number:040x}")
        assert set(await reads.watch_list.addresses("local")) == expected


async def test_the_books_balance_after_any_history(reads: Given) -> None:
    await reads.history(seed=3, steps=300)
    trials = {trial.asset: trial for trial in await reads.books.trial_balance()}
    assert trials.keys() == {ASSET, LOCAL.coin_asset}
    assert {trial.difference for trial in trials.values()} == {0}
    balances = await reads.books.balances()
    assert [each.account for each in balances] == sorted(each.account for each in balances)
    for asset, trial in trials.items():
        debits = sum(each.debits for each in balances if each.asset == asset)
        assert debits == trial.debits > 0


async def test_sums_beyond_64_bits_are_exact(reads: Given) -> None:
    entry = example(e.JournalEntryPosted)
    huge = entry.postings[0].amount.model_copy(update={"units": 2**256 - 1})
    posting = entry.postings[0].model_copy(update={"amount": huge})
    for number in (1, 2):
        own = {"entry_id": UUID(int=number), "postings": (posting,)}
        await reads.append(Stream("journal_entry", UUID(int=number)), entry.model_copy(update=own))
    (trial,) = await reads.books.trial_balance()
    assert trial.debits == 2 * (2**256 - 1)
    assert trial.difference == 0


# ---------------------------------------------------------------- progress, and twin against real


async def test_progress_names_the_head_once_all_is_taken_in(reads: Given) -> None:
    assert await reads.progress.position("payments") == 0
    position = await reads.append(session_stream(1), created(1))
    assert await reads.progress.position("watch_list") == position
    assert await reads.progress.wait_for(position, timeout_seconds=1)
    assert not await reads.progress.wait_for(position + 1, timeout_seconds=0.02)
