"""What really happened on the chains, and the log sorted for those who ask about it.

Shapes  A Moved is one Transfer log that counts, in one block of any branch. `final` has those
        of the canonical chains by transfer id, `ever` those of all branches by id and block.
        Case is all that the other parts of the oracle read.
Rules   B2 of the requirements: emitted by the configured token, the right topic, three topics,
        32 bytes of data, status 1. Nothing moved when the value is zero or the address pays
        itself, and an address fills 20 of a topic's 32 bytes.
Units   base units; microseconds since 1970.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from simulation.evidence import BlockFacts, Evidence, Json, LogFacts, LogRow, NetworkFacts

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLEAN = "0" * 24
TAG_WINDOW = 256
SESSION, TRANSFERS, REFUND = "payment_session", "onchain_transfer", "refund"
MERCHANT, DELIVERY, JOURNAL = "merchant", "webhook_delivery", "journal_entry"


def us_of(text: str) -> int:
    """Microseconds of an RFC 3339 moment."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def plain(uuid: str) -> str:
    return uuid.replace("-", "")


@dataclass(frozen=True, slots=True)
class Moved:
    id: str
    network: str
    asset: str
    token: str
    units: int
    sender: str
    recipient: str
    tx_hash: str
    number: int
    block_hash: str
    time_us: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Who was given a watched address."""

    purpose: str  # payment_session, merchant_wallet, refund_float
    subject: str
    merchant: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A session as it was agreed."""

    session: str
    merchant: str
    mode: str
    network: str
    asset: str
    due: int
    address: str
    expires_us: int
    credits_until_us: int
    position: int
    created_us: int = 0
    tolerance: int = 0  # so much may be missing
    shares_wallet: bool = False  # paid to the merchant's one wallet, by evidence


@dataclass(frozen=True, slots=True)
class Rule:
    """So many confirmations, or a block that the chain itself calls safe or final."""

    blocks: int
    tag: str | None = None


@dataclass(slots=True)
class Case:
    evidence: Evidence
    networks: dict[str, NetworkFacts] = field(default_factory=dict)
    final: dict[str, Moved] = field(default_factory=dict)
    ever: dict[tuple[str, str], Moved] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)  # by transfer id, of any branch
    sighted: Counter[str] = field(default_factory=Counter)  # in how many blocks, of any branch
    blocks: dict[str, BlockFacts] = field(default_factory=dict)  # of any branch, by hash
    children: dict[str, list[str]] = field(default_factory=dict)
    canonical: dict[str, str] = field(default_factory=dict)  # block hash to its network
    heads: dict[str, BlockFacts] = field(default_factory=dict)
    streams: dict[tuple[str, str], list[LogRow]] = field(default_factory=dict)
    sessions: dict[str, Opened] = field(default_factory=dict)
    owners: dict[tuple[str, str], Owner] = field(default_factory=dict)  # mode, address
    policies: dict[tuple[str, int], Json] = field(default_factory=dict)  # network, version
    versions: dict[str, int] = field(default_factory=dict)  # of the policy, by transfer id
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)  # by the number of a write
    tops: dict[str, int] = field(default_factory=dict)  # the highest block there ever was
    inside: dict[str, list[Moved]] = field(default_factory=dict)  # by block hash
    reported: dict[tuple[str, str], int] = field(default_factory=dict)  # first, by id and block

    def of_type(self, stream_type: str) -> Iterable[tuple[str, list[LogRow]]]:
        return ((id_, rows) for (kind, id_), rows in self.streams.items() if kind == stream_type)

    def span(self, row: LogRow) -> tuple[int, int]:
        """First and last position of what was written together with this row."""
        if row.write is None:
            return row.position, row.position
        return self.spans[row.write]

    def depth(self, moved: Moved) -> int:
        """Confirmations: head number minus block number plus one."""
        return self.heads[moved.network].number - moved.number + 1

    def safe(self, moved: Moved) -> bool:
        """Deep enough on the final chain for the least that its terms can have asked for."""
        version = self.versions.get(moved.id, self.networks[moved.network].policy_version)
        rule = rule_by_tier(self, moved, version, recent_sum(self, moved, version))
        return self.meets(moved, rule)

    def meets(self, moved: Moved, rule: "Rule") -> bool:
        """Whether it is so deep, or so final, at the end."""
        if rule.tag is None:
            return self.depth(moved) >= rule.blocks
        below_head = self.networks[moved.network].below_head
        final = moved.number <= self.tops[moved.network] - below_head["finalized"]
        return final or (rule.tag == "safe" and self.depth(moved) > below_head["safe"])

    def owner(self, moved: Moved) -> Owner | None:
        return self.owners.get((self.networks[moved.network].mode, moved.recipient))

    def of_asset(self, asset: str) -> tuple[str, int]:
        """Symbol and decimals."""
        for network in self.networks.values():
            for token in network.tokens:
                if asset == _asset(network, token.address):
                    return token.symbol, token.decimals
        raise KeyError(asset)


