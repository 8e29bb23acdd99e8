"""What customers, miners and reorgs do to the chains.

Shapes  Transactions wait in a chain's mempool until a step mines. A reorg decides the fate of each
        transaction it takes out; what is delayed waits again only after the new branch has grown.
        No reorg takes out a block that the chain has called final.
        Refunds' own transactions have a nonce that nobody else can use: where another would be
        replaced, they are dropped.
Units   base units; unix seconds of blocks, which never run ahead of virtual time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from random import Random  # noqa: TID251 - seeded by a step's salt

from adapters.memory.chain import MemoryBlock, MemoryChain, MemoryTx
from adapters.memory.chain_encoding import TRANSFER_TOPIC, address_bytes, transfer_log, word
from application.chain_source import ReceiptLog
from domain.networks import Network
from simulation import setting
from simulation import steps as s
from simulation.evidence import Json
from simulation.servers import Servers

UNITS_OF_A_CENT = 10_000  # every token of the setting has six decimals
PAYERS_BEGIN = 0xBA << 152
STRANGERS_BEGIN = 0x57 << 152
FAKE_TOKEN = "0xfa" + "ce" * 19
REORG_SECONDS_MAX = 6 * 3_600  # 64 blocks are minutes; here a chain may stand still for days
MANY_BLOCKS, TOGETHER_BLOCKS = 4, 3
BEGAN_S = int(setting.BEGINS_AT.timestamp())


def payer_address(number: int) -> str:
    return f"0x{PAYERS_BEGIN + number + 1:040x}"


def stranger_address(random: Random) -> str:
    return f"0x{STRANGERS_BEGIN + random.getrandbits(64):040x}"


@dataclass
class ChainHand:
    servers: Servers
    pass_time: Callable[[float], None]  # seconds, with the workers at work
    left: dict[str, str] = field(default_factory=dict)  # network: head of the branch last left

    def chain(self, network: str) -> MemoryChain:
        return self.servers.chains[network]

    def now_s(self) -> int:
        return BEGAN_S + self.servers.loop.now_us // 1_000_000

    # ------------------------------------------------------------ transactions

    def pay(self, step: s.Pay, session: Json, beside: Json | None) -> MemoryTx:
        """`session` and `beside` are what the client was answered."""
        random = Random(f"pay {step.salt}")  # noqa: S311 - repeatable
        network = _elsewhere(session["network"]) if step.elsewhere else session["network"]
        book = setting.BOOK.get(network)
        token = _token(step.asset, book, session["asset"].rpartition(":")[2])
        sender = payer_address(step.payer)
        units = self._share(step.share, session, random)
        logs = [
            transfer_log(token, sender, session["address"], piece)
            for piece in _pieces(units, step.pieces, random)
        ]
        if beside is not None:
            logs.append(transfer_log(token, sender, beside["address"], beside["units"]))
            random.shuffle(logs)
        return self.chain(network).transaction(*logs, succeeded=not step.failed)

    def _share(self, share: s.Share, session: Json, random: Random) -> int:
        due: int = session["units"]
        match share:
            case "exact":
                return due
            case "short":
                return max(1, due * random.randrange(5, 96) // 100)
            case "almost":
                less = random.choice((1, 500, 30_000, 50_000, due // 200, due // 100, due // 10))
                return max(1, due - less)
            case "rest":
                here = self._received(session)
                return due - here if 0 < here < due else due
            case "over":
                return due + random.randrange(1, due + 1)
            case "dust":
                return 1
            case "odd":
                return due + random.randrange(1, 200)

    def _received(self, session: Json) -> int:
        token = session["asset"].rpartition(":")[2]
        return self.chain(session["network"]).balance(token, session["address"])

    def pay_stranger(self, step: s.PayStranger, session: Json | None) -> None:
        random = Random(f"stranger {step.salt}")  # noqa: S311 - repeatable
        network = _network(step.network)
        to = stranger_address(random) if session is None else session["address"]
        token, sender = network.tokens[0].address, payer_address(0)
        if step.shape == "stranger":
            to = stranger_address(random)
        log = transfer_log(token, sender, to, random.randrange(1, 10**9))
        self.chain(network.name).transaction(_posing(step.shape, log, to))

    def top_up(self, step: s.TopUp, wallet: str, network: Network) -> None:
        token = network.tokens[step.token % len(network.accepted_tokens())]
        sender = f"0x{0x0E << 152 | step.merchant + 1:040x}"
        units = step.cents * UNITS_OF_A_CENT
        self.chain(network.name).transfer(token.address, sender, wallet, units)

    # ------------------------------------------------------------ blocks

    def mine(self, network: str, blocks: int) -> None:
        """Each a block time after the one before; of many, several come into sight at once."""
        seconds = setting.BOOK.get(network).block_seconds
        while blocks > 0:
            together = min(blocks, 1 if blocks < MANY_BLOCKS else TOGETHER_BLOCKS)
            self.pass_time(seconds * together)
            for later in reversed(range(together)):
                self._mine_by(network, self.now_s() - seconds * later)
            blocks -= together

    def mine_now(self, network: str) -> MemoryBlock:
        """A block of this second, or of the first one that its parent allows."""
        return self._mine_by(network, self.now_s())

    def mine_at_once(self, network: str, blocks: int) -> None:
        """A second apart, and shown all together."""
        first = self.chain(network).blocks[-1].header.timestamp + 1
        self.pass_time(max(0, first + blocks - 1 - self.now_s()))
        first = max(first, self.now_s() - blocks + 1)
        for later in range(blocks):
            self._mine(network, first + later)

    def _mine_by(self, network: str, at_s: int) -> MemoryBlock:
        first = self.chain(network).blocks[-1].header.timestamp + 1
        if first > self.now_s():
            self.pass_time(first - self.now_s())
        return self._mine(network, max(at_s, first))

    def _mine(self, network: str, at_s: int) -> MemoryBlock:
        at = datetime.fromtimestamp(at_s, UTC)
        block = self.chain(network).mine(at=at)
        self.servers.mined_at_us[block.header.hash] = self.servers.loop.now_us
        self.servers.trace.add("block", network, block.header.number, block.header.hash)
        for (forked, _), fork in self.servers.forks.chains.items():
            if forked == network:
                younger = fork.blocks[-1].header.timestamp + 1
                fork.mine(at=datetime.fromtimestamp(max(at_s, younger), UTC))
        return block

    def mine_at(self, network: str, at_s: int) -> None:
        if self.chain(network).blocks[-1].header.timestamp >= at_s:
            return
        left = at_s - self.now_s()
        if left > 0:
            self.pass_time(left)
        self._mine(network, at_s)

    def reorg(self, step: s.Reorg) -> None:
        network = _network(step.network)
        chain = self.chain(network.name)
        depth = step.depth
        if step.at_confirmation:
            depth = _asked_for(network, step.salt) + step.depth - 1
        depth = min(depth, chain.head - chain.final, self._young(chain))
        if depth < 1:
            return
        random = Random(f"reorg {step.salt}")  # noqa: S311 - repeatable
        self.left[network.name] = chain.blocks[-1].header.hash
        self._leave(chain.blocks[-depth:])
        lost = chain.reorg(depth, keep=False)
        self.servers.faults.count(f"chain.{network.name}.reorg")
        now, later = self._sorted_by_fate(chain, lost, step.fate, random)
        chain.mempool[:0] = now
        self._regrow(network, step.regrow)
        chain.mempool.extend(later)

    def _leave(self, blocks: list[MemoryBlock]) -> None:
        for block in blocks:
            self.servers.left_at_us.setdefault(block.header.hash, self.servers.loop.now_us)

    def _young(self, chain: MemoryChain) -> int:
        """How many blocks are younger than what any chain would still throw out."""
        oldest_s = self.now_s() - REORG_SECONDS_MAX
        young = 0
        for block in reversed(chain.blocks):
            if block.header.timestamp < oldest_s:
                break
            young += 1
        return young

    def _regrow(self, network: Network, blocks: int) -> None:
        """As one branch that was mined meanwhile, and is shown all at once."""
        chain = self.chain(network.name)
        for _ in range(blocks):
            parent_s = chain.blocks[-1].header.timestamp
            at_s = max(parent_s + 1, min(parent_s + network.block_seconds, self.now_s()))
            if at_s > self.now_s():
                self.pass_time(at_s - self.now_s())
            self._mine(network.name, at_s)

    def _sorted_by_fate(
        self, chain: MemoryChain, lost: list[MemoryTx], fate: s.Fate, random: Random
    ) -> tuple[list[MemoryTx], list[MemoryTx]]:
        now: list[MemoryTx] = []
        later: list[MemoryTx] = []
        count = self.servers.faults.count
        fates: tuple[s.Fate, ...] = ("keep", "delay", "drop", "replace")
        for tx in lost:
            own = random.choice(fates) if fate == "mixed" else fate
            count(f"chain.tx_{own}")
            if own == "keep":
                now.append(_again(tx))
            elif own == "delay":
                later.append(_again(tx))
            elif own == "revert" and tx.sender is None:
                now.append(replace(tx, succeeded=bool(random.randrange(2))))
            elif own == "revert":
                now.append(_again(tx))
            elif own == "replace" and tx.sender is None:
                _replaced(chain, tx, random)
        if len(now) > 1:
            random.shuffle(now)
        return now, later

    def restore(self, step: s.Restore) -> None:
        network = _network(step.network).name
        left = self.left.pop(network, None)
        if left is None:
            return
        chain = self.chain(network)
        if chain.shared_with(left) < chain.final:
            return
        head = chain.blocks[-1].header.hash
        was = {tx.hash: tx for block in chain.blocks for tx in block.txs}
        before = list(chain.blocks)
        chain.restore(left)
        self._leave(before[chain.shared_with(head) + 1 :])
        if chain.blocks[-1].header.hash == head:
            return
        stay = {tx.hash for block in chain.blocks for tx in block.txs}
        waiting = {tx.hash for tx in chain.mempool}
        missing = [_again(tx) for name, tx in was.items() if name not in stay | waiting]
        chain.mempool[:0] = missing
        self.servers.faults.count(f"chain.{network}.restore")
        self._regrow(setting.BOOK.get(network), 1)

    # ------------------------------------------------------------ a provider of its own mind

    def fork(self, network: str, provider: int, salt: int, addresses: list[Json]) -> None:
        """A branch that looks right, in which other people paid."""
        random = Random(f"fork {salt}")  # noqa: S311 - repeatable
        chain = self.chain(network)
        if not chain.head:
            return  # a reorg has left the first block only
        branch = chain.copy()
        depth = min(random.randrange(1, 5), branch.head)
        branch.reorg(depth, keep=bool(random.randrange(2)))
        here = [each for each in addresses if each["network"] == network]
        if here:
            lucky = random.choice(here)
            token = lucky["asset"].rpartition(":")[2]
            branch.transfer(token, payer_address(9), lucky["address"], lucky["units"])
        for _ in range(depth + random.randrange(2)):
            at_s = branch.blocks[-1].header.timestamp + 1
            branch.mine(at=datetime.fromtimestamp(at_s, UTC))
        self.servers.forks.chains[network, provider] = branch


def _network(number: int) -> Network:
    networks = setting.BOOK.networks
    return networks[number % len(networks)]


def _asked_for(network: Network, salt: int) -> int:
    """Confirmations that one rule of the network's policy asks for: its first, or its deepest."""
    policy = network.policy
    deepest = max([policy.blocks, *(tier.rule.blocks for tier in policy.tiers)])
    return deepest if salt % 2 else policy.blocks


