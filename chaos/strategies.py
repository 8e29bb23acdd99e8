"""The usual ways to watch a chain, beside ours, on the same providers.

Shapes  RangeFailover  polls the head, reads ranges of logs, trusts the first that answers
        HashChain      follows parent hashes, reads logs by block hash, asks again when the bloom
                       says there is something and the answer is empty
        QuorumChain    the same, with each header agreed by two of three
        `confirmed` is what a shop would believe now, `ever` what it was told at some time.
Errors  of providers are waited for: the next poll goes on where the last one stopped.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from chaos.driver import TOKENS
from chaos.forge import TRANSFER, blooms
from chaos.mirror import Json
from chaos.rpc import Rpc, Silent

T = TypeVar("T")
BLOCKS_AT_ONCE_MAX = 50
QUORUM = 2
LOOK_BACK_BLOCKS_MAX = 128
_WANTED: Json = {"address": list(TOKENS), "topics": ["0x" + TRANSFER.hex()]}

Seen = tuple[str, str, int]
"""A transfer as a log tells of it: transaction, recipient, units; equal ones are counted."""


class Strategy:
    read_up_to = 0  # how far below the head it stops

    def __init__(
        self, name: str, clients: Sequence[Rpc], watched: AbstractSet[str], depth: int
    ) -> None:
        self.name = name
        self.clients = clients
        self.watched = watched
        self.depth = depth
        self.confirmed: Counter[Seen] = Counter()
        self.ever: Counter[Seen] = Counter()
        self.position = 0

    async def poll(self) -> None:
        raise NotImplementedError

    async def first(self, ask: Callable[[Rpc], Awaitable[T | None]]) -> T:
        """Failover: the first provider that gives something is believed."""
        for client in self.clients:
            try:
                answer = await ask(client)
            except Silent:
                continue
            if answer is not None:
                return answer
        raise Silent("nobody answers")

    def confirm(self, seen: Counter[Seen]) -> None:
        for each, count in seen.items():
            self.confirmed[each] += count
            self.ever[each] = max(self.ever[each], self.confirmed[each])

    def ours(self, logs: Iterable[Json]) -> Counter[Seen]:
        found: Counter[Seen] = Counter()
        for log in logs:
            sender, recipient = log["topics"][1:]
            to, units = "0x" + recipient[-40:], int(log["data"], 16)
            if to in self.watched and units and sender != recipient:
                found[log["transactionHash"], to, units] += 1
        return found


class RangeFailover(Strategy):
    """Everything up to `depth` blocks below the head, once, by ranges."""

    def __init__(
        self, name: str, clients: Sequence[Rpc], watched: AbstractSet[str], depth: int
    ) -> None:
        super().__init__(name, clients, watched, depth)
        self.read_up_to = depth

    async def poll(self) -> None:
        head = await self.first(Rpc.head)
        last = min(head - self.depth, self.position + BLOCKS_AT_ONCE_MAX)
        if last <= self.position:
            return
        query = _WANTED | {"fromBlock": hex(self.position + 1), "toBlock": hex(last)}
        logs = await self.first(lambda client: client.logs(query))
        self.confirm(self.ours(logs))
        self.position = last


class HashChain(Strategy):
    """Block by block along parent hashes, unwinding what is not there any more."""

    def __init__(
        self, name: str, clients: Sequence[Rpc], watched: AbstractSet[str], depth: int
    ) -> None:
        super().__init__(name, clients, watched, depth)
        self._chain: list[tuple[str, Counter[Seen]]] = []

    async def header(self, number: int) -> Json:
        return await self.first(lambda client: client.header(number))

    async def height(self) -> int:
        return await self.first(Rpc.head)

    async def poll(self) -> None:
        head = await self.height()
        for _ in range(BLOCKS_AT_ONCE_MAX):
            if self.position >= head:
                return
            header = await self.header(self.position + 1)
            if self._chain and header["parentHash"] != self._chain[-1][0]:
                await self._unwind()
                continue
            self._chain.append((header["hash"], await self._read(header)))
            self.position += 1
            if self.position > self.depth:
                self.confirm(self._chain[self.position - self.depth - 1][1])

    async def _unwind(self) -> None:
        for _ in range(LOOK_BACK_BLOCKS_MAX):
            if not self._chain or (await self.header(self.position))["hash"] == self._chain[-1][0]:
                return
            if self.position > self.depth:
                self.confirmed.subtract(self._chain[self.position - self.depth - 1][1])
            self._chain.pop()
            self.position -= 1

    async def _read(self, header: Json) -> Counter[Seen]:
        bloom = bytes.fromhex(header["logsBloom"][2:])
        tokens = [bytes.fromhex(token[2:]) for token in TOKENS]
        if not (blooms(bloom, TRANSFER) and any(blooms(bloom, token) for token in tokens)):
            return Counter()
        query = _WANTED | {"blockHash": header["hash"]}
        logs = await self.first(lambda client: client.logs(query))
        if not logs:
            raise Silent("the bloom says that there is something")
        return self.ours(logs)


class QuorumChain(HashChain):
    """As above, but two of three must agree on each header; the logs are one provider's."""

    async def header(self, number: int) -> Json:
        votes: dict[str, int] = {}
        for header in await self._all(lambda client: client.header(number)):
            votes[header["hash"]] = votes.get(header["hash"], 0) + 1
            if votes[header["hash"]] == QUORUM:
                return header
        raise Silent(f"no two agree on block {number}")

    async def height(self) -> int:
        heads = sorted(await self._all(Rpc.head), reverse=True)
        if len(heads) < QUORUM:
            raise Silent("too few tell their head")
        return heads[QUORUM - 1]

    async def _all(self, ask: Callable[[Rpc], Awaitable[T | None]]) -> list[T]:
        answers = []
        for client in self.clients:
            try:
                answer = await ask(client)
            except Silent:
                continue
            if answer is not None:
                answers.append(answer)
        return answers


def usual(
    clients_for: Callable[[str], Sequence[Rpc]], watched: AbstractSet[str], depth: int
) -> list[Strategy]:
    return [
        RangeFailover("range-0", clients_for("range-0"), watched, 0),
        RangeFailover("range-12", clients_for("range-12"), watched, depth),
        HashChain("hash-chain", clients_for("hash-chain"), watched, depth),
        QuorumChain("quorum-bloom", clients_for("quorum-bloom"), watched, depth),
    ]
