"""A chain of token transfers for the benchmarks: valid hashes, roots and blooms, served as JSON.

Shapes  A Plan says how long the chain is. Its blocks are `laps` rounds over the same `blocks`
        different ones: in each lap every block has another number, parent, moment and hash, and
        every transaction another hash, so that nothing is ever the same transfer. Receipts
        roots and blooms cover none of these, and stay. Each transaction is one transfer.
        The answers are held in pieces, cut where a lap changes them, and joined when asked for:
        that costs the copying of the bytes, as sending them does.
        `ours` of a million logs go to watched addresses, spread evenly, each to the next one.
Units   numbers begin at FIRST_NUMBER, so that every quantity has the same count of digits.
Source  fields and their order as geth 1.16 writes them, but for the place of the block's own
        fields. Roots are made by chain_ingest/receipt_trie.py, which is quick; `check` holds one
        block against the general trie and library (adapters/memory/chain_encoding.py).
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from eth_hash.auto import keccak

from adapters.memory import chain_encoding
from adapters.memory.chain_encoding import TRANSFER_TOPIC, address_bytes, transfer_log
from application.chain_source import Header, ReceiptLog, TxReceipt
from chain_ingest import proof

TOKEN = "0x" + "a0" * 20
TRANSFER_ABI = [
    {
        "type": "event",
        "name": "Transfer",
        "anonymous": False,
        "inputs": [
            {"name": "from", "type": "address", "indexed": True},
            {"name": "to", "type": "address", "indexed": True},
            {"name": "value", "type": "uint256", "indexed": False},
        ],
    }
]
UNITS = 10_000_000
GAS = 50_000
FIRST_NUMBER = 0x100000
STRANGERS = 5_000
BLOCK_SECONDS = 2
FINAL_BLOCKS = 64
SEED = 4


@dataclass(frozen=True, slots=True)
class Plan:
    blocks: int  # of one lap
    logs: int  # of one block
    ours: int  # of a million logs
    laps: int = 1
    watched: int = 10_000  # addresses that ours go to
    since: int = 1_790_000_000  # the first block's moment

    @property
    def last_number(self) -> int:
        return FIRST_NUMBER + self.laps * self.blocks - 1

    def ours_before(self, log: int) -> int:
        """How many of the first so many logs of a lap are ours."""
        return log * self.ours // 1_000_000

    def ours_of(self, number: int) -> int:
        """How many of a block's logs are ours."""
        block = (number - FIRST_NUMBER) % self.blocks
        return self.ours_before((block + 1) * self.logs) - self.ours_before(block * self.logs)


def watched_address(number: int) -> str:
    return "0x" + hashlib.sha256(number.to_bytes(8, "big")).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class _Block:
    """What does not change from lap to lap."""

    header: Header
    tx_names: tuple[bytes, ...]  # all but the first digits of each hash
    recipients: tuple[bytes, ...]
    senders: tuple[bytes, ...]
    amounts: tuple[int, ...]
    log_parts: tuple[bytes, ...]


