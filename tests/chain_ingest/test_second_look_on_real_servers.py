"""A19 on a real chain, database and bus: two providers drop a log, and the balance finds it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.evm import EvmClient
from adapters.reconciling import PostgresReconcileBook
from application.handling import Handler
from application.reconciling import WatchedAddress
from chain_ingest.recheck import Recheck
from chain_ingest.reconcile import Reconciler, Reconciling
from chain_ingest.service import second_look
from chain_ingest.watch import Watch
from gateway.local_chain import USDC
from tests.chain_ingest.rig import DEPOSIT, Rig
from tests.chain_ingest.second_look import ToCheck
from tests.chain_ingest.test_on_real_servers import (  # the fixtures among them
    Bend,
    bus,
    chain,
    liars,
    pay,
    quorum_rig,
    rig,
)

__all__ = ["bus", "chain", "liars", "rig"]
pytestmark = pytest.mark.services
DEEP = 8


def dropping(asked: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    return {**answer, "result": []} if asked["method"] == "eth_getLogs" else answer


@asynccontextmanager
async def looking(rig: Rig) -> AsyncIterator[tuple[Recheck, Reconciler, PostgresReconcileBook]]:
    """As another process would, beside the ingester that runs."""
    clients = [
        EvmClient(url, rig.network, provider_name=f"again-{number}")
        for number, url in enumerate(rig.urls)
    ]
    for client in clients:
        await client.open()
    book = PostgresReconcileBook(rig.postgres)
    to_check = ToCheck([WatchedAddress(DEPOSIT, "payment_session")])
    async with PostgresEventStore(rig.postgres, ids=SystemIds()) as log:
        yield (
            *second_look(
                rig.network,
                clients,
                rig.store,
                rig.bus,
                Reconciling(book, to_check, Handler(log, SystemClock())),
                watch=Watch(rig.watched, rig.watched, rig.watched),
                clock=SystemClock(),
            ),
            book,
        )
    for client in clients:
        await client.close()


async def hidden(rig: Rig, liars: Callable[[Bend], Awaitable[str]], units: int) -> tuple[Rig, str]:
    """A payment that the ingester has passed over, with two providers who told of no log."""
    rig = await quorum_rig(rig, [await liars(dropping), await liars(dropping)])
    tx_hash = await pay(rig, units)
    await rig.chain.mine(DEEP)
    await rig.until_passed(await rig.chain.head())
    assert rig.said == []
    return rig, tx_hash


async def test_a_log_that_both_providers_drop_is_found_by_its_balance_and_credited(
    rig: Rig, liars: Callable[[Bend], Awaitable[str]]
) -> None:
    rig, tx_hash = await hidden(rig, liars, 5_000_000)
    async with looking(rig) as (_, reconciler, book):
        run = await reconciler.once()
        assert run is not None
        assert (run.differing, run.found, run.unexplained) == (1, 1, 0)
        assert await book.newest("local") == run
    await rig.chain.mine()
    await rig.until("observed", "confirmed")
    sighting = rig.transfers[0].sighting
    assert (sighting.tx_hash, sighting.amount.units) == (tx_hash, 5_000_000)
    assert sighting.attested
    await pay(rig, 7)
    await rig.chain.mine(DEEP)
    await rig.until_passed(await rig.chain.head())
    async with looking(rig) as (_, reconciler, _):
        again = await reconciler.once()
    assert again is not None
    assert (again.differing, again.found) == (1, 1), "the next one is a gap of its own"


async def test_a_support_desk_reads_a_missed_payment_again_while_blocks_are_mined(
    rig: Rig, liars: Callable[[Bend], Awaitable[str]]
) -> None:
    rig, tx_hash = await hidden(rig, liars, 5_000_000)
    mining = asyncio.create_task(_mine_on(rig))
    try:
        async with looking(rig) as (recheck, _, _):
            found = [await recheck.transaction(tx_hash, apply=True) for _ in range(3)]
    finally:
        mining.cancel()
        await asyncio.gather(mining, return_exceptions=True)
    verdicts = [finding.verdict for again in found for finding in again.findings]
    assert verdicts == ["fed_in", "settling", "settling"]
    await rig.chain.mine()
    await rig.until("observed", "confirmed")


async def _mine_on(rig: Rig) -> None:
    while True:
        await rig.chain.mine()
        await asyncio.sleep(0.01)


async def test_what_happened_to_other_transactions_is_told_too(rig: Rig) -> None:
    theirs = await pay(rig, 7, to="0x" + "57" * 20)
    imitation = await rig.chain.deploy("TestDollar", "USD Coin", "USDC")
    await rig.chain.mint(imitation, (await rig.chain.accounts())[1], 10**9)
    fake = await pay(rig, 5, token=imitation)
    mine = await pay(rig, 9)
    await rig.until("observed")
    await rig.until_passed(await rig.chain.head())
    async with looking(rig) as (recheck, _, _):

        async def verdicts(tx_hash: str) -> list[str]:
            return [each.verdict for each in (await recheck.transaction(tx_hash)).findings]

        assert await verdicts(theirs) == ["not_watched"]
        assert await verdicts(fake) == ["token_not_listed"]
        assert await verdicts(mine) == ["settling"]
        assert await verdicts("0x" + "99" * 32) == ["not_on_chain"]
        whole = await recheck.blocks(1, await rig.chain.head(), thorough=True)
    assert [each.verdict for each in whole.findings] == ["settling"]


async def test_balances_are_read_at_the_block_asked_for(rig: Rig) -> None:
    await pay(rig, 3)
    block = (await rig.chain.rpc("eth_getBlockByNumber", "latest", False))["hash"]
    await pay(rig, 4)
    payer = (await rig.chain.accounts())[1]
    client = EvmClient(rig.urls[0], rig.network, provider_name="p")
    await client.open()
    then = await client.balances(block, [(USDC, DEPOSIT), (USDC, payer)] * 5)
    latest = (await rig.chain.rpc("eth_getBlockByNumber", "latest", False))["hash"]
    now = await client.balances(latest, [(USDC, DEPOSIT)])
    await client.close()
    assert list(then) == [3, 10**9 - 3] * 5
    assert list(now) == [7]
