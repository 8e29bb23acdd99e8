"""A chain in memory, and what providers say of it: blocks with true hashes, roots and blooms.

Shapes  MemoryChain is the chain itself: transactions wait in `mempool`, `mine` puts them into a
        block, `reorg` replaces the newest blocks. MemorySource is one provider's view of it
        (application/chain_source.py), MemoryChainClient the refund sender's
        (application/outside.py). A balance starts with `mint`.
Faults  of a source: `down`, `lag` in blocks, `loses_logs`, `range_max`, `forges` for receipts,
        `bends` for headers, `chain` for a provider that follows another branch altogether.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from eth_hash.auto import keccak

from adapters.memory.chain_encoding import (
    EMPTY_LIST_HASH,
    address_bytes,
    bloom_of,
    either,
    hash_of,
    receipt_bytes,
    root_of,
    transfer_log,
    word,
)
from application.chain_source import Header, LogEntry, RangeRefused, ReceiptLog, Tag, TxReceipt
from application.ports import Unavailable
from domain.networks import Network

_GAS = 50_000
FINAL_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class MemoryTx:
    hash: str
    logs: tuple[ReceiptLog, ...]
    succeeded: bool = True
    sender: str | None = None
    nonce: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    header: Header
    txs: tuple[MemoryTx, ...]
    receipts: tuple[TxReceipt, ...]


@dataclass
class MemoryChain:
    network: Network
    began_at: datetime
    blocks: list[MemoryBlock] = field(default_factory=list)
    mempool: list[MemoryTx] = field(default_factory=list)
    minted: Counter[tuple[str, str]] = field(default_factory=Counter)
    _known: dict[str, MemoryBlock] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _branch: int = 0

    def __post_init__(self) -> None:
        if not self.blocks:
            self.mine()

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    def block(self, block_hash: str) -> MemoryBlock | None:
        """Of any branch, as a node keeps them."""
        return self._known.get(block_hash)

    def transaction(self, *logs: ReceiptLog, succeeded: bool = True) -> MemoryTx:
        """Wait in the mempool; the hash is its own, whatever the logs."""
        seed = f"{self._branch}:{next(self._numbers)}:{self.network.name}".encode()
        tx = MemoryTx("0x" + keccak(seed).hex(), tuple(logs), succeeded)
        self.mempool.append(tx)
        return tx

    def transfer(self, token: str, sender: str, recipient: str, units: int) -> MemoryTx:
        return self.transaction(transfer_log(token, sender, recipient, units))

    def mine(self, blocks: int = 1) -> MemoryBlock:
        """All that waits goes into the first of the blocks; the last one is returned."""
        for _ in range(blocks):
            txs, self.mempool = tuple(self.mempool), []
            block = self._made(txs)
            self.blocks.append(block)
            self._known[block.header.hash] = block
        return self.blocks[-1]

    def reorg(self, depth: int, *, keep: bool = True) -> None:
        """Drop the newest blocks; their transactions wait again, or are gone. Mine to go on."""
        assert 0 < depth < len(self.blocks), "the first block stays"
        dropped = self.blocks[-depth:]
        del self.blocks[-depth:]
        self._branch += 1
        if keep:
            self.mempool[:0] = [tx for block in dropped for tx in block.txs]

    def restore(self, block_hash: str) -> None:
        """Make a block of another branch the head again."""
        branch: list[MemoryBlock] = []
        block = self._known[block_hash]
        while (
            block.header.number >= len(self.blocks)
            or self.blocks[block.header.number].header.hash != block.header.hash
        ):
            branch.append(block)
            block = self._known[block.header.parent_hash]
        self.blocks[block.header.number + 1 :] = reversed(branch)

    def copy(self) -> "MemoryChain":
        """A branch of its own from here on, for a provider that forks away."""
        twin = MemoryChain(self.network, self.began_at, list(self.blocks), list(self.mempool))
        twin._known = dict(self._known)
        twin._branch = self._branch + 1_000
        return twin

    def mint(self, token: str, holder: str, units: int) -> None:
        self.minted[token, holder] += units

    def balance(self, token: str, holder: str) -> int:
        total = self.minted[token, holder]
        for block in self.blocks:
            for log in (log for tx in block.txs if tx.succeeded for log in tx.logs):
                if "0x" + log.address.hex() == token and len(log.topics) == 3:
                    units = int.from_bytes(log.data, "big")
                    total += units * (log.topics[2] == word(address_bytes(holder)))
                    total -= units * (log.topics[1] == word(address_bytes(holder)))
        return total

    def nonce(self, address: str) -> int:
        return sum(tx.sender == address for block in self.blocks for tx in block.txs)

    def _made(self, txs: tuple[MemoryTx, ...]) -> MemoryBlock:
        number = len(self.blocks)
        receipts = tuple(
            TxReceipt(
                tx_hash=tx.hash,
                type=2,
                status=int(tx.succeeded),
                cumulative_gas_used=_GAS * (index + 1),
                logs_bloom=bloom_of(tx.logs if tx.succeeded else ()),
                logs=tx.logs if tx.succeeded else (),
            )
            for index, tx in enumerate(txs)
        )
        at = self.began_at + timedelta(seconds=self.network.block_seconds * number)
        fields = {
            "number": number,
            "parent_hash": self.blocks[-1].header.hash if self.blocks else "0x" + "00" * 32,
            "timestamp": int(at.timestamp()),
            "transactions": tuple(tx.hash for tx in txs),
            "receipts_root": root_of([receipt_bytes(receipt) for receipt in receipts]),
            "logs_bloom": either([receipt.logs_bloom for receipt in receipts]),
            "ommers_hash": EMPTY_LIST_HASH,
            "beneficiary": bytes(20),
            "state_root": keccak(number.to_bytes(8, "big")),
            "transactions_root": root_of([bytes.fromhex(tx.hash[2:]) for tx in txs]),
            "difficulty": 0,
            "gas_limit": 30_000_000,
            "gas_used": _GAS * len(txs),
            "extra_data": self._branch.to_bytes(4, "big"),
            "mix_hash": bytes(32),
            "nonce": bytes(8),
            "base_fee": 10**9,
        }
        unnamed = Header(hash="", **fields)  # type: ignore[arg-type]  # one value a field
        named = Header(hash=hash_of(unnamed), **fields)  # type: ignore[arg-type]  # as above
        return MemoryBlock(named, txs, receipts)


@dataclass
class MemorySource:
    """One provider's view of a chain, true unless told otherwise."""

    chain: MemoryChain
    name: str
    decimals: int | None = 6
    down: bool = False
    lag: int = 0
    loses_logs: bool = False
    range_max: int | None = None  # blocks of logs in one answer
    suggests: bool = False  # a refused range comes with one that would do
    forges: Callable[[Sequence[TxReceipt]], Sequence[TxReceipt]] | None = None
    bends: Callable[[Header], Header] | None = None
    calls: Counter[str] = field(default_factory=Counter)
    recipients_asked: list[int | None] = field(default_factory=list)

    async def chain_id(self) -> int:
        self._serve("chain_id")
        return self.chain.network.chain_id

    async def token_decimals(self, address: str) -> int | None:  # noqa: ARG002 - all alike here
        self._serve("token_decimals")
        return self.decimals

    async def header(self, block: int | Tag) -> Header | None:
        self._serve("header")
        head = max(self.chain.head - self.lag, 0)
        number = block if isinstance(block, int) else head
        if block in {"safe", "finalized"}:
            number = max(head - FINAL_BLOCKS, 0)
        return self._told(self.chain.blocks[number]) if number <= head else None

    async def header_by_hash(self, block_hash: str) -> Header | None:
        self._serve("header_by_hash")
        block = self.chain.block(block_hash)
        return None if block is None else self._told(block)

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        self._serve("logs_of_block")
        self.recipients_asked.append(None if recipients is None else len(recipients))
        block = self.chain.block(block_hash)
        if block is None:
            raise Unavailable("rpc", f"{self.name}: unknown block")
        return [] if self.loses_logs else _logs(block, tokens, recipients)

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        self._serve("logs_of_range")
        if self.range_max is not None and last - first + 1 > self.range_max:
            would_do = (first, first + self.range_max - 1) if self.suggests else None
            raise RangeRefused(f"{self.name}: block range is too wide", would_do)
        blocks = [] if self.loses_logs else self.chain.blocks[first : last + 1]
        return [entry for block in blocks for entry in _logs(block, tokens, recipients)]

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        self._serve("receipts_of_block")
        block = self.chain.block(block_hash)
        if block is None:
            raise Unavailable("rpc", f"{self.name}: unknown block")
        return self.forges(block.receipts) if self.forges else block.receipts

    def _told(self, block: MemoryBlock) -> Header:
        return self.bends(block.header) if self.bends else block.header

    def _serve(self, method: str) -> None:
        self.calls[method] += 1
        if self.down:
            raise Unavailable("rpc", f"{self.name}: switched off by a test")


def _logs(
    block: MemoryBlock, tokens: Sequence[str], recipients: Sequence[str] | None
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