def _elsewhere(network: str) -> str:
    names = [each.name for each in setting.BOOK.networks]
    live = [each.name for each in setting.BOOK.networks if each.mode == "live"]
    among = live if network in live else names
    return among[(among.index(network) + 1) % len(among)]


def _token(asset: s.Asset, network: Network, right: str) -> str:
    accepted = [token.address for token in network.accepted_tokens()]
    match asset:
        case "right":
            return right if right in accepted else accepted[0]
        case "other":
            others = [address for address in accepted if address != right]
            return others[0]
        case "bridged":
            bridged = [token.address for token in network.tokens if not token.accepted]
            return bridged[0] if bridged else FAKE_TOKEN
        case "fake":
            return FAKE_TOKEN


def _pieces(units: int, count: int, random: Random) -> list[int]:
    """So many parts of at least one unit, if there are so many units."""
    count = max(1, min(count, units))
    cuts = sorted(random.sample(range(1, units), count - 1)) if count > 1 else []
    edges = [0, *cuts, units]
    return [after - before for before, after in pairwise(edges)]


def _posing(shape: s.StrangeShape, log: ReceiptLog, to: str) -> ReceiptLog:
    topic, sender, recipient = log.topics
    match shape:
        case "four_topics":
            return replace(log, topics=(topic, sender, recipient, log.data), data=b"")
        case "short_data":
            return replace(log, data=log.data[1:])
        case "dirty":
            return replace(log, topics=(topic, b"\1" + sender[1:], recipient))
        case "no_value":
            return replace(log, data=bytes(32))
        case "to_itself":
            own = word(address_bytes(to))
            return replace(log, topics=(TRANSFER_TOPIC, own, own))
        case "stranger":
            return log


def _again(tx: MemoryTx) -> MemoryTx:
    """A signed one is executed anew; what it can move depends on the new branch."""
    return replace(tx, succeeded=True) if tx.moves is not None else tx


def _replaced(chain: MemoryChain, tx: MemoryTx, random: Random) -> None:
    logs = []
    for log in tx.logs:
        if len(log.topics) != 3 or len(log.data) != 32:
            continue
        units = int.from_bytes(log.data)
        if random.randrange(2):
            to = word(address_bytes(stranger_address(random)))
            logs.append(replace(log, topics=(log.topics[0], log.topics[1], to)))
        elif units > 1:
            logs.append(replace(log, data=random.randrange(1, units).to_bytes(32)))
    chain.transaction(*logs)
