"""Whether a provider serves what was configured, and the one line that says what it does not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.chain_encoding import transfer_log
from application.eip712 import separator_of
from application.ports import Unavailable
from chain_ingest import admission
from chain_ingest.admission import Finding, Misconfigured, admit, identity_of, services_of
from domain.networks import ConfirmationPolicy, Eip712Domain, Finality, Token
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, START, USDC

SIGNED = Token(
    symbol="USDC",
    address=USDC,
    decimals=6,
    eip712=Eip712Domain(name="USD Coin", version="2"),
)
NETWORK = LOCAL.changed(tokens=(SIGNED, *LOCAL.tokens[1:]))


def provider(blocks: int = 5) -> MemorySource:
    chain = MemoryChain(NETWORK, START)
    chain.mine(blocks)
    return MemorySource(chain, "p1")


def held(findings: tuple[Finding, ...]) -> dict[str, bool]:
    return {finding.about: finding.holds for finding in findings}


async def test_a_provider_that_serves_what_was_configured_is_admitted() -> None:
    source = provider()
    await admit(source, NETWORK)
    assert set(held(await identity_of(source, NETWORK)).values()) == {True}
    assert source.calls["domain_separator"] == 2, "only of the token that claims one, twice here"


async def test_nothing_is_asked_of_a_token_that_claims_nothing() -> None:
    source = provider()
    await admit(source, LOCAL)
    assert source.calls["domain_separator"] == 0
    assert source.calls["token_decimals"] == len(LOCAL.tokens)


async def test_a16_wrong_decimals_refuse_to_start() -> None:
    source = provider()
    source.decimals = 18
    with pytest.raises(Misconfigured) as refused:
        await admit(source, NETWORK)
    assert str(refused.value) == (
        f"local: provider p1: token USDC at {USDC}, decimals(): it says 18, expected 6; "
        "compare the address and the decimals with the issuer's list"
    )


async def test_a_token_that_is_not_there_refuses_to_start() -> None:
    source = provider()
    source.decimals = None
    with pytest.raises(Misconfigured, match="it says nothing: no such token is there, expected 6"):
        await admit(source, NETWORK)
    assert source.calls["domain_separator"] == 0


async def test_another_chain_refuses_to_start_before_any_token_is_asked_for() -> None:
    source = provider()
    source.chain = MemoryChain(NETWORK.changed(chain_id=1), START)
    with pytest.raises(Misconfigured) as refused:
        await admit(source, NETWORK)
    assert str(refused.value) == (
        "local: provider p1: chain id: it says 1, expected 31337; give this provider's URL of "
        "Local test chain in RPC_URLS_LOCAL"
    )
    assert source.calls["token_decimals"] == 0


@pytest.mark.parametrize("said", [b"\x66" * 32, None], ids=["another", "none"])
async def test_another_separator_refuses_to_start_and_shows_both(said: bytes | None) -> None:
    source = provider()
    source.separators[USDC] = said
    with pytest.raises(Misconfigured) as refused:
        await admit(source, NETWORK)
    ours = separator_of(NETWORK, SIGNED)
    assert ours is not None
    shown = "nothing" if said is None else "0x" + "66" * 32
    assert str(refused.value) == (
        f"local: provider p1: token USDC at {USDC}, DOMAIN_SEPARATOR(): it says {shown}, expected "
        f'0x{ours.hex()} of "USD Coin" version "2"; correct the token\'s eip712 name and version, '
        "or claim none"
    )


async def test_the_classic_the_test_networks_shorter_name_is_caught() -> None:
    source = provider()  # answers as "USD Coin" does
    shorter = SIGNED.changed(eip712=Eip712Domain(name="USDC", version="2"))
    with pytest.raises(Misconfigured, match="DOMAIN_SEPARATOR"):
        await admit(source, NETWORK.changed(tokens=(shorter,)))


async def test_a_bridged_token_is_held_to_its_description_too() -> None:
    source = provider()
    bridged = Token(symbol="USDC.e", address="0x" + "be" * 20, decimals=18, accepted=False)
    with pytest.raises(Misconfigured, match=r"USDC\.e"):
        await admit(source, NETWORK.changed(tokens=(SIGNED, bridged)))


async def test_silence_is_no_refusal() -> None:
    source = provider()
    source.down = True
    with pytest.raises(Unavailable):
        await admit(source, NETWORK)


# ---------------------------------------------------------------- how well it serves


def forge_receipts(source: MemorySource) -> None:
    source.forges = lambda receipts: [
        replace(each, logs=(transfer_log(USDC, PAYER, DEPOSIT, 10**12),)) for each in receipts
    ]


def bend_headers(source: MemorySource) -> None:
    source.bends = lambda header: replace(header, gas_used=header.gas_used + 1)


def lose_logs(source: MemorySource) -> None:
    source.loses_logs = True


def not_on_the_plan(*methods: str) -> Callable[[MemorySource], None]:
    return lambda source: source.unserved.update(methods)


SERVICES = (
    "header hash",
    "eth_getBlockReceipts",
    "eth_getLogs of a block",
    "eth_getLogs of a range",
    "eth_call at a block's hash",
    "tag safe",
    "tag finalized",
)
LOGS = {"eth_getLogs of a block", "eth_getLogs of a range"}


def serve_no(*tags: Finality) -> Callable[[MemorySource], None]:
    return lambda source: source.tags.update(dict.fromkeys(tags))


@pytest.mark.parametrize(
    ("trouble", "lost"),
    [
        (serve_no(), set()),
        (bend_headers, {"header hash"}),
        (forge_receipts, {"eth_getBlockReceipts", *LOGS}),
        (lose_logs, LOGS),
        (not_on_the_plan("logs_of_block"), {"eth_getLogs of a block"}),
        (not_on_the_plan("logs_of_range"), {"eth_getLogs of a range"}),
        (not_on_the_plan("logs_of_block", "logs_of_range"), LOGS),
        (not_on_the_plan("receipts_of_block"), {"eth_getBlockReceipts"}),
        (not_on_the_plan("balances"), {"eth_call at a block's hash"}),
        (serve_no("safe"), {"tag safe"}),
        (serve_no("safe", "finalized"), {"tag safe", "tag finalized"}),
    ],
)
async def test_each_service_is_tried_and_named(
    trouble: Callable[[MemorySource], None], lost: set[str]
) -> None:
    source = provider()
    source.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    source.chain.mine()
    trouble(source)
    found = held(await services_of(source, NETWORK))
    assert found == {about: about not in lost for about in SERVICES}


async def test_blocks_are_looked_back_for_one_that_is_not_empty() -> None:
    source = provider()
    source.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    source.chain.mine(admission.LOOK_BACK_BLOCKS)
    said = {f.about: f.said for f in await services_of(source, NETWORK)}
    number = source.chain.head - admission.LOOK_BACK_BLOCKS + 1
    assert said["eth_getBlockReceipts"] == f"1 of block {number}, proved"
    assert said["eth_getLogs of a range"] == f"1 transfers in block {number}"
    source.chain.mine(2)
    said = {f.about: f.said for f in await services_of(source, NETWORK)}
    assert said["eth_getBlockReceipts"].startswith(f"served; block {source.chain.head} is empty")


async def test_what_a_log_answer_leaves_out_is_named() -> None:
    source = provider()
    source.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    source.chain.mine()
    lose_logs(source)
    told = {f.about: f for f in await services_of(source, NETWORK)}["eth_getLogs of a block"]
    assert "not those of 0x" in told.said
    assert told.expected == "as in its receipts of the block: 1 transfers of our tokens"
    assert told.needed


async def test_without_balances_by_hash_it_only_serves_less_well() -> None:
    source = provider()
    not_on_the_plan("balances")(source)
    told = {f.about: f for f in await services_of(source, NETWORK)}["eth_call at a block's hash"]
    assert not told.needed
    assert "not available on your plan" in told.said


async def test_a_tag_is_needed_where_the_policy_asks_for_it() -> None:
    source = provider()
    serve_no("safe", "finalized")(source)
    final = NETWORK.changed(policy=ConfirmationPolicy(version=1, blocks=1, tag="finalized"))
    for network, needed in ((NETWORK, set()), (final, {"tag finalized"})):
        findings = await services_of(source, network)
        assert {f.about for f in findings if f.needed and not f.holds} == needed
