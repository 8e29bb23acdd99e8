"""Chain reports become facts of transfers, sessions, floats and books: each once, in any order."""

import random
from collections.abc import Collection, Mapping
from itertools import permutations
from unittest.mock import AsyncMock
from uuid import UUID

import pytest

from application.chain_messages import (
    MessageMalformed,
    ReorgReport,
    TransferReport,
    decode_report,
    encode_report,
    subject_of,
)
from application.deciders import PAYMENT, REFUND_FLOAT, TRANSFER, float_id, transfer_stream_id
from application.ports import Stream, Unavailable
from application.reads import WATCH_LIST_MODEL
from application.settlement import MoneyWentElsewhere, Settlement
from domain.events import JournalEntryPosted, ReorgDetected, Sighting
from domain.matching import AddressOwner
from domain.payment import PaymentSession
from domain.values import derived_id
from tests.api.world import Tenant, World
from tests.examples import AT, block_hash, sighting, usd


def report(kind: str, number: int, seen: Sighting) -> TransferReport:
    return TransferReport.model_validate(
        {
            "kind": kind,
            "message_id": f"{kind}-{number}-{seen.transfer_id}",
            "report_number": number,
            "at": AT,
            "sighting": seen,
            "confirmations": 3 if kind == "confirmed" else 1,
            "policy_version": 1,
        }
    )


class Shop:
    """One merchant with an open session, and settlement on twins."""

    def __init__(self) -> None:
        self.world = World()
        self.tenant: Tenant | None = None
        self.settlement = Settlement(
            self.world.handler,
            self.world.reads.watch_list,
            self.world.networks,
            self.world.reads.progress,
        )

    async def open(self) -> PaymentSession:
        if self.tenant is None:
            self.tenant = await self.world.tenant("Shop", 1)
        return await self.world.session(self.tenant)

    def seen(self, session: PaymentSession, **changes: object) -> Sighting:
        base = sighting(session.due, recipient=session.deposit_address)
        return base.model_copy(update=changes)

    async def session(self, session_id: UUID) -> PaymentSession:
        found = await self.world.handler.load(PAYMENT, session_id)
        assert found is not None
        return found

    async def balances(self) -> dict[str, int]:
        """Debits less credits of each account, folded from the log alone."""
        found: dict[str, int] = {}
        for recorded in await self.world.store.read_log(after=0, limit=10_000):
            if isinstance(recorded.event, JournalEntryPosted):
                for posting in recorded.event.postings:
                    units = posting.amount.units
                    debit, credit = posting.debit.split(":")[0], posting.credit.split(":")[0]
                    found[debit] = found.get(debit, 0) + units
                    found[credit] = found.get(credit, 0) - units
        return found


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_a_report_is_applied_once_however_often_it_comes(shop: Shop) -> None:
    session = await shop.open()
    seen = shop.seen(session)
    first, last = report("observed", 1, seen), report("confirmed", 2, seen)
    assert await shop.settlement.apply(first)
    assert not await shop.settlement.apply(first)
    assert await shop.settlement.apply(last)
    assert not await shop.settlement.apply(last)
    done = await shop.session(session.session_id)
    assert (done.status, done.confirmed) == ("completed", session.due)
    assert (await shop.balances())["customer_receipts"] == session.due.units
    assert (await shop.balances())["fees_receivable"] == session.due.units // 200


async def test_a_reorg_ends_the_same_in_every_order_with_every_repeat(shop: Shop) -> None:
    for seed in range(40):
        session = await shop.open()
        lost = shop.seen(session, **_named(f"{seed + 16:02x}"))
        again = lost.model_copy(update={"block_number": 101, "block_hash": block_hash(101, "b")})
        reports = [
            report("observed", 1, lost),
            report("retracted", 2, lost),
            report("observed", 3, again),
            report("confirmed", 4, again),
        ] * 2
        random.Random(seed).shuffle(reports)
        for each in reports:
            await shop.settlement.apply(each)
        done = await shop.session(session.session_id)
        assert (done.status, done.confirmed.units) == ("completed", session.due.units), seed
        assert len(done.transfers) == 1
    assert (await shop.balances())["customer_receipts"] == 40 * session.due.units


