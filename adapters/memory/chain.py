"""What providers say of a chain in memory (adapters/memory/chain_blocks.py).

Shapes  MemorySource is one provider's view of a MemoryChain (application/chain_source.py);
        MemoryChainClient (adapters/memory/chain_client.py) the refund sender's.
Faults  of a source: `down`, `unserved` methods, `lag` and `logs_lag` in blocks, `loses_logs`, `range_max`, `forges`
        for receipts, `bends` for headers, `tags` for what it calls safe or finalized, `chain`
        for a provider that follows another branch altogether; `state_blocks` and `inflates` for
        balances.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from adapters.memory.chain_blocks import FINAL_BLOCKS, MemoryBlock, MemoryChain, MemoryTx
from adapters.memory.chain_encoding import address_bytes, word
from application.chain_source import (
    RECIPIENTS_ASKED_MAX,
    Header,
    Holding,
    LogEntry,
    ProviderFailed,
    RangeLogs,
    RangeRefused,
    Tag,
    TxPlace,
    TxReceipt,
)
from application.eip712 import separator_of
from application.ports import Unavailable
from domain.networks import Finality

__all__ = ["FINAL_BLOCKS", "MemoryBlock", "MemoryChain", "MemorySource", "MemoryTx"]


@dataclass
class MemorySource:
    """One provider's view of a chain, true unless told otherwise."""

    chain: MemoryChain
    name: str
    decimals: int | None = 6
    down: bool = False
    lag: int = 0
    logs_lag: int = 0  # of the node that answers ranges of logs, behind the others
    loses_logs: bool = False
    unserved: set[str] = field(default_factory=set)  # methods that its plan does not have
    range_max: int | None = None  # blocks of logs in one answer
    suggests: bool = False  # a refused range comes with one that would do
    forges: Callable[[Sequence[TxReceipt]], Sequence[TxReceipt]] | None = None
    bends: Callable[[Header], Header] | None = None
    # The block it calls safe or finalized, instead of one so far below its head; None: refuses.
    tags: dict[Finality, int | None] = field(default_factory=dict)
    separators: dict[str, bytes | None] = field(default_factory=dict)  # by token
    state_blocks: int | None = None  # how far back it knows balances; None: an archive
    inflates: dict[Holding, int] = field(default_factory=dict)  # balances it makes up
    calls: Counter[str] = field(default_factory=Counter)
    recipients_asked: list[int | None] = field(default_factory=list)

    async def chain_id(self) -> int:
        self._serve("chain_id")
        return self.chain.network.chain_id

    async def token_decimals(self, address: str) -> int | None:  # noqa: ARG002 - all alike here
        self._serve("token_decimals")
        return self.decimals

    async def domain_separator(self, address: str) -> bytes | None:
        """What the networks' description leads us to expect, unless told otherwise."""
        self._serve("domain_separator")
        if address in self.separators:
            return self.separators[address]
        network = self.chain.network
        token = network.token_at(address)
        return None if token is None else separator_of(network, token)

    async def header(self, block: int | Tag) -> Header | None:
        self._serve("header")
        head = max(self.chain.head - self.lag, 0)
        number = block if isinstance(block, int) else head
        if not isinstance(block, int) and block != "latest":
            tagged = self.tags.get(block, max(head - FINAL_BLOCKS, 0))
            if tagged is None:
                raise Unavailable("rpc", f"{self.name}: the tag {block} is not served")
            number = min(tagged, head)
        return self._told(self.chain.blocks[number]) if number <= head else None

    async def header_by_hash(self, block_hash: str) -> Header | None:
        self._serve("header_by_hash")
        block = self.chain.block(block_hash)
        return None if block is None else self._told(block)

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        self._serve("logs_of_block")
        self._note(recipients)
        block = self.chain.block(block_hash)
        if block is None:
            raise Unavailable("rpc", f"{self.name}: unknown block")
        return [] if self.loses_logs else _logs(block, tokens, recipients)

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        self._serve("logs_of_range")
        self._note(recipients)
        if self.range_max is not None and last - first + 1 > self.range_max:
            would_do = (first, first + self.range_max - 1) if self.suggests else None
            raise RangeRefused(f"{self.name}: block range is too wide", would_do)
        behind = max(self.lag, self.logs_lag)
        last = min(last, max(self.chain.head - behind, 0))  # as nodes do that say nothing
        blocks = [] if self.loses_logs else self.chain.blocks[first : last + 1]
        return RangeLogs.of(
            entry for block in blocks for entry in _logs(block, tokens, recipients)
        )

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        self._serve("receipts_of_block")
        block = self.chain.block(block_hash)
        if block is None:
            raise Unavailable("rpc", f"{self.name}: unknown block")
        return self.forges(block.receipts) if self.forges else block.receipts

    async def transaction_place(self, tx_hash: str) -> TxPlace | None:
        self._serve("transaction_place")
        found = self.chain.find(tx_hash)
        if found is None or found[0].header.number > self.chain.head - self.lag:
            return None
        return TxPlace(found[0].header.number, found[0].header.hash)

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:
        self._serve("balances")
        block = self.chain.block(block_hash)
        state_kept = self.state_blocks is None or (
            block is not None and block.header.number >= self.chain.head - self.state_blocks
        )
        if block is None or not state_kept:
            raise Unavailable("rpc", f"{self.name}: missing trie node")
        lie = self.inflates
        return [
            self.chain.balance_at(block, *each) + (lie.get(each, 0) if lie else 0)
            for each in holdings
        ]

    def _note(self, recipients: Collection[str] | None) -> None:
        named = recipients is not None and len(recipients) <= RECIPIENTS_ASKED_MAX
        self.recipients_asked.append(len(recipients) if named and recipients else None)

    def _told(self, block: MemoryBlock) -> Header:
        return self.bends(block.header) if self.bends else block.header

    def _serve(self, method: str) -> None:
        self.calls[method] += 1
        if self.down:
            raise Unavailable("rpc", f"{self.name}: switched off by a test")
        if method in self.unserved:
            raise ProviderFailed(f"{self.name}: not available on your plan", "refused")


def _logs(
    block: MemoryBlock, tokens: Sequence[str], recipients: Collection[str] | None
) -> list[LogEntry]:
    wanted = None if recipients is None else {word(address_bytes(each)) for each in recipients}
    emitters = {address_bytes(token) for token in tokens}
    return [
        LogEntry(
            block_number=block.header.number,
            block_hash=block.header.hash,
            tx_hash=receipt.tx_hash,
            address="0x" + log.address.hex(),
            topics=tuple("0x" + topic.hex() for topic in log.topics),
            data="0x" + log.data.hex(),
        )
        for receipt in block.receipts
        for log in receipt.logs
        if log.address in emitters
        and len(log.topics) >= 3
        and (wanted is None or log.topics[2] in wanted)
    ]
