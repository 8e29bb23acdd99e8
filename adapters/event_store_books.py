"""Journal entries turned into legs and balances, and whether an account would be overdrawn.

Shapes  A domain posting has two legs: its debit, positive units, and its credit, negative.
        Accounts are read under the log's lock, so what is decided here still holds when it is
        written; the table's CHECK is the backstop.
Units   base units of the asset. A balance is debits less credits.
Errors  Overdraft names the account. Decided for a whole batch: what it moves in and out again
        counts only by its end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from application.ports import Overdraft
from domain.events import JournalEntryPosted
from domain.journal import NO_OVERDRAFT_CREDIT, NO_OVERDRAFT_DEBIT

AccountKey = tuple[str, str]  # account, asset


@dataclass(slots=True)
class Account:
    debits: int = 0
    credits: int = 0
    version: int = 0

    @property
    def balance(self) -> int:
        return self.debits - self.credits


class Leg(NamedTuple):
    """A row of ledger.postings, but for the position, which is known when it is written."""

    leg: int
    entry_id: UUID
    merchant_id: UUID
    account: str
    asset: str
    units: int
    account_version: int
    balance_after: int


def accounts_of(entries: Iterable[JournalEntryPosted]) -> set[AccountKey]:
    return {
        (account, posting.amount.asset)
        for entry in entries
        for posting in entry.postings
        for account in (posting.debit, posting.credit)
    }


class Books:
    """The accounts a group touches, as they stand after the batches booked so far."""

    def __init__(self, accounts: Mapping[AccountKey, Account]) -> None:
        self._accounts = dict(accounts)
        self._touched: set[AccountKey] = set()

    def book(self, entries: Iterable[JournalEntryPosted]) -> list[list[Leg]]:
        """The legs of each entry of one batch. Changes nothing when it raises Overdraft."""
        moved: dict[AccountKey, Account] = {}
        legs = [self._legs(entry, moved) for entry in entries]
        for (name, asset), account in moved.items():
            if is_overdrawn(name, account):
                raise Overdraft(f"{name} would go below what it may hold of {asset}")
        self._accounts.update(moved)
        self._touched.update(moved)
        return legs

    def touched(self) -> list[tuple[AccountKey, Account]]:
        """What to write back, in the one order everybody locks in."""
        return [(key, self._accounts[key]) for key in sorted(self._touched)]

    def _legs(self, entry: JournalEntryPosted, moved: dict[AccountKey, Account]) -> list[Leg]:
        legs: list[Leg] = []
        for posting in entry.postings:
            sides = (
                (posting.debit, posting.amount.units),
                (posting.credit, -posting.amount.units),
            )
            for name, units in sides:
                account = self._moving((name, posting.amount.asset), moved)
                account.debits += max(units, 0)
                account.credits += max(-units, 0)
                account.version += 1
                legs.append(
                    Leg(
                        leg=len(legs) + 1,
                        entry_id=entry.entry_id,
                        merchant_id=entry.merchant_id,
                        account=name,
                        asset=posting.amount.asset,
                        units=units,
                        account_version=account.version,
                        balance_after=account.balance,
                    )
                )
        return legs

    def _moving(self, key: AccountKey, moved: dict[AccountKey, Account]) -> Account:
        if key not in moved:
            known = self._accounts.get(key, Account())
            moved[key] = Account(known.debits, known.credits, known.version)
        return moved[key]


def is_overdrawn(name: str, account: Account) -> bool:
    kind = name.partition(":")[0]
    if kind in NO_OVERDRAFT_CREDIT:
        return account.debits > account.credits
    if kind in NO_OVERDRAFT_DEBIT:
        return account.credits > account.debits
    return False