async def test_a_payment_lost_for_good_ends_as_unpaid_in_every_order(shop: Shop) -> None:
    for order in permutations(range(4)):
        session = await shop.open()
        lost = shop.seen(session, **_named(f"{order[0]}{order[1]}{order[2]}{order[3]}"))
        again = lost.model_copy(update={"block_number": 101, "block_hash": block_hash(101, "b")})
        reports = (
            report("confirmed", 1, lost),
            report("retracted", 2, lost),
            report("observed", 3, again),
            report("retracted", 4, again),
        )
        for position in order:
            await shop.settlement.apply(reports[position])
        left = await shop.session(session.session_id)
        assert (left.status, left.seen.units) == ("pending", 0), order
        assert set((await shop.balances()).values()) <= {0}, order


async def test_a_top_up_that_is_lost_after_it_was_spent_still_gets_booked(shop: Shop) -> None:
    session = await shop.open()
    assert shop.tenant is not None
    merchant = await shop.world.merchants.find(shop.tenant.merchant_id)
    assert merchant is not None
    top_up = sighting(usd("10.00"), tx="77", recipient=merchant.refund_wallets["test"].address)
    await shop.settlement.apply(report("confirmed", 1, top_up))
    await shop.settlement.apply(report("confirmed", 2, shop.seen(session)))
    caller = shop.tenant.caller()
    await shop.world.refunds.request(
        session.session_id, "8.00", None, None, caller, None, lambda _: (201, b"")
    )
    await shop.settlement.apply(report("retracted", 3, top_up))
    books = await shop.balances()
    assert (books["refund_float"], books["float_shortfall"]) == (0, 8_000_000)
    await shop.settlement.apply(report("confirmed", 4, top_up))
    books = await shop.balances()
    assert (books["refund_float"], books["hot_wallet"]) == (-2_000_000, 10_000_000)
    assert books["float_shortfall"] == books["float_owed"] == 0


def _named(tx: str) -> dict[str, object]:
    tx_hash = "0x" + (tx * 32)[:64]
    return {"tx_hash": tx_hash, "transfer_id": f"31337:{tx_hash}:0"}


async def test_a_deep_reorg_reverses_payment_and_books(shop: Shop) -> None:
    session = await shop.open()
    seen = shop.seen(session)
    await shop.settlement.apply(report("confirmed", 1, seen))
    await shop.settlement.apply(report("retracted", 2, seen))
    lost = await shop.session(session.session_id)
    assert (lost.status, lost.confirmed.units) == ("pending", 0)
    assert "reversed" in lost.exceptions
    assert set((await shop.balances()).values()) == {0}


async def test_money_for_nobody_waits_in_the_inbox_with_its_reason(shop: Shop) -> None:
    stray = sighting(recipient="0x" + "99" * 20)
    await shop.settlement.apply(report("confirmed", 1, stray))
    found = await shop.world.handler.load(TRANSFER, transfer_stream_id(stray.transfer_id))
    assert found is not None
    assert (found.purpose, found.status) == ("unmatched", "confirmed")
    assert found.reason == "nobody has been given this address"


class Lagging:
    """A watch list that shows an address only after somebody has waited for it."""

    def __init__(self, shop: Shop, *, catches_up: bool) -> None:
        self._reads = shop.world.reads
        self._catches_up = catches_up
        self._caught_up = False

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        if not self._caught_up:
            return None
        return await self._reads.watch_list.owner_of(network, address)

    async def owners_of(
        self, network: str, addresses: Collection[str]
    ) -> Mapping[str, AddressOwner]:
        if not self._caught_up:
            return {}
        return await self._reads.watch_list.owners_of(network, addresses)

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        del timeout_seconds
        assert projection == WATCH_LIST_MODEL
        self._caught_up = self._catches_up and position > 0
        return self._caught_up

    async def position(self, projection: str) -> int:
        return await self._reads.progress.position(projection)