class ReplayChain:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._blocks = tuple(_blocks(plan))
        self._receipt_parts: dict[int, tuple[bytes, ...]] = {}
        self._hashes: list[bytes] = []
        for number in range(FIRST_NUMBER, plan.last_number + 1):
            self._hashes.append(_hash_of(self.header(number)))
        self.numbers = {name: FIRST_NUMBER + at for at, name in enumerate(self._hashes)}

    def header(self, number: int) -> Header:
        """Without its transactions, which its hash does not cover."""
        place = number - FIRST_NUMBER
        parent = self._hashes[place - 1] if place else b"00" * 32
        return replace(
            self._block(number).header,
            number=number,
            parent_hash="0x" + parent.decode(),
            timestamp=self.plan.since + place * BLOCK_SECONDS,
        )

    def header_json(self, number: int, *, whole: bool = False) -> bytes:
        """`whole`: with the transactions themselves, of which ours needs the names alone."""
        header = self.header(number)
        lap = b"%08x" % self._lap(number)
        names = b",".join(b'"0x%b%b"' % (lap, name) for name in self._block(number).tx_names)
        if whole:
            names = self._joined(number, tuple(_transaction_parts(self._block(number), lap)))
        return _HEADER % {
            b"number": number,
            b"hash": self._hashes[number - FIRST_NUMBER],
            b"parent": header.parent_hash.encode(),
            b"time": header.timestamp,
            b"receipts": header.receipts_root.hex().encode(),
            b"bloom": header.logs_bloom.hex().encode(),
            b"gas": header.gas_used,
            b"names": names,
        }

    def logs_json(self, first: int, last: int) -> bytes:
        """What stands between the brackets of an answer to eth_getLogs."""
        return b",".join(
            self._joined(number, self._block(number).log_parts)
            for number in range(first, last + 1)
        )

    def receipts_json(self, number: int) -> bytes:
        place = (number - FIRST_NUMBER) % self.plan.blocks
        parts = self._receipt_parts.get(place)
        if parts is None:
            parts = self._receipt_parts[place] = _receipt_parts(self._blocks[place])
        return self._joined(number, parts)

    def warm(self) -> None:
        """Make the receipts of every block that will be asked for beforehand."""
        for number in range(FIRST_NUMBER, FIRST_NUMBER + self.plan.blocks):
            if self.plan.ours_of(number):
                self.receipts_json(number)

    def check(self) -> None:
        """One block against the general libraries: what serves and what is served share none."""
        number = FIRST_NUMBER + self.plan.blocks // 2
        block = self._block(number)
        receipts = _receipts(block)
        items = [chain_encoding.receipt_bytes(each) for each in receipts]
        blooms = [chain_encoding.bloom_of(each.logs) for each in receipts]
        assert chain_encoding.root_of(items) == block.header.receipts_root
        assert chain_encoding.either(blooms) == block.header.logs_bloom
        header = self.header(number)
        assert chain_encoding.hash_of(header)[2:].encode() == self._hashes[number - FIRST_NUMBER]

    def _block(self, number: int) -> _Block:
        return self._blocks[(number - FIRST_NUMBER) % self.plan.blocks]

    def _lap(self, number: int) -> int:
        return (number - FIRST_NUMBER) // self.plan.blocks

    def _joined(self, number: int, parts: Sequence[bytes]) -> bytes:
        place = number - FIRST_NUMBER
        moment = self.plan.since + place * BLOCK_SECONDS
        return (_PLACE % (number, self._hashes[place], moment, self._lap(number))).join(parts)


# ---------------------------------------------------------------- making the blocks

_PLACE = b'"blockNumber":"0x%06x","blockHash":"0x%b","blockTimestamp":"0x%08x","transactionHash":"0x%08x'
_LOG = (
    b'%b","address":"%b","topics":["0x%b","0x%b","0x%b"],"data":"0x%064x",'
    b'"transactionIndex":"0x%x","logIndex":"0x%x","removed":false}'
)
_RECEIPT = (
    b'%b","type":"0x2","status":"0x1","cumulativeGasUsed":"0x%x","gasUsed":"0x%x",'
    b'"effectiveGasPrice":"0x3b9aca07","from":"0x%b","to":"%b","contractAddress":null,'
    b'"transactionIndex":"0x%x","logsBloom":"0x%b","logs":[{'
)
_TRANSACTION = (
    b'%b","hash":"0x%b%b","from":"0x%b","to":"'
    + TOKEN.encode()
    + b'","transactionIndex":"0x%x","type":"0x2","nonce":"0x1","gas":"0xc350",'
    b'"gasPrice":"0x3b9aca07","maxFeePerGas":"0x3b9aca07","maxPriorityFeePerGas":"0x7",'
    b'"value":"0x0","input":"0xa9059cbb'
    + b"00" * 64
    + b'","accessList":[],"chainId":"0x7a69","v":"0x0","r":"0x1","s":"0x1"}'
)
_HEADER = (
    b'{"number":"0x%(number)06x","hash":"0x%(hash)b","parentHash":"%(parent)b",'
    b'"timestamp":"0x%(time)08x","transactions":[%(names)b],"receiptsRoot":"0x%(receipts)b",'
    b'"logsBloom":"0x%(bloom)b","sha3Uncles":"0x'
    + chain_encoding.EMPTY_LIST_HASH.hex().encode()
    + b'","miner":"0x'
    + b"00" * 20
    + b'","stateRoot":"0x'
    + b"00" * 32
    + b'","transactionsRoot":"0x'
    + b"00" * 32
    + b'","difficulty":"0x0","gasLimit":"0x1c9c380","gasUsed":"0x%(gas)x","extraData":"0x",'
    b'"mixHash":"0x' + b"00" * 32 + b'","nonce":"0x0000000000000000",'
    b'"baseFeePerGas":"0x3b9aca00","size":"0x1000","uncles":[]}'
)


