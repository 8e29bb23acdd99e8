"""The books: every entry, and the balance of every account. Replayed, they give the same rows.

Shapes  journal_entries  a row an entry; postings as the JSON they were stored in
        balances         a row an account and asset, whose sums only ever grow
Units   base units; debits and credits apart, so a balance never loses what made it.
"""

from collections import defaultdict

from pydantic import TypeAdapter

from domain import events as e
from domain.event_base import Posting
from projections.projection import Batch, Folded, Known, Projection
from projections.table import Table

BALANCES = Table(
    "balances",
    (("account", "text"), ("asset", "text"), ("debits", "numeric"), ("credits", "numeric")),
    ("account", "asset"),
    adds=("debits", "credits"),
)
ENTRIES = Table(
    "journal_entries",
    (
        ("entry_id", "uuid"),
        ("position", "bigint"),
        ("at", "timestamptz"),
        ("cause", "text"),
        ("merchant_id", "uuid"),
        ("postings", "text"),
    ),
    ("entry_id",),
    keeps=True,
    indexes=("(merchant_id, position DESC)",),
)


_POSTINGS = TypeAdapter(tuple[Posting, ...])


class Journal(Projection):
    name, version = "journal", 1
    cost = 11
    handles = frozenset({e.JournalEntryPosted})
    tables = (BALANCES, ENTRIES)

    def gather(self, batch: Batch, known: Known) -> Folded:
        del known
        folded = Folded()
        moved: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for recorded in batch:
            event = recorded.event
            assert isinstance(event, e.JournalEntryPosted)
            for posting in event.postings:
                moved[posting.debit, posting.amount.asset][0] += posting.amount.units
                moved[posting.credit, posting.amount.asset][1] += posting.amount.units
            postings = _POSTINGS.dump_json(event.postings).decode()
            row = (event.entry_id, recorded.position, event.at, event.cause)
            # An entry is the one fact of the stream that is named like it.
            first = recorded.version == 1 and recorded.stream_id == event.entry_id
            rows = folded.fresh if first else folded.rows
            rows[ENTRIES.name].append((*row, event.merchant_id, postings))
        folded.rows[BALANCES.name] = [(*key, *sums) for key, sums in sorted(moved.items())]
        return folded
