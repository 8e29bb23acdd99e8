"""A small fault campaign: the gateway loses and believes nothing, the usual ways do."""

import asyncio
import contextlib

import pytest

from chain_ingest import providers
from chaos import campaign, oracle
from chaos.faults import Mood
from chaos.ingesting import Ingesting, ingesting
from chaos.stage import PAID_ADDRESSES, Stage, stage

pytestmark = pytest.mark.services
STEPS = 60
FORGED_BLOCKS = 6
SECONDS_MAX = 120
LYING_SECONDS = 8


async def test_nothing_is_missed_invented_or_believed_under_every_fault() -> None:
    result = await campaign.run(1, STEPS)
    ours = result.ours
    assert ours.clean, ours.wrong
    assert ours.payments > 50
    assert result.forks >= 2
    assert result.followed >= 1
    usual = next(verdict for verdict in result.verdicts if verdict.name == "range-0")
    assert usual.missed + usual.phantom > 0, "the faults do not bite"
    assert usual.forged > 0, "nobody lied"


@pytest.mark.parametrize("proof", [True, False])
async def test_an_ingester_that_asks_for_no_proof_is_caught(
    proof: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is down and another forges, the third answers: proof alone keeps them apart."""
    if not proof:
        monkeypatch.setattr(providers, "why_receipts_lie", lambda *_: None)
    async with (
        stage(1, addresses=PAID_ADDRESSES, honest=True) as found,
        ingesting(found) as ours,
    ):
        await ours.start()
        verdict = await _forged_at(found, ours)
    assert (verdict.forged == 0) is proof


async def _forged_at(found: Stage, ours: Ingesting) -> oracle.Verdict:
    await _passed(found, ours)
    for provider in found.providers:
        provider.mood_is(Mood(1, "forge", frozenset({0})))
    await found.driver.grow([found.driver.sure(2) for _ in range(FORGED_BLOCKS)])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(
            LYING_SECONDS
        ):  # an honest third alone is no quorum: it may stand
            await _passed(found, ours)
    for provider in found.providers:
        provider.honest()
    await found.settle(ours.check)
    watched = frozenset(found.watched)
    truth = await oracle.canonical(found.chain, watched)
    real = oracle.ever(found.driver.mirror, watched)
    verdict, _ = oracle.judge(await found.consumer.reports(), truth, real)
    return verdict


async def _passed(found: Stage, ours: Ingesting) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while await ours.height() < found.driver.mirror.head:
            ours.check()
            await asyncio.sleep(0.05)