async def test_nobody_is_not_believed_of_a_watch_list_that_lags(shop: Shop) -> None:
    session = await shop.open()
    told = report("confirmed", 1, shop.seen(session))
    behind = Lagging(shop, catches_up=False)
    late = Settlement(shop.world.handler, behind, shop.world.networks, behind)
    with pytest.raises(Unavailable):
        await late.apply(told)
    soon = Lagging(shop, catches_up=True)
    assert await Settlement(shop.world.handler, soon, shop.world.networks, soon).apply(told)
    assert (await shop.session(session.session_id)).status == "completed"


async def test_nobody_foreseen_is_asked_again_when_the_report_is_applied(shop: Shop) -> None:
    session = await shop.open()
    told = report("confirmed", 1, shop.seen(session))
    soon = Lagging(shop, catches_up=True)
    settlement = Settlement(shop.world.handler, soon, shop.world.networks, soon)
    foreseen = (await settlement.look_ahead("local", [told]))[told.sighting.recipient]
    assert foreseen.owner is None
    assert await settlement.apply(told, foreseen)
    assert (await shop.session(session.session_id)).status == "completed"


async def test_reports_looked_ahead_for_read_no_stream_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [shop.seen(await shop.open(), **_named(f"{n + 16:02x}")) for n in range(3)]
    told = [report("observed", n + 1, each) for n, each in enumerate(seen)]
    told += [report("confirmed", n + 4, each) for n, each in enumerate(seen)]
    foreseen = await shop.settlement.look_ahead("local", told)
    single = AsyncMock(side_effect=shop.world.store.read_stream)
    monkeypatch.setattr(shop.world.store, "read_stream", single)
    for each in told:
        assert await shop.settlement.apply(each, foreseen[each.sighting.recipient])
    assert single.await_count == 0
    monkeypatch.undo()
    for paid in seen:
        found = await shop.world.handler.load(TRANSFER, transfer_stream_id(paid.transfer_id))
        assert found is not None
        assert found.status == "confirmed"
        assert found.subject_id is not None
        assert (await shop.session(found.subject_id)).status == "completed"


async def test_reorgs_looked_ahead_for_end_as_without_whoever_writes_in_between(
    shop: Shop,
) -> None:
    """What was foreseen is stale in every second report, and nothing is decided upon it."""
    dice = random.Random(7)
    for seed in range(60):
        session = await shop.open()
        lost = shop.seen(session, **_named(f"{seed + 16:02x}"))
        again = lost.model_copy(update={"block_number": 101, "block_hash": block_hash(101, "b")})
        reports = [
            report("observed", 1, lost),
            report("confirmed", 2, lost),
            report("retracted", 3, lost),
            report("observed", 4, again),
            report("confirmed", 5, again),
        ]
        dice.shuffle(reports)
        foreseen = (await shop.settlement.look_ahead("local", reports))[lost.recipient]
        for each in reports:
            await shop.settlement.apply(each, foreseen if dice.random() < 0.5 else None)
            assert not await shop.settlement.apply(each, foreseen)
        done = await shop.session(session.session_id)
        assert (done.status, done.confirmed) == ("completed", session.due)
        assert done.transfers[lost.transfer_id].block_hash == again.block_hash


async def test_another_token_to_a_deposit_address_is_kept_and_booked_as_suspense(
    shop: Shop,
) -> None:
    session = await shop.open()
    wrong = shop.seen(session).model_copy(
        update={"amount": usd("10.00", "eip155:31337/erc20:0x" + "ab" * 20)}
    )
    await shop.settlement.apply(report("confirmed", 1, wrong))
    assert (await shop.session(session.session_id)).status == "pending"
    assert (await shop.balances())["suspense"] == -10_000_000


