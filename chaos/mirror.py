"""What an honest node knows: every block of every branch, verbatim as the chain's node gave it.

Shapes  A Block keeps the JSON of its header and receipts. The Mirror holds all blocks by hash, the
        canonical hashes by height, and the last few such lists, which is what a node that lags
        still believes. A View answers JSON-RPC from one list, as geth does: orphaned blocks are
        served by hash for as long as they are known, an unknown hash is null or an error.
Units   heights are block numbers.
Errors  RpcError is an answer of the node that says no. NotHere: the question is not about blocks;
        the proxy passes it on to the chain's node.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

LAG_BLOCKS_MAX = 4
FINAL_AFTER_BLOCKS, SAFE_AFTER_BLOCKS = 64, 32


class RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NotHere(Exception):  # noqa: N818 - not an error, another place to ask
    """Not a question about blocks."""


@dataclass(frozen=True, slots=True)
class Block:
    header: Json
    receipts: Sequence[Json]

    @property
    def number(self) -> int:
        return int(self.header["number"], 16)

    @property
    def hash(self) -> str:
        return str(self.header["hash"])

    @property
    def logs(self) -> Iterator[Json]:
        return (log for receipt in self.receipts for log in receipt["logs"])


class Mirror:
    def __init__(self, genesis: Block) -> None:
        self.blocks: dict[str, Block] = {genesis.hash: genesis}
        self._views: deque[list[str]] = deque([[genesis.hash]], maxlen=LAG_BLOCKS_MAX + 1)
        self.final = 0  # never goes back, as on a chain whose finality holds

    @property
    def canonical(self) -> list[str]:
        return self._views[-1]

    @property
    def head(self) -> int:
        return len(self.canonical) - 1

    def at(self, number: int) -> Block:
        return self.blocks[self.canonical[number]]

    def switch(self, fork: int, branch: Sequence[Block]) -> None:
        """The chain now goes on from height `fork` with these blocks."""
        assert fork >= self.final, "the chain itself keeps its word"
        self.blocks.update((block.hash, block) for block in branch)
        self._views.append(self.canonical[: fork + 1] + [block.hash for block in branch])
        self.final = max(self.final, self.head - FINAL_AFTER_BLOCKS)

    def view(self, lag: int = 0) -> "View":
        hashes = self._views[max(-1 - lag, -len(self._views))]
        return View(self.blocks, hashes, self.final)


class View:
    """One node's opinion of the chain."""

    def __init__(
        self,
        blocks: Mapping[str, Block],
        hashes: Sequence[str],
        final: int,
        *,
        clamps: bool = True,
    ) -> None:
        self.blocks = blocks
        self.hashes = hashes
        self._final = final
        self._clamps = clamps

    @property
    def head(self) -> int:
        return len(self.hashes) - 1

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        match method:
            case "eth_blockNumber":
                return hex(self.head)
            case "eth_getBlockByNumber":
                block = self.find(params[0])
                return None if block is None else block.header
            case "eth_getBlockByHash":
                block = self.by_hash(params[0])
                return None if block is None else block.header
            case "eth_getBlockReceipts":
                block = self.find(params[0])
                return None if block is None else block.receipts
            case "eth_getLogs":
                return self.logs(params[0])
        raise NotHere

    def find(self, name: str) -> Block | None:
        """By hash, number or tag."""
        if len(name) == 66:
            return self.by_hash(name)
        tags = {
            "latest": self.head,
            "safe": max(self._final, self.head - SAFE_AFTER_BLOCKS, 0),
            "finalized": self._final,
            "earliest": 0,
        }
        number = tags[name] if name in tags else int(name, 16)
        return self.blocks[self.hashes[number]] if number <= self.head else None

    def by_hash(self, block_hash: str) -> Block | None:
        block = self.blocks.get(block_hash.lower())
        return block if block is not None and block.number <= self.head else None

    def logs(self, query: Json) -> list[Json]:
        return [log for block in self._asked(query) for log in block.logs if _fits(log, query)]

    def _asked(self, query: Json) -> list[Block]:
        if "blockHash" in query:
            block = self.by_hash(query["blockHash"])
            if block is None:
                raise RpcError(-32000, "unknown block")
            return [block]
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last > self.head and not self._clamps:
            raise RpcError(-32602, "block range extends beyond current head block")
        return [self.blocks[found] for found in self.hashes[first : last + 1]]


def _fits(log: Json, query: Json) -> bool:
    wanted = query.get("address")
    if wanted is not None and log["address"].lower() not in _lower(wanted):
        return False
    for place, topic in enumerate(query.get("topics", ())):
        if topic is None:
            continue
        if place >= len(log["topics"]) or log["topics"][place].lower() not in _lower(topic):
            return False
    return True


def _lower(wanted: str | Sequence[str]) -> set[str]:
    return {wanted.lower()} if isinstance(wanted, str) else {each.lower() for each in wanted}
