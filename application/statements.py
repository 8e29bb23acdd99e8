"""Books for people: balances at any position, and a month's statement with its invoice.

Shapes  A month is a range of log positions: all that was recorded in it, in UTC. What counts is
        when a fact was recorded, not when it is said to have happened: `recorded_at` never goes
        back along the log, so nothing can be added to a month whose end has passed, while a
        late report may well tell of a transfer that was mined before. A refund or a reversal
        therefore stands in the month in which the books learnt of it.
        A month is preliminary while it runs, and after its end until the log holds something
        younger, or CLOSING_SECONDS have passed: no transaction of it can be open by then.
        Whether an asset is live or test money, the log says: its facts carry the mode.
Units   base units. A balance is debits less credits, so an account that is credit-normal has a
        negative one; AccountLine turns it to the account's own side.
Errors  MonthMalformed, MonthAhead, PositionAhead; AssetUnknown (application/asset_units.py);
        ports.StoreUnavailable.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

from application.asset_units import AssetUnits
from application.ports import Clock
from domain.errors import MonthAhead, MonthMalformed, PositionAhead
from domain.journal import account
from domain.money import decimal_of
from domain.networks import NetworkBook
from domain.values import Mode

Side = Literal["debit", "credit"]
CLOSING_SECONDS = 900  # longer than any transaction may take and any clock may be wrong
AHEAD_SECONDS = 300  # recorded so far in the future: a clock was wrong
MONTH_FIRST = 2020 * 12  # January 2020
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")

# The chart of accounts: each kind with its normal side and what it holds, as people read it.
CHART: dict[str, tuple[Side, str]] = {
    "customer_receipts": ("debit", "arrived on your own addresses"),
    "merchant_payable": ("credit", "yours, of what arrived"),
    "suspense": ("credit", "in the inbox, not decided about"),
    "customer_refunds": ("credit", "given back to customers"),
    "fees_receivable": ("debit", "fees you owe"),
    "fee_revenue": ("credit", "fees the gateway has earned"),
    "hot_wallet": ("debit", "in your refund wallet"),
    "refund_float": ("credit", "of it, free for refunds"),
    "refunds_pending": ("credit", "of it, set aside for refunds under way"),
    "float_shortfall": ("debit", "taken back by a reorg after it was spent"),
    "float_owed": ("credit", "the same, until a top-up fills it"),
    "gas_spent": ("debit", "gas that refunds cost"),
    "gas_paid": ("credit", "the same, gone from your refund wallet"),
}

# What was accepted before it was safe never stands in suspense: its entry says so by its account,
# and a statement by a cause of its own.
OF_ACCEPTED = {
    "onchain_transfer.confirmed": "onchain_transfer.confirmed, accepted",
    "onchain_transfer.reversed": "onchain_transfer.reversed, accepted",
}
# What a fact that posts means on a statement: its group, and its words.
ACTIVITY: dict[str, tuple[str, str]] = {
    "transfer.confirmed": ("payments", "transfers confirmed"),
    "transfer.reversed": ("reversals", "transfers reversed by a reorg"),
    "payment.completed": ("fees", "fees on completed payments"),
    "payment.reduced": ("fees", "fees given back, payments reduced"),
    "payment.reversed": ("fees", "fees given back, payments reversed"),
    "payment.refunded": ("refunds", "refunds paid"),
    "payment.refund_reversed": ("refunds", "refunds taken out by a reorg"),
    "refund.completed": ("gas", "gas of refunds paid"),
    "refund.failed": ("gas", "gas of refunds that failed"),
    "refund.reversed": ("gas", "gas of refunds taken out by a reorg"),
    "refund_float.topped_up": ("refund wallet", "top-ups"),
    "refund_float.top_up_reversed": ("refund wallet", "top-ups reversed by a reorg"),
    "onchain_transfer.confirmed": ("inbox", "arrived in the inbox"),
    "onchain_transfer.reversed": ("inbox", "removed from it by a reorg"),
    "onchain_transfer.assigned": ("inbox", "assigned to a payment"),
    "onchain_transfer.accepted": ("inbox", "accepted"),
    "onchain_transfer.confirmed, accepted": ("inbox", "confirmed, accepted before"),
    "onchain_transfer.reversed, accepted": ("inbox", "accepted, removed by a reorg"),
    "onchain_transfer.dismissed": ("inbox", "dismissed"),
    "onchain_transfer.refunded": ("inbox", "refunded"),
    "onchain_transfer.refund_reversed": ("inbox", "refunds taken out by a reorg"),
}
# Money that only moves between the parts of the refund wallet: the accounts show it.
NO_ACTIVITY = frozenset(
    {
        "refund_float.reserved",
        "refund_float.released",
        "refund_float.spent",
        "refund_float.spending_reversed",
    }
)
_FEES_GIVEN_BACK = ("payment.reduced", "payment.reversed")


@dataclass(frozen=True, slots=True)
class Balance:
    account: str
    asset: str
    units: int  # debits less credits
    mode: Mode | None = None  # of the newest entry here; every entry of an asset has the same


@dataclass(frozen=True, slots=True)
class Turnover:
    """What moved on an account after one position, up to another."""

    account: str
    asset: str
    debits: int
    credits: int


@dataclass(frozen=True, slots=True)
class Booked:
    """Journal entries of one cause and asset: how many, and their postings' sum."""

    cause: str  # the fact's name, or one of OF_ACCEPTED
    asset: str
    count: int
    units: int


