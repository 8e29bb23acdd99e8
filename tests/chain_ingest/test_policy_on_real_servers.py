"""Confirmation policies on a real chain, database and bus: tiers, tags, restarts and reorgs."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule
from gateway.local_chain import USDC
from tests.chain_ingest.rig import DEPOSIT, LOCAL, Rig
from tests.chain_ingest.test_on_real_servers import (  # the fixtures among them
    Bend,
    bus,
    chain,
    honest,
    liars,
    pay,
    rig,
)

__all__ = ["bus", "chain", "liars", "rig"]
pytestmark = pytest.mark.services
USD = 10**6
SAFE_BLOCKS = 32  # how far behind its head the test chain calls a block safe
TIERED = ConfirmationPolicy(
    version=1,
    blocks=2,
    tiers=(AmountTier(from_usd=100, rule=ConfirmationRule(blocks=4)),),
    allow_unattested=True,
)


async def under(rig: Rig, policy: ConfirmationPolicy, urls: list[str] | None = None) -> None:
    """Another process, with this policy."""
    await rig.stop()
    rig.network = LOCAL.model_copy(update={"policy": policy})
    rig.urls = urls or rig.urls
    await rig.start()


def told(rig: Rig) -> list[tuple[str, int, int, str]]:
    return [
        (each.kind, each.sighting.amount.units, each.policy_version, each.rule)
        for each in sorted(rig.transfers, key=lambda each: each.report_number)
    ]


async def test_a_split_payment_across_a_restart_gets_the_rule_of_its_sum(rig: Rig) -> None:
    await under(rig, TIERED)
    await pay(rig, 60 * USD)
    await rig.until("observed")
    await rig.stop()
    await rig.start()
    await pay(rig, 40 * USD - 1)
    await pay(rig, 1)
    await rig.until("observed", "observed", "confirmed", "observed", "confirmed")
    assert {each[3] for each in told(rig)[:-2]} == {"2 confirmations"}
    assert (told(rig)[3][:2], told(rig)[3][3]) == (("observed", 1), "4 confirmations")
    assert len({each[2] for each in told(rig)}) == 1, "the same policy is the same version"
    await rig.chain.mine(2)
    await rig.until_passed(await rig.chain.head())
    await rig.pull()
    assert len(rig.transfers) == 5, "three confirmations are not four"
    await rig.chain.mine()
    await rig.until(*("observed", "observed", "confirmed", "observed"), *["confirmed"] * 2)
    assert rig.transfers[-1].confirmations == 4


async def test_a_policy_changed_between_two_sightings_holds_for_the_second(rig: Rig) -> None:
    await pay(rig, 1)
    await rig.until("observed")
    changed = LOCAL.policy.model_copy(update={"blocks": 5})
    await under(rig, changed)
    await pay(rig, 2)
    await rig.chain.mine(4)
    await rig.until("observed", "observed", "confirmed", "confirmed")
    assert told(rig) == [
        ("observed", 1, 1, "3 confirmations"),
        ("observed", 2, 2, "5 confirmations"),
        ("confirmed", 1, 1, "3 confirmations"),
        ("confirmed", 2, 2, "5 confirmations"),
    ]
    await under(rig, changed)
    await pay(rig, 3)
    await rig.until(*told_kinds(rig), "observed")
    assert rig.transfers[-1].policy_version == 2, "the same terms are the same version"


def told_kinds(rig: Rig) -> list[str]:
    return [each[0] for each in told(rig)]


async def test_a_transfer_mined_again_keeps_its_version_and_waits_by_its_rule(rig: Rig) -> None:
    signed = await rig.chain.sign_transfer(USDC, 1, DEPOSIT, 9)
    await rig.chain.send(signed)
    await rig.chain.mine()
    await rig.until("observed")
    await under(rig, LOCAL.policy.model_copy(update={"blocks": 1}))
    await rig.until_passed(await rig.chain.head())
    await rig.chain.reorganise(2)
    await rig.until("observed", "reorg", "retracted")
    await rig.chain.send(signed)
    await rig.chain.mine()
    await rig.until("observed", "reorg", "retracted", "observed")
    await rig.chain.mine()
    await rig.until("observed", "reorg", "retracted", "observed", "confirmed")
    assert [each[2:] for each in told(rig)] == [(1, "3 confirmations")] * 4


async def test_a_tag_confirms_once_two_providers_have_come_so_far_and_one_liar_cannot(
    rig: Rig, liars: Callable[[Bend], Awaitable[str]]
) -> None:
    boasting = await liars(_calls_its_head_safe())
    silent = await liars(_serves_no_tag)
    policy = ConfirmationPolicy(version=1, blocks=1, tag="safe")
    await under(rig, policy, [boasting, silent, rig.urls[0]])
    await pay(rig, 7)
    paid_in = await rig.chain.head()
    await rig.until("observed")
    await rig.chain.mine(SAFE_BLOCKS - 1)
    await rig.until_passed(paid_in + SAFE_BLOCKS - 1)
    await asyncio.sleep(2.5 * LOCAL.block_seconds)  # twice at least it is asked for the tag
    await rig.pull()
    assert rig.said == ["observed"]
    await rig.chain.mine()
    await rig.until("observed", "confirmed")
    assert (told(rig)[-1][:2], told(rig)[-1][3]) == (("confirmed", 7), "a safe block")
    # The providers may tell of their tag before the ingester has passed the block that moved it.
    assert rig.transfers[-1].confirmations >= SAFE_BLOCKS
    assert rig.transfers[-1].sighting.attested


def _calls_its_head_safe() -> Bend:
    newest: dict[str, object] = {}

    def bend(asked: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
        if _block(asked) == "latest":
            newest.update(answer)
        lie = _block(asked) == "safe" and "result" in newest
        return {**answer, "result": newest["result"]} if lie else answer

    return bend


def _serves_no_tag(asked: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    if _block(asked) != "safe":
        return honest(asked, answer)
    error = {"code": -32602, "message": "invalid argument 0: unknown tag"}
    return {"jsonrpc": "2.0", "id": answer["id"], "error": error}


def _block(asked: dict[str, object]) -> object:
    parameters = asked["params"]
    assert isinstance(parameters, list)
    return parameters[0] if asked["method"] == "eth_getBlockByNumber" else None
