"""Whether a provider serves the chain and the tokens that we were told of.

Shapes  A Finding is one thing that was expected and what the provider said of it. `identity_of`
        gathers those that must hold before a provider's first answer is used; `services_of` those
        that decide how well it will serve, for `gateway networks check`.
Errors  Misconfigured    what it serves is not what is configured: refuse to start, one line
        Unavailable      it did not answer; nothing is known
Source  requirement B1. Wrong decimals are the classic (attack A16): six here, eighteen there.
        A wrong EIP-712 name is the other one: "USD Coin" on main networks, "USDC" on most others.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar, get_args

from application.chain_source import ChainSource, Header, LogEntry
from application.eip712 import separator_of
from application.ports import Unavailable
from chain_ingest.proof import logs_not_held, why_header_lies, why_receipts_lie
from chain_ingest.settlement import NotSettled, settlement_of, why_settled_receipts_lie
from chain_ingest.transfers import Movement, read_log
from domain.networks import Finality, Network, Token

T = TypeVar("T")
LOOK_BACK_BLOCKS = 8  # for one with transactions: an empty block proves little
RANGE_BLOCKS = 10  # of logs, in one question: every plan should take so many
NOBODY = "0x" + "00" * 20


class Misconfigured(Exception):  # noqa: N818 - a mistake of the operator, who is told which
    """A provider serves another chain, or a token is not what the configuration says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One question put to a provider."""

    about: str  # "chain", "USDC decimals"
    expected: str
    said: str
    holds: bool
    remedy: str  # what to do where it does not hold
    needed: bool = True  # else it only serves less well


async def identity_of(source: ChainSource, network: Network) -> tuple[Finding, ...]:
    """The chain and every token, until the chain is found to be another one."""
    chain = await _chain(source, network)
    if not chain.holds:
        return (chain,)
    findings = [chain]
    for token in network.tokens:
        findings += await _token(source, network, token)
    return tuple(findings)


async def admit(source: ChainSource, network: Network) -> None:
    """Raises Misconfigured with the first thing that does not hold."""
    for finding in await identity_of(source, network):
        if not finding.holds:
            raise Misconfigured(
                f"{network.name}: provider {source.name}: {finding.about}: it says "
                f"{finding.said}, expected {finding.expected}; {finding.remedy}"
            )


async def _chain(source: ChainSource, network: Network) -> Finding:
    chain_id = await source.chain_id()
    return Finding(
        "chain id",
        str(network.chain_id),
        str(chain_id),
        chain_id == network.chain_id,
        f"give this provider's URL of {network.title} in RPC_URLS_{network.name.upper()}",
    )


async def _token(source: ChainSource, network: Network, token: Token) -> list[Finding]:
    decimals = await source.token_decimals(token.address)
    findings = [
        Finding(
            f"token {token.symbol} at {token.address}, decimals()",
            str(token.decimals),
            "nothing: no such token is there" if decimals is None else str(decimals),
            decimals == token.decimals,
            "compare the address and the decimals with the issuer's list",
        )
    ]
    expected = separator_of(network, token)
    if expected is None or decimals is None:
        return findings
    separator = await source.domain_separator(token.address)
    claimed = token.eip712
    assert claimed is not None, "a separator was computed from it"
    return [
        *findings,
        Finding(
            f"token {token.symbol} at {token.address}, DOMAIN_SEPARATOR()",
            f'0x{expected.hex()} of "{claimed.name}" version "{claimed.version}"',
            "nothing" if separator is None else f"0x{separator.hex()}",
            separator == expected,
            "correct the token's eip712 name and version, or claim none",
        ),
    ]


# ---------------------------------------------------------------- how well it serves


async def services_of(source: ChainSource, network: Network) -> tuple[Finding, ...]:
    """What following and confirming will ask of it, tried once on its newest blocks.

    Raises Unavailable when it has no newest block to tell of.
    """
    head = await source.header("latest")
    if head is None:
        raise Unavailable("rpc", f"{source.name}: has no newest block")
    asked_for = {rule.tag for rule in network.policy.rules}
    tags = [await _tag(source, tag, needed=tag in asked_for) for tag in get_args(Finality)]
    block = await _with_transactions(source, head)
    return (
        _header(head),
        await _receipts(source, network, block),
        *await _logs(source, network, block),
        await _balances(source, network, block),
        *tags,
    )


async def _with_transactions(source: ChainSource, head: Header) -> Header:
    """The head, or the newest one before it that is not empty."""
    block = head
    for _ in range(LOOK_BACK_BLOCKS):
        if block.transactions or block.settled_height is not None or block.number == 0:
            break
        before, _said = await _answer(source.header(block.number - 1))
        if before is None:
            return head
        block = before
    return block if block.transactions else head


def _header(head: Header) -> Finding:
    lie = why_header_lies(head)
    return Finding(
        "header hash",
        "keccak of its fields",
        f"as computed, block {head.number}" if lie is None else lie,
        lie is None,
        "the chain has header fields that this version does not know: no block can be attested",
    )


async def _receipts(source: ChainSource, network: Network, head: Header) -> Finding:
    about, expected = "eth_getBlockReceipts", "receipts that hash to the header's root"
    remedy = (
        f"choose a provider that serves it on {network.title}, or a plan that includes it: "
        "payments are proved with it"
    )
    answer, outage = await _answer(_proof(source, head))
    if answer is None:
        return Finding(about, expected, outage, holds=False, remedy=remedy)
    block, lie = answer
    proved = f"{len(block.transactions)} of block {block.number}, proved"
    if not block.transactions:
        proved = f"served; block {block.number} is empty, so little is proved"
    said = proved if lie is None else lie
    return Finding(about, expected, said, lie is None, remedy)


async def _logs(source: ChainSource, network: Network, block: Header) -> list[Finding]:
    """By block and by range, against the provider's own receipts of the block."""
    tokens = [token.address for token in network.tokens]
    first = max(block.number - RANGE_BLOCKS + 1, 0)

    async def of_range() -> Sequence[LogEntry]:
        told = await source.logs_of_range(first, block.number, tokens, None)
        return [entry for entry in told.entries if entry.block_number == block.number]

    asked = {
        "of a block": source.logs_of_block(block.hash, tokens, None),
        "of a range": of_range(),
    }
    receipts, _ = await _answer(source.receipts_of_block(block.hash))
    emitters = frozenset(bytes.fromhex(token[2:]) for token in tokens)
    moved = [
        read.tx_hash
        for receipt in receipts or ()
        for index, log in enumerate(receipt.logs)
        if isinstance(read := read_log(log, emitters, receipt.tx_hash, index), Movement)
    ]
    found = []
    for what, question in asked.items():
        entries, said = await _answer(question)
        if entries is not None:
            odd = [] if receipts is None else logs_not_held(receipts, entries)
            missing = Counter(moved) - Counter(entry.tx_hash for entry in entries)
            said = f"{len(entries)} transfers in block {block.number}"
            said += f"; not those of {min(missing)}, which its receipts hold" if missing else ""
            said += f"; {len(odd)} that its receipts do not hold" if odd else ""
        found.append(
            Finding(
                f"eth_getLogs {what}",
                f"as in its receipts of the block: {len(moved)} transfers of our tokens",
                said,
                entries is not None and not missing and not odd,
                "choose a provider or a plan that serves it whole: payments are found with it",
            )
        )
    return found


