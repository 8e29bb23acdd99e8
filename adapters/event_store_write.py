"""One group of batches in one transaction, in two round trips.

Shapes  First trip: BEGIN, the lock, the check, the accounts. Then each batch is accepted or
        refused here, in the order they came. Second trip: the rows of the accepted ones, COMMIT.
        An outcome is the position of a batch's last event (0 without events), or its refusal.
Errors  psycopg's own. `sent` tells whether the second trip had begun: before it, a lost
        connection has written nothing; after it nobody knows without looking (event_store.py).
"""

from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from adapters import event_store_sql as statements
from adapters.event_store_books import Account, AccountKey, Books, Leg, accounts_of
from adapters.event_store_draft import Draft
from application.ports import (
    AlreadyProcessed,
    KeyAlreadyUsed,
    Overdraft,
    StoredResponse,
    StreamConflict,
)

Outcome = int | Exception
Columns = list[list[object]]


class Check:
    """What the locked transaction saw: the head of the log, and who comes too late."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.moved: set[int] = set()  # numbers of drafts
        self.seen: set[int] = set()
        self.answered: dict[int, StoredResponse] = {}

    def refusal(self, number: int) -> Exception | None:
        """A repeated request or message is told so, even though its streams have moved too."""
        if number in self.answered:
            return KeyAlreadyUsed(self.answered[number])
        if number in self.seen:
            return AlreadyProcessed("the message was processed before")
        if number in self.moved:
            return StreamConflict("a stream has moved on")
        return None


class Group:
    """One attempt to write some drafts, of which no two share a claim."""

    def __init__(self, connection: AsyncConnection, drafts: Sequence[Draft]) -> None:
        self._connection = connection
        self._drafts = drafts
        self.sent = False

    async def write(self) -> list[Outcome]:
        entries = [entry for each in self._drafts for _, entry in each.entries]
        accounts = sorted(accounts_of(entries))
        # Made before the lock is held; most groups are accepted whole and use it as it is.
        everything = _packed(self._drafts)
        async with self._connection.pipeline():
            await self._connection.execute("BEGIN")
            await self._connection.execute(statements.LOCK, prepare=True)
            check, books = await self._check(accounts)
            outcomes, accepted, legs = _decide(self._drafts, check, books)
            if not accepted:
                await self._connection.execute("ROLLBACK")
                return outcomes
            events = everything if len(accepted) == len(outcomes) else _packed(accepted)
            self.sent = True
            if events is not None:
                await self._connection.execute(
                    statements.INSERT_EVENTS, (check.head, *events), prepare=True
                )
            await self._insert_beside(accepted, outcomes)
            await self._insert_books(books, legs)
            await self._connection.execute("COMMIT")
        return outcomes

    async def _check(self, accounts: Sequence[AccountKey]) -> tuple[Check, Books]:
        """Ask everything at once, then wait for the answers."""
        execute = self._connection.execute
        asked = _Asked(self._drafts)
        checked = await execute(statements.CHECK, _transposed(asked.streams, 2), prepare=True)
        seen = answered = balances = None
        if asked.inbox:
            seen = await execute(statements.SEEN, _transposed(asked.inbox), prepare=True)
        if asked.keys:
            answered = await execute(statements.ANSWERED, _transposed(asked.keys), prepare=True)
        if accounts:
            balances = await execute(statements.ACCOUNTS, _transposed(accounts), prepare=True)
        row = await checked.fetchone()
        assert row is not None, "the check answers one row"
        check = Check(head=row[0])
        check.moved.update(asked.streams_of[n - 1] for n in row[1])
        if seen is not None:
            check.seen.update(asked.inbox_of[n - 1] for (n,) in await seen.fetchall())
        if answered is not None:
            for n, status, body, fingerprint in await answered.fetchall():
                stored = StoredResponse(status, bytes(body), fingerprint)
                check.answered[asked.keys_of[n - 1]] = stored
        return check, Books({} if balances is None else await _accounts(balances))

    async def _insert_beside(self, accepted: Sequence[Draft], outcomes: Sequence[Outcome]) -> None:
        execute = self._connection.execute
        positions = [position for position in outcomes if isinstance(position, int)]
        inbox = [
            (each.batch.inbox.source, each.batch.inbox.message_id, position)
            for each, position in zip(accepted, positions, strict=True)
            if each.batch.inbox is not None
        ]
        if inbox:
            await execute(statements.INSERT_INBOX, _transposed(inbox), prepare=True)
        keys = [
            (key.merchant_id, key.mode, key.key, key.fingerprint, key.status, key.body, position)
            for each, position in zip(accepted, positions, strict=True)
            if (key := each.batch.idempotency) is not None
        ]
        if keys:
            await execute(statements.INSERT_IDEMPOTENCY, _transposed(keys), prepare=True)

    async def _insert_books(self, books: Books, legs: Sequence[tuple[int, Leg]]) -> None:
        if not legs:
            return
        # Units go as text: a list of integers would be sent as the type of its widest one.
        rows = [
            (
                position,
                leg.leg,
                leg.entry_id,
                leg.merchant_id,
                leg.account,
                leg.asset,
                str(leg.units),
                leg.account_version,
                str(leg.balance_after),
            )
            for position, leg in legs
        ]
        sums = [
            (*key, str(account.debits), str(account.credits), account.version)
            for key, account in books.touched()
        ]
        execute = self._connection.execute
        await execute(statements.INSERT_POSTINGS, _transposed(rows), prepare=True)
        await execute(statements.UPSERT_ACCOUNTS, _transposed(sums), prepare=True)


def _decide(
    drafts: Sequence[Draft], check: Check, books: Books
) -> tuple[list[Outcome], list[Draft], list[tuple[int, Leg]]]:
    """Accept or refuse each draft in turn; positions are counted over the accepted ones."""
    outcomes: list[Outcome] = []
    accepted: list[Draft] = []
    legs: list[tuple[int, Leg]] = []
    head = check.head
    for number, each in enumerate(drafts):
        refusal = check.refusal(number)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        try:
            booked = books.book(entry for _, entry in each.entries)
        except Overdraft as overdraft:
            outcomes.append(overdraft)
            continue
        for (place, _), entry_legs in zip(each.entries, booked, strict=True):
            legs.extend((head + place + 1, leg) for leg in entry_legs)
        head += len(each.rows)
        outcomes.append(head if each.rows else 0)
        accepted.append(each)
    return outcomes, accepted, legs


class _Asked:
    """What a group wants to know, each list with the numbers of the drafts that ask."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.streams: list[tuple[UUID, int]] = []
        self.streams_of: list[int] = []
        self.inbox: list[tuple[str, str]] = []
        self.inbox_of: list[int] = []
        self.keys: list[tuple[UUID, str, str]] = []
        self.keys_of: list[int] = []
        for number, each in enumerate(drafts):
            self.streams.extend(each.streams)
            self.streams_of.extend([number] * len(each.streams))
            if (message := each.batch.inbox) is not None:
                self.inbox.append((message.source, message.message_id))
                self.inbox_of.append(number)
            if (key := each.batch.idempotency) is not None:
                self.keys.append((key.merchant_id, key.mode, key.key))
                self.keys_of.append(number)


def _packed(drafts: Sequence[Draft]) -> tuple[str, list[bytes]] | None:
    """The rows of all drafts as one JSON array, and their states; None when there are none."""
    with_rows = [each for each in drafts if each.rows]
    if not with_rows:
        return None
    rows = b"[" + b",".join(each.packed for each in with_rows) + b"]"
    return rows.decode(), [row.state for each in with_rows for row in each.rows]


def _transposed(rows: Sequence[Sequence[object]], width: int = 0) -> Columns:
    """Rows as columns; `width` empty columns when there are none."""
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]


async def _accounts(cursor: psycopg.AsyncCursor) -> dict[AccountKey, Account]:
    return {
        (name, asset): Account(int(debits), int(credited), version)
        for name, asset, debits, credited, version in await cursor.fetchall()
    }


def refusal_of(error: psycopg.Error) -> Exception:
    """What the backstops of the tables mean. Anything else is a bug and stays what it is."""
    match error:
        case psycopg.errors.CheckViolation() if error.diag.constraint_name == "no_overdraft":
            return Overdraft("an account would go below what it may hold")
        case psycopg.errors.UniqueViolation() if error.diag.table_name == "events":
            return StreamConflict("a stream has moved on")
        case _:
            return error