def case_of(evidence: Evidence) -> Case:
    case = Case(evidence)
    case.networks = {network.name: network for network in evidence.networks}
    for chain in evidence.chains:
        network = case.networks[chain.network]
        case.heads[chain.network] = chain.canonical[-1]
        for block in (*chain.orphaned, *chain.canonical):
            case.blocks[block.hash] = block
            case.children.setdefault(block.parent, []).append(block.hash)
            top = max(case.tops.get(chain.network, 0), block.number)
            case.tops[chain.network] = top
            for moved in moves_in(block, network):
                case.ever[moved.id, moved.block_hash] = moved
                case.inside.setdefault(moved.block_hash, []).append(moved)
                case.units[moved.id] = moved.units
                case.sighted[moved.id] += 1
        for block in chain.canonical:
            case.canonical[block.hash] = chain.network
            if block.number > chain.started_after:
                case.final.update((moved.id, moved) for moved in moves_in(block, network))
    _sort_log(case)
    return case


def _sort_log(case: Case) -> None:
    streams: defaultdict[tuple[str, str], list[LogRow]] = defaultdict(list)
    for row in sorted(case.evidence.log, key=lambda each: each.position):
        streams[row.stream_type, row.stream_id].append(row)
        if row.write is not None:
            first, _ = case.spans.get(row.write, (row.position, 0))
            case.spans[row.write] = (first, row.position)
        if row.name == "onchain_transfer.observed":
            said = row.data["sighting"]
            place = (said["transfer_id"], said["block_hash"])
            case.reported.setdefault(place, int(row.data["report_number"]))
        if row.name == "payment_session.created":
            opened = _opened(row)
            case.sessions[opened.session] = opened
            owner = Owner("payment_session", opened.session, opened.merchant)
            if not opened.shares_wallet:
                case.owners.setdefault((opened.mode, opened.address), owner)
        if row.name == "merchant.receiving_address_set":
            owner = Owner("merchant_wallet", row.stream_id, row.stream_id)
            case.owners.setdefault((row.data["mode"], row.data["address"]), owner)
        if row.name == "network.confirmation_policy_set":
            policy = row.data["policy"]
            case.policies[row.data["network"], int(policy["version"])] = policy
        if row.name == "onchain_transfer.confirmed":
            case.versions[row.data["transfer_id"]] = int(row.data["policy_version"])
    case.streams = dict(streams)
    for merchant in case.evidence.merchants:
        owner = Owner("refund_float", merchant.merchant_id, merchant.merchant_id)
        case.owners[merchant.mode, merchant.refund_wallet] = owner


