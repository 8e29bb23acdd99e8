"""The judge: what the chain holds in the end against what was reported.

Shapes  Truth is read from the node itself after the last block; `ever` holds every transfer of
        every branch that really was, as the node gave it when it was mined.
        missed   a canonical transfer to a watched address without a confirmed report
        phantom  confirmed, not taken back, and not canonical
        forged   reported as attested, or as confirmed, and never on any real branch
        wrong    any other broken promise, in words: a gap in the numbers, a repeat, a report of
                 the new branch before the reorg, an open sighting that is not canonical
        It shares no code with chain_ingest.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adapters.postgres import Postgres
from application.chain_messages import ChainReport, ReorgReport, TransferReport
from chaos.driver import CHAIN_ID, TOKENS
from chaos.mirror import Json, Mirror
from chaos.strategies import Seen, Strategy
from gateway.local_chain import LocalChain

_TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
WRONG_SHOWN_MAX = 20


class Transfer(NamedTuple):
    transfer_id: str
    block_hash: str
    block_number: int
    token: str
    sender: str
    recipient: str
    units: int

    @property
    def seen(self) -> Seen:
        return self.transfer_id.split(":")[1], self.recipient, self.units


@dataclass
class Verdict:
    name: str
    payments: int = 0
    missed: int = 0
    phantom: int = 0
    forged: int = 0
    taken_back: int = 0
    twice: int = 0  # observed or confirmed again without having been retracted
    wrong: list[str] = field(default_factory=list)
    unattested_forged: int = 0

    @property
    def clean(self) -> bool:
        return not (self.missed or self.phantom or self.forged or self.wrong)

    def fault(self, text: str) -> None:
        if len(self.wrong) < WRONG_SHOWN_MAX:
            self.wrong.append(text)


def transfers_of(receipts: Iterable[Json], watched: AbstractSet[str]) -> Iterable[Transfer]:
    for receipt in receipts:
        if receipt["status"] != "0x1":
            continue
        for place, log in enumerate(receipt["logs"]):
            if log["address"].lower() not in TOKENS or log["topics"][0] != _TRANSFER:
                continue
            sender, recipient = ("0x" + topic[-40:] for topic in log["topics"][1:])
            units = int(log["data"], 16)
            if recipient in watched and units and sender != recipient:
                yield Transfer(
                    f"{CHAIN_ID}:{receipt['transactionHash']}:{place}",
                    log["blockHash"],
                    int(log["blockNumber"], 16),
                    log["address"].lower(),
                    sender,
                    recipient,
                    units,
                )


async def canonical(chain: LocalChain, watched: AbstractSet[str]) -> dict[str, Transfer]:
    """Asked of the node itself, which has one chain and lies to nobody."""
    found: dict[str, Transfer] = {}
    for number in range(1, await chain.head() + 1):
        receipts = await chain.rpc("eth_getBlockReceipts", hex(number))
        found.update((each.transfer_id, each) for each in transfers_of(receipts, watched))
    return found


def ever(mirror: Mirror, watched: AbstractSet[str]) -> set[Transfer]:
    return {
        each for block in mirror.blocks.values() for each in transfers_of(block.receipts, watched)
    }


# ---------------------------------------------------------------- ours


@dataclass
class _Open:
    """A sighting that has been observed and not retracted."""

    told: Transfer
    confirmed: bool = False


class Listener:
    """Believes the reports in the order of their numbers, and checks that it may."""

    def __init__(self, verdict: Verdict, real: AbstractSet[Transfer]) -> None:
        self.open: dict[str, _Open] = {}
        self._verdict = verdict
        self._real = real
        self._due: set[str] = set()

    def hear(self, report: ChainReport) -> None:
        if isinstance(report, ReorgReport):
            self._reorg(report)
            return
        told = _told(report)
        self._forged(report, told)
        if report.kind == "retracted":
            self._retracted(told, attested=report.sighting.attested)
            return
        if self._due:
            self._verdict.fault(
                f"{told.transfer_id} {report.kind} before {len(self._due)} retracted"
            )
        if report.kind == "observed":
            self._observed(told)
        else:
            self._confirmed(told)

    def _forged(self, report: TransferReport, told: Transfer) -> None:
        if told in self._real:
            return
        if report.kind == "confirmed" or (report.kind == "observed" and report.sighting.attested):
            self._verdict.forged += 1
        elif report.kind == "observed":
            self._verdict.unattested_forged += 1

    def _reorg(self, report: ReorgReport) -> None:
        above = {
            name for name, each in self.open.items() if each.told.block_number > report.fork_number
        }
        if self._due:
            self._verdict.fault(f"a reorg before {len(self._due)} retracted")
        if set(report.orphaned) != above:
            self._verdict.fault(
                f"report {report.report_number}: a reorg to {report.fork_number} names "
                f"{len(report.orphaned)} transfers, not the {len(above)} open above it"
            )
        self._due = set(report.orphaned)

    def _retracted(self, told: Transfer, *, attested: bool) -> None:
        """A reorg names it, or one provider had made it up: then a quorum has read the block."""
        known = self.open.pop(told.transfer_id, None)
        if known is None or known.told != told:
            self._verdict.fault(f"{told.transfer_id} retracted, and was not observed so")
        if told.transfer_id not in self._due and (attested or told in self._real):
            self._verdict.fault(f"{told.transfer_id} retracted without a reorg that names it")
        self._due.discard(told.transfer_id)
        if known is not None and known.confirmed:
            self._verdict.taken_back += 1

    def _observed(self, told: Transfer) -> None:
        if told.transfer_id in self.open:
            self._verdict.twice += 1
            self._verdict.fault(f"{told.transfer_id} observed twice")
        self.open[told.transfer_id] = _Open(told)

    def _confirmed(self, told: Transfer) -> None:
        known = self.open.get(told.transfer_id)
        if known is None or known.told != told:
            self._verdict.fault(f"{told.transfer_id} confirmed, and was not observed so")
        elif known.confirmed:
            self._verdict.twice += 1
            self._verdict.fault(f"{told.transfer_id} confirmed twice")
        else:
            known.confirmed = True


def judge(
    reports: Sequence[ChainReport],
    truth: Mapping[str, Transfer],
    real: AbstractSet[Transfer],
    *,
    name: str = "gateway",
) -> tuple[Verdict, dict[str, Any]]:
    """The verdict, and what is open in the end by transfer id."""
    verdict = Verdict(name, payments=len(truth))
    listener = Listener(verdict, real)
    in_order = sorted(reports, key=lambda each: each.report_number)
    for place, report in enumerate(in_order, start=1):
        if report.report_number != place:
            verdict.fault(f"report {place} is missing; the next one is {report.report_number}")
            break
    for report in in_order:
        listener.hear(report)
    for transfer_id, expected in truth.items():
        found = listener.open.get(transfer_id)
        if found is None or not found.confirmed:
            verdict.missed += 1
            verdict.fault(f"missed: {expected}, which is {'observed' if found else 'unknown'}")
        elif found.told != expected:
            verdict.fault(f"{transfer_id} confirmed as {found.told}, and is {expected}")
    for transfer_id, found in listener.open.items():
        if transfer_id not in truth:
            verdict.phantom += found.confirmed
            verdict.fault(f"open and not canonical: {found.told}")
    return verdict, {name: each.told for name, each in listener.open.items()}


def _told(report: TransferReport) -> Transfer:
    sighting = report.sighting
    return Transfer(
        sighting.transfer_id,
        sighting.block_hash,
        sighting.block_number,
        sighting.token,
        sighting.sender,
        sighting.recipient,
        sighting.amount.units,
    )


# ---------------------------------------------------------------- the others


def judge_usual(
    strategy: Strategy, truth: Mapping[str, Transfer], real: AbstractSet[Transfer]
) -> Verdict:
    expected = Counter(each.seen for each in truth.values())
    existed = {each.seen for each in real}
    forged = sum(count for seen, count in strategy.ever.items() if seen not in existed)
    extra = strategy.confirmed - expected
    return Verdict(
        strategy.name,
        payments=len(truth),
        missed=(expected - strategy.confirmed).total(),
        phantom=sum(count for seen, count in extra.items() if seen in existed),
        forged=forged,
        taken_back=(strategy.ever - strategy.confirmed).total(),
    )


# ---------------------------------------------------------------- its tables


async def examine_rows(
    verdict: Verdict,
    postgres: Postgres,
    still_open: Mapping[str, Transfer],
    chain: Sequence[str],
) -> None:
    """The stored sightings are those open, and coverage has no gap and names real blocks."""
    async with postgres.connection() as connection:
        rows = await (
            await connection.execute(
                "SELECT transfer_id, block_hash FROM ingest.sightings WHERE state <> 'orphaned'"
            )
        ).fetchall()
        ranges = await (
            await connection.execute(
                "SELECT first, parent_hash, last, last_hash FROM ingest.coverage "
                "WHERE withdrawn_at IS NULL ORDER BY first"
            )
        ).fetchall()
    stored = sorted(rows)
    told = sorted((name, each.block_hash) for name, each in still_open.items())
    if stored != told:
        verdict.fault(f"{len(stored)} canonical sightings stored, {len(told)} told")
    wanted = 1
    for first, parent_hash, last, last_hash in ranges:
        if first != wanted or (parent_hash, last_hash) != (chain[first - 1], chain[last]):
            verdict.fault(f"coverage of {first} to {last} does not fit the chain")
        wanted = last + 1
    if wanted != len(chain):
        verdict.fault(f"covered up to block {wanted - 1} of {len(chain) - 1}")
