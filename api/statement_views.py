"""The books as JSON: balances, a month's statement, its invoice.

Shapes  amounts are decimal strings of the asset; a balance stands on its account's normal side,
        so a negative one is unusual. `token` and `network` are what people call the asset.
Units   `total_usd` is exact: 1 USDC = 1 USDT = 1 USD.
"""

from typing import Literal, Self

from pydantic import Field

from api.views import View, When
from application.asset_units import AssetUnits
from application.statements import (
    CHART,
    AccountLine,
    ActivityLine,
    Balance,
    Booked,
    Invoice,
    InvoiceLine,
    Statement,
    signed_decimal,
)


class Units:
    """Writes amounts of an asset, and what it is called."""

    def __init__(self, known: AssetUnits) -> None:
        self.known = known

    def text(self, units: int, asset: str) -> str:
        return signed_decimal(units, self.known.of(asset).decimals)

    def token(self, asset: str) -> str:
        return self.known.of(asset).symbol

    def network(self, asset: str) -> str:
        return self.known.of(asset).network


class AssetView(View):
    asset: str = Field(description="CAIP-19.")
    token: str
    network: str


class BalanceView(AssetView):
    account: str
    normal_side: Literal["debit", "credit"]
    balance: str


class BalancesView(View):
    object: Literal["balances"] = "balances"
    position: int
    livemode: bool
    data: tuple[BalanceView, ...]

    @classmethod
    def of(cls, held: tuple[Balance, ...], position: int, units: Units, *, live: bool) -> Self:
        order = list(CHART)
        rows = sorted(held, key=lambda each: (order.index(_kind(each.account)), each.asset))
        return cls(
            position=position,
            livemode=live,
            data=tuple(_balance(each, units) for each in rows),
        )


class AccountView(AssetView):
    account: str
    meaning: str
    normal_side: Literal["debit", "credit"]
    opening: str
    debits: str
    credits: str
    closing: str


class PaymentsView(AssetView):
    count: int
    gross: str


class ActivityView(AssetView):
    group: str
    what: str
    count: int
    amount: str


class InvoiceLineView(AssetView):
    what: str
    count: int
    base: str | None
    amount: str


class InvoiceView(View):
    number: str
    lines: tuple[InvoiceLineView, ...]
    currency: Literal["USD"] = "USD"
    total_usd: str = Field(description="Exact, not rounded to cents; below zero: a credit.")


class StatementView(View):
    object: Literal["statement"] = "statement"
    merchant_id: str
    month: str
    begins_at: When
    ends_at: When = Field(description="The first moment that is not in it.")
    preliminary: bool = Field(description="The month is not over: figures may still grow.")
    after_position: int
    position: int
    livemode: bool
    payments_completed: tuple[PaymentsView, ...]
    activity: tuple[ActivityView, ...]
    accounts: tuple[AccountView, ...]
    invoice: InvoiceView

    @classmethod
    def of(cls, statement: Statement, known: AssetUnits) -> Self:
        units = Units(known)
        return cls(
            merchant_id=statement.merchant_id.hex,
            month=str(statement.month),
            begins_at=statement.month.begins,
            ends_at=statement.month.ends,
            preliminary=statement.preliminary,
            after_position=statement.after_position,
            position=statement.position,
            livemode=statement.mode == "live",
            payments_completed=tuple(_payments(each, units) for each in statement.completed),
            activity=tuple(_activity(each, units) for each in statement.activity),
            accounts=tuple(_account(each, units) for each in statement.accounts),
            invoice=_invoice(statement.invoice, units),
        )


def _kind(account: str) -> str:
    return account.partition(":")[0]


def _balance(held: Balance, units: Units) -> BalanceView:
    kind = _kind(held.account)
    side = CHART[kind][0]
    own = held.units if side == "debit" else -held.units
    return BalanceView(
        asset=held.asset,
        token=units.token(held.asset),
        network=units.network(held.asset),
        account=kind,
        normal_side=side,
        balance=units.text(own, held.asset),
    )


def _account(line: AccountLine, units: Units) -> AccountView:
    return AccountView(
        asset=line.asset,
        token=units.token(line.asset),
        network=units.network(line.asset),
        account=line.kind,
        meaning=CHART[line.kind][1],
        normal_side=line.side,
        opening=units.text(line.opening, line.asset),
        debits=units.text(line.debits, line.asset),
        credits=units.text(line.credits, line.asset),
        closing=units.text(line.closing, line.asset),
    )


def _payments(booked: Booked, units: Units) -> PaymentsView:
    return PaymentsView(
        asset=booked.asset,
        token=units.token(booked.asset),
        network=units.network(booked.asset),
        count=booked.count,
        gross=units.text(booked.units, booked.asset),
    )


def _activity(line: ActivityLine, units: Units) -> ActivityView:
    return ActivityView(
        asset=line.asset,
        token=units.token(line.asset),
        network=units.network(line.asset),
        group=line.group,
        what=line.what,
        count=line.count,
        amount=units.text(line.units, line.asset),
    )


def _invoice(invoice: Invoice, units: Units) -> InvoiceView:
    return InvoiceView(
        number=invoice.number,
        lines=tuple(_invoice_line(each, units) for each in invoice.lines),
        total_usd=invoice.total_usd(units.known),
    )


def _invoice_line(line: InvoiceLine, units: Units) -> InvoiceLineView:
    return InvoiceLineView(
        asset=line.asset,
        token=units.token(line.asset),
        network=units.network(line.asset),
        what=line.what,
        count=line.count,
        base=None if line.base is None else units.text(line.base, line.asset),
        amount=units.text(line.units, line.asset),
    )