def _opened(row: LogRow) -> Opened:
    data = row.data
    expires_us = us_of(data["expires_at"])
    return Opened(
        session=row.stream_id,
        merchant=plain(data["merchant_id"]),
        mode=data["mode"],
        network=data["network"],
        asset=data["due"]["asset"],
        due=int(data["due"]["units"]),
        address=data["deposit_address"],
        expires_us=expires_us,
        credits_until_us=expires_us + int(data["grace_seconds"]) * 1_000_000,
        position=row.position,
        created_us=us_of(data["at"]),
        tolerance=int(data["tolerance"]["units"]) if "tolerance" in data else 0,
        shares_wallet=data.get("pay_by") == "merchant_wallet",
    )


def moves_in(block: BlockFacts, network: NetworkFacts) -> Iterable[Moved]:
    tokens = {token.address for token in network.tokens}
    for tx in block.txs:
        if not tx.succeeded:
            continue
        for index, log in enumerate(tx.logs):
            if log.address not in tokens or not moves(log):
                continue
            yield Moved(
                id=f"{network.chain_id}:{tx.hash}:{index}",
                network=network.name,
                asset=_asset(network, log.address),
                token=log.address,
                units=int(log.data, 16),
                sender="0x" + log.topics[1][26:],
                recipient="0x" + log.topics[2][26:],
                tx_hash=tx.hash,
                number=block.number,
                block_hash=block.hash,
                time_us=block.time_us,
            )


def moves(log: LogFacts) -> bool:
    return (
        len(log.topics) == 3
        and log.topics[0] == TRANSFER
        and len(log.data) == 66
        and int(log.data, 16) > 0
        and log.topics[1][2:26] == _CLEAN
        and log.topics[2][2:26] == _CLEAN
        and log.topics[1] != log.topics[2]
    )


def _asset(network: NetworkFacts, token: str) -> str:
    return f"eip155:{network.chain_id}/erc20:{token}"


# ---------------------------------------------------------------- how deep is deep enough


def rules_of(case: Case, network: str, version: int) -> list[tuple[int, Rule]]:
    """From how many dollars on which rule holds; the default one from nothing on."""
    policy = case.policies.get((network, version))
    if policy is None:
        return [(0, Rule(case.networks[network].confirmations))]
    default = Rule(int(policy["blocks"]), policy.get("tag"))
    tiers = (
        (int(tier["from_usd"]), Rule(int(tier["rule"]["blocks"]), tier["rule"].get("tag")))
        for tier in policy["tiers"]
    )
    return [(0, default), *tiers]


def tier_of(case: Case, moved: Moved, version: int, units: int) -> int:
    """Which of the rules an amount falls under, counted from the default one."""
    _, decimals = case.of_asset(moved.asset)
    starts = [start for start, _ in rules_of(case, moved.network, version)]
    return max(at for at, start in enumerate(starts) if units >= start * 10**decimals)


def rule_by_tier(case: Case, moved: Moved, version: int, units: int) -> Rule:
    rules = rules_of(case, moved.network, version)
    return rules[tier_of(case, moved, version, units)][1]


def recent_sum(case: Case, moved: Moved, version: int) -> int:
    """What the address had lately got of that asset when this was seen, itself included.

    The least that can have been known: what stands below in the same branch and was reported
    no later.
    """
    seen = case.reported.get((moved.id, moved.block_hash))
    window = _window(case, moved.network, version)
    total, block = 0, case.blocks.get(moved.block_hash)
    while block is not None and block.number > moved.number - window:
        for other in case.inside.get(block.hash, ()):
            told = case.reported.get((other.id, other.block_hash))
            known = seen is not None and told is not None and told <= seen
            same = (other.recipient, other.asset) == (moved.recipient, moved.asset)
            if same and (known or other.id == moved.id):
                total += other.units
        block = case.blocks.get(block.parent)
    return total


def _window(case: Case, network: str, newest: int) -> int:
    """How far back any rule of then looks; a tag is taken to look back TAG_WINDOW blocks."""
    versions = [each for name, each in case.policies if name == network and each <= newest]
    rules = [rule for each in versions for _, rule in rules_of(case, network, each)]
    return max((TAG_WINDOW if rule.tag else rule.blocks for rule in rules), default=1)
