"""A chain in memory: blocks with true hashes, roots and blooms.

Shapes  MemoryChain is the chain itself: transactions wait in `mempool`, `mine` puts them into a
        block, `reorg` replaces the newest blocks. A balance starts with `mint`.
        A signed transaction has a sender and a nonce: it waits until the nonce is its sender's
        next one, and what it moves is decided when it is mined, by the balance of that moment.
        `final` is the newest block the chain has ever called final, and never falls. Whoever
        plays a truthful chain reorganises nothing at or below it (`reorg` does not ask).
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from eth_hash.auto import keccak

from adapters.memory.chain_encoding import (
    EMPTY_LIST_HASH,
    TRANSFER_TOPIC,
    address_bytes,
    bloom_of,
    either,
    hash_of,
    receipt_bytes,
    root_of,
    transfer_log,
    word,
)
from application.chain_source import (
    Header,
    ReceiptLog,
    TxReceipt,
)
from domain.networks import Network

_GAS = 50_000
FINAL_BLOCKS = 64
BRANCHES_APART = 1_000  # more than a chain is reorganised


@dataclass(frozen=True, slots=True)
class MemoryTx:
    hash: str
    logs: tuple[ReceiptLog, ...]
    succeeded: bool = True
    sender: str | None = None
    nonce: int | None = None
    moves: tuple[str, int] | None = None  # token and units the sender must have, or it fails


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
    _copies: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _branch: int = 0
    final: int = 0
    # Of the blocks as they stand: what each account got less what it gave, its transactions,
    # and where each transaction is.
    _moved: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    _nonces: Counter[str] = field(default_factory=Counter)
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for block in self.blocks:
            self._count_block(block, 1)
        if not self.blocks:
            self.mine()
        self._finalize()

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

    def mine(self, blocks: int = 1, *, at: datetime | None = None) -> MemoryBlock:
        """All that waits goes into the first of the blocks; the last one is returned.

        Without `at` a block is a block time younger than the one before it.
        """
        for _ in range(blocks):
            block = self._made(self._taken(), at)
            self.blocks.append(block)
            self._known[block.header.hash] = block
        self._finalize()
        return self.blocks[-1]

    def reorg(self, depth: int, *, keep: bool = True) -> list[MemoryTx]:
        """Drop the newest blocks; their transactions wait again, or are gone. Mine to go on."""
        assert 0 < depth < len(self.blocks), "the first block stays"
        dropped = self._cut(len(self.blocks) - depth)
        self._branch += 1
        lost = [tx for block in dropped for tx in block.txs]
        if keep:
            self.mempool[:0] = lost
        return lost

    def shared_with(self, block_hash: str) -> int:
        """The newest block that this branch of old has in common with the chain."""
        block = self._known[block_hash]
        while not self._has(block):
            block = self._known[block.header.parent_hash]
        return block.header.number

    def restore(self, block_hash: str) -> None:
        """Make a block of another branch the head again."""
        branch: list[MemoryBlock] = []
        block = self._known[block_hash]
        while not self._has(block):
            branch.append(block)
            block = self._known[block.header.parent_hash]
        self._cut(block.header.number + 1)
        for block in reversed(branch):
            self._count_block(block, 1)
            self.blocks.append(block)
        mined = {tx.hash for block in branch for tx in block.txs}
        self.mempool = [tx for tx in self.mempool if tx.hash not in mined]
        self._finalize()

    def copy(self) -> "MemoryChain":
        """A branch of its own from here on, for a provider that forks away."""
        twin = MemoryChain(self.network, self.began_at, list(self.blocks), list(self.mempool))
        twin._known = dict(self._known)
        # No two branches make one hash: a transaction's hash is of what it does.
        twin._copies = self._copies
        twin._branch = next(self._copies) * BRANCHES_APART + self._branch % BRANCHES_APART
        twin.final = self.final
        return twin

    def mint(self, token: str, holder: str, units: int) -> None:
        self.minted[token, holder] += units

    def balance(self, token: str, holder: str) -> int:
        return self.minted[token, holder] + self._moved[address_bytes(token), word_of(holder)]

    def balance_at(self, block: MemoryBlock, token: str, holder: str) -> int:
        """As of the end of a block, counted along its own branch."""
        units = self.minted[token, holder]
        emitter, who = address_bytes(token), word_of(holder)
        while True:
            for receipt in block.receipts:
                for log in receipt.logs:
                    transfer = len(log.topics) == 3 and log.topics[0] == TRANSFER_TOPIC
                    if log.address == emitter and transfer and len(log.data) == 32:
                        moved = int.from_bytes(log.data, "big")
                        units += moved * ((log.topics[2] == who) - (log.topics[1] == who))
            if block.header.number == 0:
                return units
            block = self._known.get(block.header.parent_hash) or self.blocks[0]

    def nonce(self, address: str) -> int:
        return self._nonces[address]

    def find(self, tx_hash: str) -> tuple[MemoryBlock, MemoryTx] | None:
        """A mined transaction and the block it is in."""
        place = self._places.get(tx_hash)
        if place is None:
            return None
        block = self.blocks[place[0]]
        return block, block.txs[place[1]]

    def branches(self) -> list[MemoryBlock]:
        """Every block there ever was, those that left the chain included."""
        return list(self._known.values())

    def _has(self, block: MemoryBlock) -> bool:
        number = block.header.number
        return number <= self.head and self.blocks[number].header.hash == block.header.hash

    def _finalize(self) -> None:
        self.final = max(self.final, self.head - FINAL_BLOCKS)

    def _cut(self, number: int) -> list[MemoryBlock]:
        dropped = self.blocks[number:]
        del self.blocks[number:]
        for block in reversed(dropped):
            self._count_block(block, -1)
        return dropped

    def _count_block(self, block: MemoryBlock, sign: int) -> None:
        for index, tx in enumerate(block.txs):
            self._count(tx, sign)
            if sign > 0:
                self._places[tx.hash] = block.header.number, index
            else:
                del self._places[tx.hash]

    def _count(self, tx: MemoryTx, sign: int) -> None:
        if tx.sender is not None:
            self._nonces[tx.sender] += sign
        for log in tx.logs if tx.succeeded else ():
            if len(log.topics) == 3:
                units = sign * int.from_bytes(log.data, "big")
                self._moved[log.address, log.topics[2]] += units
                self._moved[log.address, log.topics[1]] -= units

    def _taken(self) -> tuple[MemoryTx, ...]:
        """What of the mempool can be mined now, as it turns out."""
        taken: list[MemoryTx] = []
        waiting: list[MemoryTx] = []
        for tx in self.mempool:
            if tx.sender is not None and tx.nonce != self._nonces[tx.sender]:
                waiting.append(tx)
                continue
            mined = self._executed(tx)
            self._count(mined, 1)
            self._places[tx.hash] = len(self.blocks), len(taken)
            taken.append(mined)
        self.mempool = [
            tx for tx in waiting if tx.sender is None or (tx.nonce or 0) >= self._nonces[tx.sender]
        ]
        return tuple(taken)

    def _executed(self, tx: MemoryTx) -> MemoryTx:
        if tx.moves is None or tx.sender is None:
            return tx
        token, units = tx.moves
        return replace(tx, succeeded=self.balance(token, tx.sender) >= units)

    def _made(self, txs: tuple[MemoryTx, ...], at: datetime | None) -> MemoryBlock:
        number = len(self.blocks)
        if at is None:
            at = self.began_at + timedelta(seconds=self.network.block_seconds * number)
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


def word_of(address: str) -> bytes:
    return word(address_bytes(address))
