"""One session added up in the order of its log, with the amounts of the chain.

Shapes  A Tally says what each fact obliges the gateway to record next, and where the session
        stood at every version: webhooks are checked against that, and oracle_sessions.py
        against the final chain.
Rules   A4: partial payments add up; what was given back before completion pays for nothing.
        B4: a loss below the amount due reverses a completed payment.
        F2: 0.5 % of the completed amount, half up, less where a loss reduces it.
Units   base units; microseconds since 1970.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from simulation.evidence import LogRow, Violation
from simulation.oracle_truth import SESSION, Case, Opened, plain, us_of

FEE_SHARE = 200  # one two-hundredth is 0.5 %


def fee_of(units: int) -> int:
    """Half a percent, and what is exactly between two base units goes up."""
    whole, rest = divmod(units, FEE_SHARE)
    return whole + (1 if 2 * rest >= FEE_SHARE else 0)


@dataclass(frozen=True, slots=True)
class Standing:
    status: str
    exceptions: frozenset[str]
    received: int
    confirmed: int
    refunded: int
    transfers: frozenset[tuple[str, int, str]]  # id, units, state


@dataclass(slots=True)
class Arrived:
    units: int
    state: str  # seen, safe, gone, lost
    late: bool


@dataclass(slots=True)
class Returned:
    units: int
    state: str  # held, paid, free
    early: bool


@dataclass(slots=True)
class Tally:
    opened: Opened
    transfers: dict[str, Arrived] = field(default_factory=dict)
    refunds: dict[str, Returned] = field(default_factory=dict)
    ended: str | None = None
    covered: bool = False
    complete: bool = False
    fee: int = 0
    standings: dict[int, Standing] = field(default_factory=dict)  # by version

    def sum(self, *states: str) -> int:
        return sum(each.units for each in self.transfers.values() if each.state in states)

    def refund_sum(self, *states: str) -> int:
        return sum(each.units for each in self.refunds.values() if each.state in states)

    def _early(self) -> int:
        return sum(one.units for one in self.refunds.values() if one.early and one.state != "free")

    def kept(self, *states: str) -> int:
        """What counts towards the amount due."""
        return max(0, self.sum(*states) - self._early())

    @property
    def enough(self) -> int:
        """What completes it: the amount due, less what the merchant lets be missing."""
        return self.opened.due - self.opened.tolerance

    @property
    def enough_seen(self) -> bool:
        return self.kept("seen", "safe") >= self.enough

    @property
    def enough_safe(self) -> bool:
        return self.kept("safe") >= self.enough

    @property
    def lacking(self) -> int:
        """What the payer would be asked for; nothing where there is enough."""
        return 0 if self.enough_seen else self.opened.due - self.kept("seen", "safe")

    def so_far(self) -> Standing:
        """As recorded up to here: what is owed and not yet recorded does not count."""
        return self._standing(complete=self.complete, covered=self.covered)

    def in_the_end(self) -> Standing:
        """As the sums alone say it."""
        return self._standing(complete=self.enough_safe, covered=self.enough_seen)

    def _standing(self, *, complete: bool, covered: bool) -> Standing:
        confirmed, refunded = self.sum("safe"), self.refund_sum("paid")
        status = "pending"
        if complete:
            status = "completed"
            if refunded:
                status = "refunded" if refunded >= confirmed else "partially_refunded"
        elif covered:
            status = "confirming"
        elif self.ended:
            status = "failed"
        return Standing(
            status,
            self._exceptions(),
            self.sum("seen", "safe"),
            confirmed,
            refunded,
            frozenset((key, one.units, one.state) for key, one in self.transfers.items()),
        )

    def _exceptions(self) -> frozenset[str]:
        there = [each for each in self.transfers.values() if each.state in {"seen", "safe"}]
        kept, due = self.kept("seen", "safe"), self.opened.due
        marks = {
            "underpaid": bool(there) and kept < due,
            "overpaid": kept > due,
            "paid_late": any(each.late for each in there),
            "multiple_transfers": len(there) > 1,
            "reversed": any(each.state == "lost" for each in self.transfers.values()),
        }
        return frozenset(name for name, holds in marks.items() if holds)


def tallies(case: Case, found: dict[str, Tally]) -> Iterator[Violation]:
    """Fills in the tally of every session, and says what was wrong on the way."""
    for session, opened in case.sessions.items():
        tally = found[session] = Tally(opened)
        owed: frozenset[str] = frozenset()
        for row in case.streams[SESSION, session]:
            if owed and row.name not in owed:
                yield Violation("fact_missing", f"{_at(row)}: {sorted(owed)} was due first")
            handler = HANDLERS.get(row.name)
            yield from handler(case, tally, row) if handler else ()
            owed = _owed(tally, row, owed)
            tally.standings[row.version] = tally.so_far()
        if owed:
            yield Violation("fact_missing", f"session {session} ends without {sorted(owed)}")


def as_of(case: Case, session: str, position: int, *, without: str = "") -> Tally:
    """The tally of a session before a position of the log, one transfer left out."""
    tally = Tally(case.sessions[session])
    for row in case.streams[SESSION, session]:
        handler = HANDLERS.get(row.name)
        left_out = bool(without) and row.data.get("transfer_id") == without
        if handler is not None and row.position < position and not left_out:
            deque(handler(case, tally, row), maxlen=0)
    return tally


def _at(row: LogRow) -> str:
    return f"{row.name} at session {row.stream_id}@{row.version}"


def _owed(tally: Tally, row: LogRow, before: frozenset[str]) -> frozenset[str]:
    """What has to be recorded next, in the same breath."""
    left = before - {row.name}
    if row.name in {"transfer.observed", "payment.refund_released"} and tally.enough_seen:
        left |= frozenset() if tally.covered else {"payment.covered"}
    if row.name in {"transfer.confirmed", "payment.refund_released"} and tally.enough_safe:
        left |= frozenset() if tally.complete else {"payment.completed"}
    if row.name == "transfer.reversed" and tally.complete:
        if not tally.enough_safe:
            left |= {"payment.reversed"}
        elif fee_of(tally.kept("safe")) < tally.fee:
            left |= {"payment.reduced"}
    return left


def _moved(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    states = {"confirmed": "safe", "retracted": "gone", "reversed": "lost"}
    transfer = tally.transfers.get(row.data["transfer_id"])
    if transfer is None:
        yield Violation("edge_not_allowed", f"{_at(row)}: never observed")
        return
    transfer.state = states[row.name.partition(".")[2]]
    tally.covered = tally.covered and tally.enough_seen


def _covered(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    if not tally.enough_seen or int(row.data["seen"]["units"]) != tally.sum("seen", "safe"):
        yield Violation("covered_wrongly", _at(row))
    tally.covered = True


def _refund_ended(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    states = {"refunded": "paid", "refund_released": "free", "refund_reversed": "held"}
    refund = tally.refunds.get(plain(row.data["refund_id"]))
    if refund is None or refund.units != int(row.data["amount"]["units"]):
        yield Violation("refund_wrong", f"{_at(row)}: not what was reserved")
        return
    refund.state = states[row.name.partition(".")[2]]
    total = tally.refund_sum("paid")
    if int(row.data.get("refunded_total", {"units": total})["units"]) != total:
        yield Violation("sums_wrong", f"{_at(row)}: refunded {total} in all")


def _expired(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    if tally.enough_seen or us_of(row.data["at"]) < tally.opened.expires_us:
        yield Violation("expired_wrongly", _at(row))
    tally.ended = "expired"


def _cancelled(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    if tally.sum("seen", "safe"):
        yield Violation("cancelled_wrongly", f"{_at(row)}: money is there")
    tally.ended = "cancelled"


def _observed(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    data = row.data
    transfer_id = data["transfer_id"]
    real = case.ever.get((transfer_id, data["block_hash"]))
    said = int(data["amount"]["units"])
    if real is not None and (real.units, real.sender) != (said, data["payer"]):
        yield Violation("sighting_wrong", f"{_at(row)}: {said}, really {real.units}")
    units = case.units.get(transfer_id, said)
    late = us_of(data["block_time"]) >= tally.opened.expires_us
    if late != data["late"]:
        yield Violation("late_wrongly", f"{_at(row)}: late is {data['late']}")
    tally.transfers.pop(transfer_id, None)
    tally.transfers[transfer_id] = Arrived(units, "seen", late)


def _completed(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    total, amount, fee = tally.kept("safe"), row.data["amount"], row.data["fee"]
    if not tally.enough_safe or int(amount["units"]) != total:
        short = f"{amount['units']} of {tally.opened.due}, really {total}"
        yield Violation("completed_wrongly", f"{_at(row)}: {short}")
    if int(fee["units"]) != fee_of(total):
        yield Violation("fee_wrong", f"{_at(row)}: {fee['units']}, rightly {fee_of(total)}")
    tally.complete, tally.fee = True, fee_of(total)


def _lessened(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    left, fee = tally.kept("safe"), int(row.data["fee"]["units"])
    if int(row.data["amount"]["units"]) != left:
        yield Violation("completed_wrongly", f"{_at(row)}: {left} are left")
    if row.name == "payment.reversed":
        if tally.enough_safe:
            yield Violation("reversed_wrongly", f"{_at(row)}: {left} are left, and enough")
        if fee != tally.fee:
            yield Violation("fee_wrong", f"{_at(row)}: gives {fee} back of {tally.fee}")
        tally.complete, tally.fee = False, 0
        return
    returned = int(row.data["fee_returned"]["units"])
    if (fee, returned) != (fee_of(left), tally.fee - fee_of(left)):
        yield Violation("fee_wrong", f"{_at(row)}: {fee} and {returned} back")
    tally.fee = fee_of(left)


def _reserved(case: Case, tally: Tally, row: LogRow) -> Iterator[Violation]:
    del case
    units = int(row.data["amount"]["units"])
    free = tally.sum("safe") - tally.refund_sum("held", "paid")
    if not 0 < units <= free:
        yield Violation("refund_exceeds_received", f"{_at(row)}: {units} of {free}")
    refund = Returned(units, "held", early=not tally.complete)
    tally.refunds[plain(row.data["refund_id"])] = refund
    tally.covered = tally.covered and tally.enough_seen


HANDLERS: dict[str, Callable[[Case, Tally, LogRow], Iterator[Violation]]] = {
    "transfer.observed": _observed,
    "transfer.confirmed": _moved,
    "transfer.retracted": _moved,
    "transfer.reversed": _moved,
    "payment.covered": _covered,
    "payment.completed": _completed,
    "payment.reduced": _lessened,
    "payment.reversed": _lessened,
    "payment.refund_reserved": _reserved,
    "payment.refund_released": _refund_ended,
    "payment.refunded": _refund_ended,
    "payment.refund_reversed": _refund_ended,
    "payment_session.expired": _expired,
    "payment_session.cancelled": _cancelled,
}