def _blocks(plan: Plan) -> Iterator[_Block]:
    random_source = random.Random(SEED)
    strangers = [random_source.randbytes(20) for _ in range(STRANGERS)]
    ours = 0
    for place in range(plan.blocks):
        recipients = []
        for log in range(place * plan.logs, (place + 1) * plan.logs):
            if plan.ours_before(log + 1) > plan.ours_before(log):
                recipients.append(address_bytes(watched_address(ours % plan.watched)))
                ours += 1
            else:
                recipients.append(strangers[log % STRANGERS])
        senders = tuple(random_source.choice(strangers) for _ in recipients)
        # A transfer to oneself moves nothing.
        senders = tuple(
            bytes([sender[0] ^ 1]) + sender[1:] if sender == recipient else sender
            for sender, recipient in zip(senders, recipients, strict=True)
        )
        yield _block(plan, place, tuple(recipients), senders)


def _block(
    plan: Plan, place: int, recipients: tuple[bytes, ...], senders: tuple[bytes, ...]
) -> _Block:
    first = place * plan.logs
    names = tuple(
        keccak(b"tx" + (first + index).to_bytes(8, "big")).hex()[:56].encode()
        for index in range(plan.logs)
    )
    bare = _Block(
        _header(b"", b"", plan.logs), names, recipients, senders, (UNITS,) * plan.logs, ()
    )
    receipts = _receipts(bare)
    bloom = 0
    for receipt in receipts:
        bloom |= int.from_bytes(receipt.logs_bloom, "big")
    header = _header(proof.receipts_root(receipts), bloom.to_bytes(256, "big"), plan.logs)
    log_parts = (b"{", *_log_parts(bare, last=b",{"))
    return replace(bare, header=header, log_parts=log_parts)


def _log_parts(block: _Block, *, last: bytes) -> Iterator[bytes]:
    """Each log from its transaction's name on, and how the next one begins."""
    topic, token = TRANSFER_TOPIC.hex().encode(), TOKEN.encode()
    count = len(block.tx_names)
    for index in range(count):
        written = _LOG % (
            block.tx_names[index],
            token,
            topic,
            chain_encoding.word(block.senders[index]).hex().encode(),
            chain_encoding.word(block.recipients[index]).hex().encode(),
            block.amounts[index],
            index,
            index,
        )
        yield written + (last if index + 1 < count else b"")


def _transaction_parts(block: _Block, lap: bytes) -> Iterator[bytes]:
    yield b"{"
    for index, name in enumerate(block.tx_names):
        more = b",{" if index + 1 < len(block.tx_names) else b""
        yield _TRANSACTION % (name, lap, name, block.senders[index].hex().encode(), index) + more


def _receipt_parts(block: _Block) -> tuple[bytes, ...]:
    """Cut in two places a receipt: at its own names, and at those of its one log."""
    logs = tuple(_log_parts(block, last=b""))
    receipts = _receipts(block)
    parts = [b"{"]
    for index, receipt in enumerate(receipts):
        parts.append(
            _RECEIPT
            % (
                block.tx_names[index],
                receipt.cumulative_gas_used,
                GAS,
                block.senders[index].hex().encode(),
                TOKEN.encode(),
                index,
                receipt.logs_bloom.hex().encode(),
            )
        )
        parts.append(logs[index] + (b"]},{" if index + 1 < len(receipts) else b"]}"))
    return tuple(parts)


def _receipts(block: _Block) -> tuple[TxReceipt, ...]:
    made = []
    for index, name in enumerate(block.tx_names):
        log = transfer_log(
            TOKEN,
            block.senders[index].hex(),
            block.recipients[index].hex(),
            block.amounts[index],
        )
        made.append(
            TxReceipt(
                tx_hash="0x00000000" + name.decode(),
                type=2,
                status=1,
                cumulative_gas_used=GAS * (index + 1),
                logs_bloom=_bloom(log),
                logs=(log,),
            )
        )
    return tuple(made)


def _bloom(log: ReceiptLog) -> bytes:
    bits = 0
    for item in (log.address, *log.topics):
        bits |= _bits(item)
    return bits.to_bytes(256, "big")


@lru_cache(maxsize=4 * STRANGERS)
def _bits(item: bytes) -> int:
    digest = keccak(item)
    bits = 0
    for start in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return bits


def _header(receipts_root: bytes, bloom: bytes, transactions: int) -> Header:
    blank = bytes(32)
    return Header(
        number=0,
        hash="",
        parent_hash="",
        timestamp=0,
        transactions=(),
        receipts_root=receipts_root,
        logs_bloom=bloom,
        ommers_hash=chain_encoding.EMPTY_LIST_HASH,
        beneficiary=bytes(20),
        state_root=blank,
        transactions_root=blank,
        difficulty=0,
        gas_limit=30_000_000,
        gas_used=GAS * transactions,
        extra_data=b"",
        mix_hash=blank,
        nonce=bytes(8),
        base_fee=10**9,
    )


def _hash_of(header: Header) -> bytes:
    return proof.header_hash(header)[2:].encode()
