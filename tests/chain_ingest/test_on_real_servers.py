"""A real chain, a real database and a real bus: what is paid arrives as reports, once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from adapters.nats_bus import NatsBus
from adapters.postgres import Postgres
from application.chain_messages import (
    STREAM,
    ReorgReport,
)
from chain_ingest import outbox as outbox_module
from chain_ingest.admission import Misconfigured
from chain_ingest.coverage import close
from domain.networks import ConfirmationPolicy
from gateway.embedded import Embedded
from gateway.embedded_anvil import Anvil
from gateway.local_chain import USDC, LocalChain
from tests.chain_ingest.rig import DEPOSIT, LOCAL, OTHER_DEPOSIT, WAIT_SECONDS_MAX, Rig
from tests.conftest import Migrated

pytestmark = pytest.mark.services


@pytest.fixture
async def chain(fresh_anvil: Anvil) -> AsyncIterator[LocalChain]:
    async with LocalChain(fresh_anvil.url) as chain:
        await chain.deploy_tokens()
        await chain.mint(USDC, (await chain.accounts())[1], 10**9)
        yield chain


@pytest.fixture
async def bus(nats_url: str, embedded: Embedded) -> AsyncIterator[NatsBus]:
    bus = NatsBus(nats_url, name="test-ingest")
    await bus.open()
    await bus.publish("chain.warmup.head", b"", message_id="warmup")
    yield bus
    await embedded.nats.start()
    session = await bus._connected()
    await session.jetstream.delete_stream(STREAM)
    await bus.close()


@pytest.fixture
async def rig(
    chain: LocalChain, fresh_anvil: Anvil, migrated: Migrated, bus: NatsBus
) -> AsyncIterator[Rig]:
    async with Postgres(migrated.app_dsn, name="test-ingest") as postgres:
        rig = Rig(chain, [fresh_anvil.url], postgres, bus)
        await rig.start()
        yield rig
        await rig.stop()


async def pay(rig: Rig, units: int, to: str = DEPOSIT, token: str = USDC) -> str:
    payer = (await rig.chain.accounts())[1]
    return await rig.chain.transfer(token, payer, to, units)


async def test_a_payment_is_observed_then_confirmed_at_policy_depth(rig: Rig) -> None:
    tx_hash = await pay(rig, 5_000_000)
    await rig.until("observed")
    sighting = rig.transfers[0].sighting
    assert sighting.transfer_id == f"31337:{tx_hash}:0"
    assert (sighting.recipient, sighting.amount.units) == (DEPOSIT, 5_000_000)
    assert sighting.sender == (await rig.chain.accounts())[1]
    assert not sighting.attested
    head = await rig.chain.head()
    await rig.chain.mine()
    await rig.until_passed(head + 1)
    await rig.pull()
    assert rig.said == ["observed"], "two confirmations are not three"
    await rig.chain.mine()
    await rig.until("observed", "confirmed")
    assert rig.transfers[1].confirmations == 3
    close(await rig.store.coverage("local"), 1, head + 2)


async def test_two_transfers_in_one_transaction_are_two_sightings(rig: Rig) -> None:
    payer = (await rig.chain.accounts())[1]
    batcher = await rig.chain.deploy("Batcher")
    await _send(rig, USDC, "approve(address,uint256)", ["address", "uint256"], batcher, 10**9)
    arguments = (USDC, [DEPOSIT, DEPOSIT, payer, OTHER_DEPOSIT], [1, 2, 3, 4])
    kinds = ["address", "address[]", "uint256[]"]
    await _send(rig, batcher, "send(address,address[],uint256[])", kinds, *arguments)
    await rig.until("observed", "observed", "observed")
    seen = [report.sighting for report in rig.transfers]
    assert [sighting.amount.units for sighting in seen] == [1, 2, 4]
    assert len({sighting.tx_hash for sighting in seen}) == 1
    assert len({sighting.transfer_id for sighting in seen}) == 3


async def test_the_same_symbol_from_another_contract_is_ignored(rig: Rig) -> None:
    imitation = await rig.chain.deploy("TestDollar", "USD Coin", "USDC")
    await rig.chain.mint(imitation, (await rig.chain.accounts())[1], 10**9)
    await pay(rig, 5_000_000, token=imitation)
    await pay(rig, 7)
    await rig.until("observed")
    assert rig.transfers[0].sighting.amount.units == 7


async def test_a_reorg_retracts_and_the_same_transaction_is_counted_once_again(rig: Rig) -> None:
    signed = await rig.chain.sign_transfer(USDC, 1, DEPOSIT, 9)
    await rig.chain.send(signed)
    await rig.chain.mine()
    await rig.until_passed(await rig.chain.head())
    await rig.chain.reorganise(2)
    await rig.until("observed", "reorg", "retracted")
    reorg = next(report for report in rig.reports if isinstance(report, ReorgReport))
    assert reorg.depth == 2
    assert reorg.orphaned == (rig.transfers[0].sighting.transfer_id,)
    await rig.chain.send(signed)
    await rig.chain.mine(2)
    await rig.until("observed", "reorg", "retracted", "observed", "confirmed")
    first, _, again, confirmed = rig.transfers
    assert first.sighting.transfer_id == again.sighting.transfer_id
    assert first.sighting.block_hash != again.sighting.block_hash == confirmed.sighting.block_hash


async def test_a_chain_rolled_back_and_grown_elsewhere_is_unwound(rig: Rig) -> None:
    snapshot = await rig.chain.rpc("evm_snapshot")
    await pay(rig, 9)
    await rig.chain.mine(4)
    await rig.until("observed", "confirmed")
    await rig.until_passed(await rig.chain.head())
    await rig.chain.rpc("evm_revert", snapshot)
    await rig.chain.rpc("evm_increaseTime", 60)
    await rig.chain.mine()
    await rig.until("observed", "confirmed", "reorg", "retracted")


async def test_a_restarted_process_goes_on_from_the_cursor(rig: Rig) -> None:
    await pay(rig, 1)
    await rig.until("observed")
    await rig.stop()
    await pay(rig, 2)
    await rig.chain.mine(4)
    await rig.start()
    await rig.until("observed", "observed", "confirmed", "confirmed")
    assert [each.sighting.amount.units for each in rig.transfers] == [1, 2, 1, 2]


async def test_a_process_killed_between_commit_and_publication_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(_: object) -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(outbox_module.OutboxPublisher, "publish_new", dead)
        await pay(rig, 1)
        await rig.until_passed(await rig.chain.head())
        await rig.stop()
    assert len(await rig.store.unpublished("local", 10)) == 1
    await rig.start()
    await rig.until("observed")


async def test_a_wiped_jetstream_store_loses_nothing(
    rig: Rig, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "SWEEP_AFTER_SECONDS", 1)
    monkeypatch.setattr(outbox_module, "SWEEP_SECONDS", 0.2)
    await pay(rig, 1)
    await rig.until("observed")
    await pay(rig, 2)
    await rig.until_passed(await rig.chain.head())
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while await rig.store.unpublished("local", 1):
            await asyncio.sleep(0.02)
    await embedded.nats.stop()  # published, but nobody has pulled it
    await embedded.nats.wipe_store()
    await pay(rig, 3)
    await embedded.nats.start()
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while len(rig.reports) < 4:  # the lost one comes late, after younger ones
            await rig.pull()
    assert rig.said == ["observed", "observed", "observed", "confirmed"]
    units = sorted(each.sighting.amount.units for each in rig.transfers)
    assert units == [1, 1, 2, 3]


async def test_outages_of_node_and_database_are_outlived_without_a_restart(
    rig: Rig, fresh_anvil: Anvil, embedded: Embedded
) -> None:
    await pay(rig, 1)
    await rig.until("observed")
    await embedded.postgres.stop("immediate")
    await pay(rig, 2)
    await asyncio.sleep(0.5)
    await embedded.postgres.start()
    await rig.until("observed", "observed")
    assert fresh_anvil.running


# ---------------------------------------------------------------- several providers


Bend = Callable[[dict[str, object], dict[str, object]], dict[str, object]]


@pytest.fixture
async def liars(fresh_anvil: Anvil) -> AsyncIterator[Callable[[Bend], Awaitable[str]]]:
    """Providers that pass questions on to the real node and bend its answers."""
    runners: list[web.AppRunner] = []
    async with aiohttp.ClientSession() as session:

        async def start(bend: Bend) -> str:
            async def handler(request: web.Request) -> web.Response:
                asked = await request.json()
                async with session.post(fresh_anvil.url, json=asked) as response:
                    answer = await response.json()
                return web.json_response(bend(asked, answer))

            app = web.Application()
            app.router.add_post("/", handler)
            runner = web.AppRunner(app)
            await runner.setup()
            runners.append(runner)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/"

        yield start
        for runner in runners:
            await runner.cleanup()


def honest(_: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    return answer


def forging(asked: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    """A hundred times the amount in the receipts, nothing in the logs."""
    if asked["method"] == "eth_getLogs":
        return {**answer, "result": []}
    if asked["method"] == "eth_getBlockReceipts" and isinstance(answer["result"], list):
        for receipt in answer["result"]:
            for entry in receipt["logs"]:
                entry["data"] = "0x" + f"{int(entry['data'], 16) * 100:064x}"
    return answer


def renaming(asked: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    """Blocks under a hash that is not theirs."""
    if asked["method"] == "eth_getBlockByNumber" and isinstance(answer["result"], dict):
        answer["result"]["hash"] = "0x" + "66" * 32
    return answer


async def quorum_rig(rig: Rig, urls: list[str]) -> Rig:
    """The same rig, started anew with other providers and no leniency."""
    await rig.stop()
    rig.urls = urls
    rig.network = LOCAL.model_copy(update={"policy": ConfirmationPolicy(version=2, blocks=3)})
    await rig.start()
    return rig


@pytest.mark.parametrize("bend", [forging, renaming])
async def test_one_liar_of_three_neither_forges_nor_hides_a_payment(
    rig: Rig, liars: Callable[[Bend], Awaitable[str]], bend: Bend
) -> None:
    urls = [await liars(bend), await liars(honest), rig.urls[0]]
    rig = await quorum_rig(rig, urls)
    await pay(rig, 7)
    await rig.chain.mine(2)
    await rig.until("observed", "confirmed")
    assert [each.sighting.amount.units for each in rig.transfers] == [7, 7]
    assert rig.transfers[-1].sighting.attested


async def test_a_provider_of_the_wrong_chain_refuses_to_start(
    rig: Rig, liars: Callable[[Bend], Awaitable[str]]
) -> None:
    def elsewhere(asked: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
        return {**answer, "result": "0x1"} if asked["method"] == "eth_chainId" else answer

    url = await liars(elsewhere)
    await rig.stop()
    rig.urls = [rig.urls[0], url]
    await rig.start()
    with pytest.raises(Misconfigured, match=r"p1: chain id: it says 1, expected 31337"):
        await rig._running  # type: ignore[misc]  # it has just been started
    rig._running = None


async def _send(rig: Rig, to: str, signature: str, kinds: list[str], *arguments: object) -> None:
    data = "0x" + (keccak(text=signature)[:4] + encode(kinds, arguments)).hex()
    await rig.chain._send(to, data, (await rig.chain.accounts())[1])
