"""The same report twice in the stream: the consumer's inbox counts it once."""

import asyncio

import pytest

from adapters import nats_bus
from application.chain_messages import STREAM
from chain_ingest import outbox as outbox_module
from tests.chain_ingest.rig import WAIT_SECONDS_MAX, Rig
from tests.chain_ingest.test_on_real_servers import bus, chain, pay, rig

__all__ = ["bus", "chain", "rig"]
pytestmark = pytest.mark.services
SHORT_WINDOW_SECONDS = 1


async def test_a_stream_that_forgets_ids_sooner_doubles_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_bus, "DUPLICATE_WINDOW_SECONDS", SHORT_WINDOW_SECONDS)
    monkeypatch.setattr(outbox_module, "SWEEP_AFTER_SECONDS", SHORT_WINDOW_SECONDS + 1)
    monkeypatch.setattr(outbox_module, "SWEEP_SECONDS", 0.2)
    session = await rig.bus._connected()
    session.stream_ready = False  # so that the stream is given our configuration anew
    for units in (1, 2):
        await pay(rig, units)
    await rig.chain.mine(3)

    async with asyncio.timeout(WAIT_SECONDS_MAX):
        # One of the warm-up, and each of the four twice, for nobody has recorded them.
        while (stream := await session.jetstream.stream_info(STREAM)).state.messages < 1 + 2 * 4:
            await asyncio.sleep(0.1)
    assert stream.config.duplicate_window == SHORT_WINDOW_SECONDS
    await rig.until("observed", "observed", "confirmed", "confirmed")
    for _ in range(5):
        await rig.pull()
    assert rig.said == ["observed", "observed", "confirmed", "confirmed"]
    assert sorted(each.sighting.amount.units for each in rig.transfers) == [1, 1, 2, 2]