async def _balances(source: ChainSource, network: Network, block: Header) -> Finding:
    """As reconcile asks: of a block named by its hash."""
    holding = (network.tokens[0].address, NOBODY)
    told, said = await _answer(source.balances(block.hash, [holding]))
    return Finding(
        "eth_call at a block's hash",
        "a balance",
        said if told is None else f"a balance at block {block.number}",
        told is not None,
        "the hourly comparison of balances needs two providers that serve it",
        needed=False,
    )


async def _proof(source: ChainSource, head: Header) -> tuple[Header, str | None]:
    """The newest block that can be proved, and why its receipts do not prove themselves."""
    if head.settled_height is None:
        receipts = await source.receipts_of_block(head.hash)
        return head, await asyncio.to_thread(why_receipts_lie, head, receipts)

    async def known(number: int) -> Header:
        header = await source.header(number)
        if header is None:
            raise Unavailable("rpc", f"{source.name}: has no block {number}")
        return header

    settled = await known(head.settled_height)
    if settled.settled_height is None:
        return await _proof(source, settled)  # from before the fork
    try:
        settlement = await settlement_of(settled, known)
    except NotSettled as early:
        raise Unavailable("rpc", f"{source.name}: {early}") from early
    told = [await source.receipts_of_block(block.hash) for block in settlement.blocks]
    return settled, await asyncio.to_thread(why_settled_receipts_lie, settlement, told)


async def _tag(source: ChainSource, tag: Finality, *, needed: bool) -> Finding:
    header, outage = await _answer(source.header(tag))
    said = f"block {header.number}" if header is not None else outage
    remedy = f"policies that ask for a {tag} block wait until two providers serve it"
    return Finding(f"tag {tag}", "a block", said, header is not None, remedy, needed)


async def _answer(question: Awaitable[T | None]) -> tuple[T | None, str]:
    """The answer, or what it said instead of one."""
    try:
        return await question, "nothing"
    except Unavailable as outage:
        return None, outage.reason