@pytest.mark.parametrize(
    ("story", "booked"),
    [
        (("confirmed 1", "observed 5", "confirmed 6", "retracted 2"), 10_000_000),
        (("confirmed 1", "confirmed 4"), 10_000_000),
        (("confirmed 1", "observed 3", "retracted 5"), 0),
        (("confirmed 4", "confirmed 1", "retracted 3"), 10_000_000),
    ],
)
async def test_a_block_that_leaves_and_comes_back_is_booked_once(
    shop: Shop, story: tuple[str, ...], booked: int
) -> None:
    session = await shop.open()
    asset = "eip155:31337/erc20:0x" + "ab" * 20
    wrong = shop.seen(session).model_copy(update={"amount": usd("10.00", asset)})
    for line in story:
        kind, _, number = line.partition(" ")
        await shop.settlement.apply(report(kind, int(number), wrong))
    books = await shop.balances()
    assert (books["customer_receipts"], books["suspense"]) == (booked, -booked)


async def test_a_top_up_counts_when_it_is_safe_and_is_taken_back_by_a_reorg(shop: Shop) -> None:
    tenant = await shop.world.tenant("Shop", 1)
    merchant = await shop.world.merchants.find(tenant.merchant_id)
    assert merchant is not None
    top_up = sighting(usd("50.00"), recipient=merchant.refund_wallets["test"].address)
    stream = float_id(tenant.merchant_id, "test", top_up.amount.asset)
    await shop.settlement.apply(report("observed", 1, top_up))
    assert await shop.world.handler.load(REFUND_FLOAT, stream) is None
    await shop.settlement.apply(report("confirmed", 2, top_up))
    held = await shop.world.handler.load(REFUND_FLOAT, stream)
    assert held is not None
    assert held.available_units == 50_000_000
    await shop.settlement.apply(report("retracted", 3, top_up))
    lost = await shop.world.handler.load(REFUND_FLOAT, stream)
    assert lost is not None
    assert lost.available_units == 0


async def test_a_reorg_is_a_fact_of_its_own(shop: Shop) -> None:
    told = ReorgReport(
        message_id="reorg-1",
        report_number=9,
        at=AT,
        network="local",
        fork_number=99,
        from_hash=block_hash(101),
        to_hash=block_hash(101, "b"),
        depth=2,
        orphaned=(),
    )
    assert await shop.settlement.apply(told)
    assert not await shop.settlement.apply(told)
    stream = Stream("reorg", derived_id("reorg", "reorg-1"))
    (recorded,) = await shop.world.store.read_stream(stream)
    assert isinstance(recorded.event, ReorgDetected)


def test_a_report_reads_back_from_the_wire_and_junk_does_not() -> None:
    told = report("observed", 1, sighting())
    assert decode_report(subject_of(told), encode_report(told)) == told
    for subject, data in (
        (subject_of(told), b"{}"),
        (subject_of(told), b"\xff"),
        ("chain.local.transfer.confirmed", encode_report(told)),
        ("chain.polygon.transfer.observed", encode_report(told)),
    ):
        with pytest.raises(MessageMalformed):
            decode_report(subject, data)


@pytest.mark.parametrize("kind", ["observed", "confirmed"])
async def test_money_that_went_elsewhere_is_credited_to_nobody(kind: str) -> None:
    shop = Shop()
    first, second = await shop.open(), await shop.open()
    told = sighting(first.due, recipient=first.deposit_address)
    await shop.settlement.apply(report("observed", 1, told))
    await shop.settlement.apply(report("retracted", 2, told))
    truth = told.model_copy(update={"recipient": second.deposit_address})
    with pytest.raises(MoneyWentElsewhere, match="pays .* to " + second.deposit_address):
        await shop.settlement.apply(report(kind, 3, truth))
    for session in (first, second):
        after = await shop.world.handler.load(PAYMENT, session.session_id)
        assert after is not None
        assert after.seen.units == after.confirmed.units == 0
