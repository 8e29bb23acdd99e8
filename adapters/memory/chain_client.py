"""The refund sender's view of the chain in memory; broadcast bytes are really decoded.

Shapes  As application.outside.ChainClient. A signed ERC-20 transfer moves the balance when it is
        mined; one that its balance does not cover is mined and fails.
Faults  `down`, and `refuses`: what every simulated transfer fails with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from hexbytes import HexBytes

from adapters.memory.chain import MemoryChain, MemoryTx
from adapters.memory.chain_encoding import TRANSFER_TOPIC, transfer_log
from application.chain_source import Header
from application.outside import Receipt
from application.ports import Unavailable
from domain.networks import Finality, Network

FEES = (30 * 10**9, 10**9)
GAS_USED = 50_000  # by every transaction, as in the headers of adapters/memory/chain.py
READ_MAX = 1_024
_TRANSFER = bytes.fromhex("a9059cbb")


@dataclass
class MemoryChainClient:
    """application.outside.ChainClient over the same chain; broadcast bytes are really decoded."""

    chain: MemoryChain
    down: bool = False
    refuses: str | None = None  # what every simulated transfer would fail with
    heard: list[bytes] = field(default_factory=list)
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.network = self.chain.network

    async def head_number(self) -> int:
        self._serve()
        return self.chain.head

    async def block_hash(self, number: int) -> str | None:
        self._serve()
        known = 0 <= number <= self.chain.head
        return self.chain.blocks[number].header.hash if known else None

    async def tagged_number(self, tag: Finality) -> int | None:
        del tag  # both are the same block here
        self._serve()
        return self.chain.final

    async def receipt(self, tx_hash: str) -> Receipt | None:
        self._serve()
        found = self.chain.find(tx_hash)
        return None if found is None else _outside_receipt(found[0].header, found[1])

    async def transaction_count(self, address: str, *, pending: bool = False) -> int:
        self._serve()
        count = self.chain.nonce(address)
        waiting = {tx.nonce for tx in self.chain.mempool if pending and tx.sender == address}
        while count in waiting:
            count += 1
        return count

    async def fees(self) -> tuple[int, int]:
        self._serve()
        return FEES

    async def simulate_transfer(
        self, token: str, sender: str, recipient: str, units: int
    ) -> str | None:
        del recipient  # nobody is frozen here
        self._serve()
        if self.refuses is not None:
            return self.refuses
        short = self.chain.balance(token, sender) < units
        return "execution reverted: balance too low" if short else None

    async def broadcast(self, raw: bytes) -> None:
        """A transaction with the next free nonce waits to be mined; others are quietly dropped."""
        self._serve()
        self.heard.append(raw)
        signed, sender = _read(raw)
        nonce = int(signed["nonce"])
        if nonce != await self.transaction_count(sender, pending=True):
            return
        self.chain.mempool.append(self._mined_later(raw, sender, nonce, signed))

    async def balance(self, token: str, holder: str) -> int:
        self._serve()
        return self.chain.balance(token, holder)

    async def native_balance(self, holder: str) -> int:  # noqa: ARG002 - everybody is rich here
        self._serve()
        return 10**18

    def _mined_later(
        self, raw: bytes, sender: str, nonce: int, signed: Mapping[str, Any]
    ) -> MemoryTx:
        tx_hash = "0x" + keccak(raw).hex()
        data = bytes(signed["data"])
        if data[:4] != _TRANSFER or len(data) != 68:
            return MemoryTx(tx_hash, (), True, sender, nonce)
        token, recipient = "0x" + bytes(signed["to"]).hex(), "0x" + data[16:36].hex()
        units = int.from_bytes(data[36:], "big")
        log = transfer_log(token, sender, recipient, units)
        return MemoryTx(tx_hash, (log,), True, sender, nonce, moves=(token, units))

    def _serve(self) -> None:
        if self.down:
            raise Unavailable("rpc", "switched off by a test")


@lru_cache(maxsize=READ_MAX)
def _read(raw: bytes) -> tuple[Mapping[str, Any], str]:
    """A transaction and who signed it; the same bytes come again and again."""
    signed = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return signed, Account.recover_transaction(raw).lower()


def _outside_receipt(header: Header, tx: MemoryTx) -> Receipt:
    return Receipt(
        tx_hash=tx.hash,
        block_number=header.number,
        block_hash=header.hash,
        succeeded=tx.succeeded,
        transfers=tuple(
            (
                "0x" + log.address.hex(),
                "0x" + log.topics[1][12:].hex(),
                "0x" + log.topics[2][12:].hex(),
                int.from_bytes(log.data, "big"),
            )
            for log in (tx.logs if tx.succeeded else ())
            if len(log.topics) == 3 and log.topics[0] == TRANSFER_TOPIC
        ),
        gas_used=GAS_USED,
        effective_gas_price=(header.base_fee or 0) + FEES[1],
    )