class Ledger(Protocol):
    """The books as they stood at any position of the log."""

    async def head(self) -> int: ...

    async def position_before(self, moment: datetime) -> int:
        """The last position recorded before this moment; 0 when there is none."""
        ...

    async def balance_at(self, account: str, asset: str, position: int) -> int:
        """Debits less credits of all entries up to this position."""
        ...

    async def balances_at(
        self, position: int, merchant_id: UUID | None = None
    ) -> Sequence[Balance]:
        """Every account that had been posted to by then, zero or not, in order of its name."""
        ...

    async def turnovers(self, merchant_id: UUID, after: int, upto: int) -> Sequence[Turnover]:
        """A merchant's accounts with postings after one position, up to another."""
        ...

    async def booked(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]: ...

    async def completed(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]:
        """Payments completed in this range, and the amounts they were completed with."""
        ...


@dataclass(frozen=True, slots=True)
class Month:
    year: int
    number: int  # 1 to 12

    @property
    def begins(self) -> datetime:
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def ends(self) -> datetime:
        """The first moment that is not in it."""
        year, number = divmod(self.year * 12 + self.number, 12)
        return datetime(year, number + 1, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


def month_of(text: str) -> Month:
    found = _MONTH.fullmatch(text)
    if found is None or int(found[1]) * 12 < MONTH_FIRST or found[1] == "9999":
        raise MonthMalformed('write a month as "2026-11"')
    return Month(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class AccountLine:
    """A month of one account, in units of its normal side: positive is usual."""

    kind: str
    asset: str
    opening: int
    debits: int
    credits: int
    closing: int

    @property
    def side(self) -> Side:
        return CHART[self.kind][0]


@dataclass(frozen=True, slots=True)
class ActivityLine:
    group: str
    what: str
    asset: str
    count: int
    units: int


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """Fees of one asset: earned on `base`, or given back (negative, and no base)."""

    asset: str
    what: str
    count: int
    base: int | None
    units: int


@dataclass(frozen=True, slots=True)
class Invoice:
    number: str
    lines: tuple[InvoiceLine, ...]

    def total_usd(self, of: AssetUnits) -> str:
        """The exact sum in dollars: a token is a dollar, and nothing is rounded again."""
        found = [(line.units, of.of(line.asset).decimals) for line in self.lines]
        places = max((decimals for _, decimals in found), default=2)
        units = sum(units * 10 ** (places - decimals) for units, decimals in found)
        return signed_decimal(units, places)


@dataclass(frozen=True, slots=True)
class Statement:
    merchant_id: UUID
    mode: Mode
    month: Month
    preliminary: bool
    recorded_ahead: bool  # the log holds facts of the future: see docs/guides/books.md
    after_position: int  # the month begins after this one
    position: int  # and ends with this one
    accounts: tuple[AccountLine, ...]
    activity: tuple[ActivityLine, ...]
    completed: tuple[Booked, ...]  # payments completed: how many, and their gross, per asset
    invoice: Invoice


class Statements:
    def __init__(self, ledger: Ledger, networks: NetworkBook, clock: Clock) -> None:
        self.ledger = ledger
        self._clock = clock
        self.units = AssetUnits(networks)

    async def balances(
        self, merchant_id: UUID, mode: Mode, position: int | None = None
    ) -> tuple[int, tuple[Balance, ...]]:
        """The position, and what each of the merchant's accounts held there."""
        at = await self.position(position)
        held = await self.ledger.balances_at(at, merchant_id)
        mine = tuple(each for each in held if each.mode == mode)
        self._refuse_unknown(each.asset for each in mine)
        return at, mine

    async def position(self, wanted: int | None) -> int:
        """The head, or an earlier position that somebody asks for. Raises PositionAhead."""
        head = await self.ledger.head()
        if wanted is not None and wanted > head:
            raise PositionAhead(f"the log ends at position {head}")
        return head if wanted is None else wanted

    async def statement(self, merchant_id: UUID, mode: Mode, month: Month) -> Statement:
        now = self._clock.now()
        if now < month.begins:
            raise MonthAhead(f"{month} has not begun")
        after = await self.ledger.position_before(month.begins)
        # Before the position is asked for: what is recorded in between makes it preliminary.
        head = await self.ledger.head()
        upto = min(head, await self.ledger.position_before(month.ends))
        over = now >= month.ends + timedelta(seconds=CLOSING_SECONDS)
        ahead = await self.ledger.position_before(now + timedelta(seconds=AHEAD_SECONDS)) < head
        booked = await self.ledger.booked(merchant_id, mode, after, upto)
        completed = await self.ledger.completed(merchant_id, mode, after, upto)
        accounts = await self._accounts(merchant_id, mode, after, upto)
        self._refuse_unknown(each.asset for each in (*booked, *completed))
        self._refuse_unknown(line.asset for line in accounts)
        return Statement(
            merchant_id=merchant_id,
            mode=mode,
            month=month,
            preliminary=now < month.ends or (upto == head and not over),
            recorded_ahead=ahead,
            after_position=after,
            position=upto,
            accounts=accounts,
            activity=_activity(booked),
            completed=tuple(completed),
            invoice=Invoice(
                invoice_number(merchant_id, mode, month), _invoice_lines(booked, completed)
            ),
        )

    async def _accounts(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> tuple[AccountLine, ...]:
        opening = {
            (each.account, each.asset): each.units
            for each in await self.ledger.balances_at(after, merchant_id)
        }
        there = {
            (each.account, each.asset)
            for each in await self.ledger.balances_at(upto, merchant_id)
            if each.mode == mode
        }
        moved = {
            (each.account, each.asset): each
            for each in await self.ledger.turnovers(merchant_id, after, upto)
        }
        lines: list[AccountLine] = []
        for kind, (side, _) in CHART.items():
            name = account(kind, merchant_id)
            for asset in sorted(asset for held, asset in there if held == name):
                turnover = moved.get((name, asset), Turnover(name, asset, 0, 0))
                began = opening.get((name, asset), 0)
                ended = began + turnover.debits - turnover.credits
                sign = 1 if side == "debit" else -1
                lines.append(
                    AccountLine(
                        kind, asset, sign * began, turnover.debits, turnover.credits, sign * ended
                    )
                )
        return tuple(lines)

    def _refuse_unknown(self, assets: Iterable[str]) -> None:
        for asset in assets:
            self.units.of(asset)


def _activity(booked: Sequence[Booked]) -> tuple[ActivityLine, ...]:
    known = {(each.cause, each.asset): each for each in booked}
    assets = sorted({each.asset for each in booked})
    return tuple(
        ActivityLine(group, what, asset, known[cause, asset].count, known[cause, asset].units)
        for cause, (group, what) in ACTIVITY.items()
        for asset in assets
        if (cause, asset) in known
    )


def _invoice_lines(
    booked: Sequence[Booked], completed: Sequence[Booked]
) -> tuple[InvoiceLine, ...]:
    gross = {each.asset: each for each in completed}
    lines: list[InvoiceLine] = []
    for each in sorted(booked, key=lambda one: (one.asset, one.cause)):
        if each.cause == "payment.completed":
            base = gross[each.asset]
            what = "0.5 % of completed payments"
            lines.append(InvoiceLine(each.asset, what, base.count, base.units, each.units))
        elif each.cause in _FEES_GIVEN_BACK:
            what = ACTIVITY[each.cause][1]
            lines.append(InvoiceLine(each.asset, what, each.count, None, -each.units))
    return tuple(lines)


def invoice_number(merchant_id: UUID, mode: Mode, month: Month) -> str:
    """The same for ever, without a counter that two processes could both move."""
    return f"{mode.upper()}-{month}-{merchant_id.hex[:12].upper()}"


def signed_decimal(units: int, decimals: int) -> str:
    sign = "-" if units < 0 else ""
    return sign + decimal_of(abs(units), decimals)
