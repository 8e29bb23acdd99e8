"""A real chain that goes back on what it called final, and what a person's word does then."""

import asyncio

import pytest

from adapters.chain_heads import PostgresChainHeads
from adapters.clock import SystemClock
from application.halts import Halts
from application.handling import Handler
from chain_ingest import finality
from domain.halts import NetworkHalts
from domain.networks import ConfirmationPolicy
from tests.chain_ingest.rig import LOCAL, WAIT_SECONDS_MAX, Rig
from tests.chain_ingest.test_on_real_servers import (  # the fixtures among them
    bus,
    chain,
    pay,
    rig,
)

__all__ = ["bus", "chain", "rig"]
pytestmark = pytest.mark.services
FINAL_BLOCKS = 64  # how far behind its head the test chain calls a block final
STRICT = LOCAL.model_copy(update={"policy": ConfirmationPolicy(version=1, blocks=3)})


async def with_two_providers(rig: Rig) -> None:
    """Two clients of the same chain: what one says the other one vouches for."""
    await rig.stop()
    rig.network, rig.urls = STRICT, rig.urls * 2
    await rig.start()


async def halted(rig: Rig) -> NetworkHalts:
    return await Halts(Handler(rig._log, SystemClock())).of("local")


async def until_halted(rig: Rig) -> NetworkHalts:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while (await halted(rig)).halt is None:
            await asyncio.sleep(0.05)
    return await halted(rig)


async def until_final(rig: Rig, number: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while (
            block := (await rig.store.finality("local")).block
        ) is None or block.number < number:
            await asyncio.sleep(0.05)


async def test_a_chain_that_goes_back_below_its_final_block_halts_until_a_person_decides(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finality, "FINAL_SECONDS", 0.2)
    await with_two_providers(rig)
    await rig.chain.mine(5)
    before = await rig.chain.rpc("evm_snapshot")
    await pay(rig, 5)
    await rig.until("observed")
    await rig.chain.mine(FINAL_BLOCKS + 6)
    await rig.until("observed", "confirmed")
    final_number = await rig.chain.head() - FINAL_BLOCKS
    await until_final(rig, final_number)
    passed = await rig.chain.head()
    await rig.until_passed(passed)

    await rig.chain.rpc("evm_revert", before)
    await rig.chain.rpc("anvil_setCoinbase", "0x" + "77" * 20)
    await rig.chain.mine(FINAL_BLOCKS + 20)
    halts = await until_halted(rig)
    assert halts.halt is not None
    assert (halts.halt.cause, halts.halt.block_number) == ("finality_violated", final_number)
    heads = PostgresChainHeads(rig.postgres)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while (told := await heads.standing("local")) is None or told.trouble != "halted":
            await asyncio.sleep(0.05)

    await rig.stop()
    await rig.start()
    await rig.chain.mine(3)
    await asyncio.sleep(1)
    assert await rig.passed() == passed, "a restart does not let it go on"
    assert rig.said == ["observed", "confirmed"]

    resumed = Halts(Handler(rig._log, SystemClock()))
    await resumed.resume(STRICT, "the test chain was rolled back", "operator:test")
    await rig.until("observed", "confirmed", "reorg", "retracted")
    await rig.until_passed(await rig.chain.head())
    assert (await halted(rig)).halt is None
