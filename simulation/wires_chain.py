"""Providers and nodes as the workers meet them: late, silent, forgetful, and sometimes lying.

Shapes  A provider's troubles are windows named "provider.<network>.<number>.<trouble>"; a forking
        provider tells of a chain of its own (Forks), which looks right from every side but one:
        the others do not have it. A node, through which refunds go out, has windows named
        "node.<network>.<trouble>".
        What a liar makes up is drawn from the window, so that it is the same again for a seed.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random  # noqa: TID251 - a window's own, seeded
from typing import TypeVar

from eth_hash.auto import keccak

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.chain_client import FEES, MemoryChainClient
from adapters.memory.chain_encoding import TRANSFER_TOPIC, address_bytes, hash_of, word
from application.chain_source import Header, Holding, LogEntry, RangeLogs, Tag, TxPlace, TxReceipt
from application.outside import Receipt
from application.ports import Unavailable
from domain.networks import Finality, Network
from simulation.faults import Window
from simulation.setting import SAFE_BLOCKS
from simulation.wires import Line

T = TypeVar("T")
SLOW_SECONDS_MAX = 5
HIGH_FEES = (5_000 * 10**9, 10**9)


@dataclass
class Forks:
    """Chains of providers that tell of a branch of their own."""

    chains: dict[tuple[str, int], MemoryChain] = field(default_factory=dict)


class SourceWire:
    """application.chain_source.ChainSource: one provider of one network."""

    def __init__(
        self,
        chain: MemoryChain,
        place: tuple[str, int],
        forks: Forks,
        line: Line,
        told: Callable[[str, str, str, int], None],
    ) -> None:
        """`told` hears of each block that this provider calls safe or final."""
        network, number = place
        self._told = told
        self.name = f"{network}-{number + 1}"
        self._prefix = f"provider.{network}.{number}."
        self._place = place
        self._forks = forks
        self._chain = chain
        self._line = line
        self._source = MemorySource(chain, self.name)

    async def chain_id(self) -> int:
        return await (await self._there()).chain_id()

    async def token_decimals(self, address: str) -> int | None:
        return await (await self._there()).token_decimals(address)

    async def domain_separator(self, address: str) -> bytes | None:
        return await (await self._there()).domain_separator(address)

    async def header(self, block: int | Tag) -> Header | None:
        source = await self._there()
        if isinstance(block, int) or block == "latest":
            return await source.header(block)
        source.tags = {block: self._tagged(source, block)}
        header = await source.header(block)
        if header is not None:
            self._told(self._place[0], self.name, block, header.number)
        return header

    def _tagged(self, source: MemorySource, tag: Finality) -> int | None:
        """The block it calls so: the true one as far as it can see, unless it is in trouble."""
        head = max(source.chain.head - source.lag, 0)
        if self._on("tags_refused"):
            return None
        if self._on("tags_lie"):
            return head
        late = self._on("tags_lag")
        there = tagged_block(source.chain, tag) - (late.amount if late is not None else 0)
        return max(min(there, head), 0)

    async def header_by_hash(self, block_hash: str) -> Header | None:
        return await (await self._there()).header_by_hash(block_hash)

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        source = await self._there()
        told = await source.logs_of_block(block_hash, tokens, recipients)
        return self._embroidered(told, tokens, recipients, block_hash)

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        source = await self._there()
        told = await source.logs_of_range(first, last, tokens, recipients)
        return RangeLogs.of(self._embroidered(told.entries, tokens, recipients, "0x" + "00" * 32))

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        return await (await self._there()).receipts_of_block(block_hash)

    async def transaction_place(self, tx_hash: str) -> TxPlace | None:
        return await (await self._there()).transaction_place(tx_hash)

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:
        return await (await self._there()).balances(block_hash, holdings)

    # ------------------------------------------------------------ its troubles

    def _on(self, trouble: str, *, one_in: int = 1) -> Window | None:
        return self._line.faults.strikes(self._prefix + trouble, one_in=one_in)

    async def _there(self) -> MemorySource:
        """The provider as it is at this moment."""
        await asyncio.sleep(0)
        slow = self._on("slow", one_in=2)
        if slow is not None:
            await asyncio.sleep(slow.random.randrange(1, SLOW_SECONDS_MAX + 1))
        if self._on("down") or self._on("flapping", one_in=2):
            raise Unavailable("rpc", f"{self.name}: {self._prefix}")
        source = self._source
        fork = self._forks.chains.get(self._place)
        source.chain = fork if fork is not None and self._on("fork") else self._chain
        lag, narrow = self._on("lag"), self._on("range_refused")
        source.lag = lag.amount if lag is not None else 0
        source.range_max = max(1, narrow.amount) if narrow is not None else None
        source.loses_logs = self._on("empty") is not None
        headers, receipts = self._on("forged_headers"), self._on("forged_receipts")
        source.bends = _bending(headers.random) if headers is not None else None
        source.forges = _forging(receipts.random) if receipts is not None else None
        return source

    def _embroidered(
        self,
        told: Sequence[LogEntry],
        tokens: Sequence[str],
        recipients: Collection[str] | None,
        block_hash: str,
    ) -> Sequence[LogEntry]:
        found = list(told)
        if found and self._on("duplicates"):
            found += found
        made_up = self._on("forged_logs") if tokens and recipients else None
        if made_up is not None:
            found.append(_made_up(made_up.random, tokens, recipients or (), block_hash))
        return found


def tagged_block(chain: MemoryChain, tag: Finality) -> int:
    """The newest block that the chain calls so."""
    return chain.final if tag == "finalized" else max(chain.head - SAFE_BLOCKS, chain.final)


def _bending(random: Random) -> Callable[[Header], Header]:
    """Another header of the same height: with a wrong hash, or with one of its own."""

    def bend(header: Header) -> Header:
        bent = random.choice(
            (
                replace(header, timestamp=header.timestamp + 1),
                replace(header, receipts_root=random.randbytes(32)),
                replace(header, logs_bloom=bytes(256)),
                replace(header, parent_hash="0x" + random.randbytes(32).hex()),
                replace(header, transactions=("0x" + random.randbytes(32).hex(),)),
            )
        )
        return replace(bent, hash=hash_of(bent)) if random.randrange(2) else bent

    return bend


def _forging(random: Random) -> Callable[[Sequence[TxReceipt]], Sequence[TxReceipt]]:
    """Receipts that say more, less or something else than what happened."""

    def forge(receipts: Sequence[TxReceipt]) -> Sequence[TxReceipt]:
        if not receipts:
            return receipts
        forged = list(receipts)
        place = random.randrange(len(forged))
        victim = forged[place]
        if not victim.logs or random.randrange(3) == 0:
            forged[place] = replace(victim, status=1 - victim.status)
        elif random.randrange(2):
            forged[place] = replace(victim, logs=victim.logs[:-1])
        else:
            log = victim.logs[0]
            more = replace(log, data=(int.from_bytes(log.data) * 2 % 2**256).to_bytes(32))
            forged[place] = replace(victim, logs=(more, *victim.logs))
        return forged

    return forge


def _made_up(
    random: Random, tokens: Sequence[str], recipients: Collection[str], block_hash: str
) -> LogEntry:
    to = random.choice(sorted(recipients))
    return LogEntry(
        block_number=random.randrange(1, 1_000),
        block_hash=block_hash,
        tx_hash="0x" + random.randbytes(32).hex(),
        address=random.choice(list(tokens)),
        topics=(
            "0x" + TRANSFER_TOPIC.hex(),
            "0x" + word(random.randbytes(20)).hex(),
            "0x" + word(address_bytes(to)).hex(),
        ),
        data=hex(random.randrange(1, 10**12)),
    )


def tx_hash_of(raw: bytes) -> str:
    return "0x" + bytes(keccak(raw)).hex()


@dataclass
class Node:
    """A node that keeps what reached it, whatever the sender was told."""

    client: MemoryChainClient
    heard: list[tuple[str, bytes, int]] = field(default_factory=list)  # network, bytes, when


class NodeWire:
    """application.outside.ChainClient: the node of one network that one process asks."""

    def __init__(self, node: Node, line: Line, now_us: Callable[[], int]) -> None:
        self._node = node
        self._client = node.client
        self._chain = node.client.chain
        self._line = line
        self._now_us = now_us
        self.network: Network = node.client.network

    async def head_number(self) -> int:
        await self._there()
        return self._visible()

    async def block_hash(self, number: int) -> str | None:
        await self._there()
        return await self._client.block_hash(number) if number <= self._visible() else None

    async def tagged_number(self, tag: Finality) -> int | None:
        await self._there()
        if tag == "safe":
            return max(self._visible() - SAFE_BLOCKS, 0)
        return await self._client.tagged_number(tag)

    async def receipt(self, tx_hash: str) -> Receipt | None:
        await self._there()
        found = await self._client.receipt(tx_hash)
        if found is None or found.block_number > self._visible():
            return None
        return found

    async def transaction_count(self, address: str, *, pending: bool = False) -> int:
        await self._there()
        count = await self._client.transaction_count(address, pending=pending)
        if pending:
            return count
        hidden = self._chain.blocks[self._visible() + 1 :]
        return count - sum(tx.sender == address for block in hidden for tx in block.txs)

    async def fees(self) -> tuple[int, int]:
        await self._there()
        return HIGH_FEES if self._on("high_fees") else FEES

    async def simulate_transfer(
        self, token: str, sender: str, recipient: str, units: int
    ) -> str | None:
        await self._there()
        return await self._client.simulate_transfer(token, sender, recipient, units)

    async def broadcast(self, raw: bytes) -> None:
        await self._there()
        await self._line.reach("before_broadcast")
        self._node.heard.append((self.network.name, raw, self._now_us()))
        if not self._on("drops_mempool", one_in=2):
            await self._client.broadcast(raw)
        await self._line.reach("after_broadcast")
        if self._on("lost_answer", one_in=2):
            raise Unavailable("rpc", "the answer was lost")

    async def balance(self, token: str, holder: str) -> int:
        await self._there()
        return await self._client.balance(token, holder)

    async def native_balance(self, holder: str) -> int:
        await self._there()
        return await self._client.native_balance(holder)

    def _on(self, trouble: str, *, one_in: int = 1) -> Window | None:
        return self._line.faults.strikes(f"node.{self.network.name}.{trouble}", one_in=one_in)

    def _visible(self) -> int:
        lag = self._on("lag")
        return max(0, self._chain.head - (lag.amount if lag is not None else 0))

    async def _there(self) -> None:
        await asyncio.sleep(0)
        slow = self._on("slow", one_in=2)
        if slow is not None:
            await asyncio.sleep(slow.random.randrange(1, SLOW_SECONDS_MAX + 1))
        if self._on("down"):
            raise Unavailable("rpc", f"the node of {self.network.name} is down")
