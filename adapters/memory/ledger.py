"""The books at any position, in memory: the twin of adapters/ledger_reads.py on a MemoryLog.

Shapes  Every answer goes through the legs and the rows from the beginning: plain and slow, so
        that it can be believed beside the other's index.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from adapters.event_store_books import AccountKey
from adapters.memory.store import MemoryLog, PostedLeg
from application.ports import Recorded
from application.statements import CHART, OF_ACCEPTED, Balance, Booked, Turnover
from domain.events import Event, JournalEntryPosted, PaymentCompleted
from domain.journal import account
from domain.values import Mode


class MemoryLedger:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def head(self) -> int:
        return len(self._log.recorder.rows)

    async def position_before(self, moment: datetime) -> int:
        rows = self._log.recorder.rows
        return max((r.position for r in rows if r and r.recorded_at < moment), default=0)

    async def balance_at(self, account: str, asset: str, position: int) -> int:
        return self._sums(self._legs(0, position)).get((account, asset), 0)

    async def balances_at(
        self, position: int, merchant_id: UUID | None = None
    ) -> Sequence[Balance]:
        legs = [
            each
            for each in self._legs(0, position)
            if merchant_id is None or each.leg.account in _accounts(merchant_id)
        ]
        modes = {(each.leg.account, each.leg.asset): self._mode(each.position) for each in legs}
        sums = self._sums(iter(legs))
        return [Balance(*key, units, modes[key]) for key, units in sorted(sums.items())]

    async def turnovers(self, merchant_id: UUID, after: int, upto: int) -> Sequence[Turnover]:
        sums: defaultdict[AccountKey, list[int]] = defaultdict(lambda: [0, 0])
        for each in self._legs(after, upto):
            if each.leg.account in _accounts(merchant_id):
                units = each.leg.units
                sums[each.leg.account, each.leg.asset][units < 0] += abs(units)
        return [Turnover(*key, *moved) for key, moved in sorted(sums.items())]

    async def booked(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]:
        sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for fact in self._facts(merchant_id, mode, after, upto):
            if not isinstance(fact.event, JournalEntryPosted):
                continue
            cause = fact.event.cause.partition(" ")[0]
            for number, posting in enumerate(fact.event.postings):
                kinds = {side.partition(":")[0] for side in (posting.debit, posting.credit)}
                if "merchant_payable" in kinds:
                    cause = OF_ACCEPTED.get(cause, cause)
                row = sums[cause, posting.amount.asset]
                row[0] += number == 0
                row[1] += posting.amount.units
        return [Booked(*key, *row) for key, row in sorted(sums.items())]

    async def completed(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]:
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for fact in self._facts(merchant_id, mode, after, upto):
            if isinstance(fact.event, PaymentCompleted):
                row = sums[fact.event.amount.asset]
                row[0] += 1
                row[1] += fact.event.amount.units
        return [Booked("payment.completed", asset, *row) for asset, row in sorted(sums.items())]

    def _legs(self, after: int, upto: int) -> Iterator[PostedLeg]:
        return (each for each in self._log.postings if after < each.position <= upto)

    @staticmethod
    def _sums(legs: Iterator[PostedLeg]) -> dict[AccountKey, int]:
        sums: defaultdict[AccountKey, int] = defaultdict(int)
        for each in legs:
            sums[each.leg.account, each.leg.asset] += each.leg.units
        return sums

    def _mode(self, position: int) -> Mode | None:
        row = self._log.recorder.rows[position - 1]
        return row.mode if row is not None else None

    def _facts(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Iterator[Recorded[Event]]:
        for row in self._log.recorder.rows[after:upto]:
            if row is not None and (row.merchant_id, row.mode) == (merchant_id, mode):
                yield self._log.decoded(row)


def _accounts(merchant_id: UUID) -> frozenset[str]:
    return frozenset(account(kind, merchant_id) for kind in CHART)
