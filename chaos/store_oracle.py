"""What the log, its tables and a reader beside them say about what the writers were told.

Shapes  SQL and sets; nothing of the store. Each count of Verdict is of batches but `missed` and
        `disordered`, which are events of the tailing reader.
        lost        acknowledged, and not there, or not where it was said
        duplicated  there more often than once: events, a message's effect, a key's
        denied      there, though its caller was told that it is not
        unresolved  unknown to its caller, and the store found nothing out, or not the truth
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from application.ports import KeyAlreadyUsed
from chaos.store_load import Attempt

_EVENTS = """
SELECT position, stream_id::text, version, meta ->> 'correlation_id' FROM es.events ORDER BY position
"""
_BOOKS = """
SELECT (SELECT coalesce(sum(units), 0) FROM ledger.postings)::text,
       (SELECT count(*) FROM ledger.postings),
       (SELECT count(*) FROM es.events WHERE topic = 'journal.entry_posted'),
       (SELECT count(*) FROM (
            SELECT account, asset, debits - credits AS units FROM ledger.accounts
            EXCEPT SELECT account, asset, sum(units) FROM ledger.postings GROUP BY 1, 2) AS odd)
"""
_BESIDE = """
SELECT 'message', message_id, position FROM es.inbox
UNION ALL SELECT 'key', key, position FROM es.idempotency
"""


@dataclass
class Verdict:
    stops: int = 0  # of the server, those included that were made until an outcome was unknown
    attempts: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unknown_written: int = 0
    events: int = 0
    lost: int = 0
    duplicated: int = 0
    denied: int = 0
    unresolved: int = 0
    missed: int = 0
    disordered: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def exercised(self) -> bool:
        """Whether there was an unknown outcome to be resolved: without one nothing is shown of it."""
        return self.unknown > 0

    @property
    def clean(self) -> bool:
        counts = (self.lost, self.duplicated, self.denied, self.unresolved)
        return not (any(counts) or self.missed or self.disordered or self.wrong)


@dataclass(frozen=True, slots=True)
class Written:
    """What the log holds of one attempt."""

    events: int
    last: int


def judge(dsn: str, attempts: Sequence[Attempt], seen: Sequence[int]) -> Verdict:
    verdict = Verdict(attempts=len(attempts))
    with psycopg.connect(dsn) as connection:
        log = connection.execute(_EVENTS).fetchall()
        books = connection.execute(_BOOKS).fetchone()
        beside = connection.execute(_BESIDE).fetchall()
    verdict.events = len(log)
    written: dict[str, Written] = {}
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for position, stream, version, mark in log:
        versions[stream].append(version)
        before = written.get(mark)
        written[mark] = Written(1 if before is None else before.events + 1, position)
    for attempt in attempts:
        _judge(verdict, attempt, written.get(attempt.mark))
    _examine_order(verdict, [row[0] for row in log], versions, seen)
    _examine_repeats(verdict, attempts, written, {(k, name): p for k, name, p in beside})
    assert books is not None, "an aggregate answers one row"
    total, postings, entries, odd = books
    if total != "0" or postings != 2 * entries or odd:
        verdict.wrong.append(
            f"books: sum {total}, {postings} legs of {entries} entries, {odd} odd"
        )
    strangers = written.keys() - {attempt.mark for attempt in attempts}
    if strangers:
        verdict.wrong.append(f"events of nobody: {sorted(strangers)[:5]}")
    return verdict


def _judge(verdict: Verdict, attempt: Attempt, found: Written | None) -> None:
    if found is not None and found.events != attempt.events:
        # Half a batch is as bad as two of it; the first is lost, the second duplicated.
        verdict.duplicated += found.events > attempt.events
        verdict.lost += found.events < attempt.events
    if attempt.position is not None:
        verdict.acknowledged += 1
        verdict.lost += found is None or found.last != attempt.position
    elif attempt.unknown:
        verdict.unknown += 1
        verdict.unknown_written += found is not None
        truth = None if found is None else found.last
        told = attempt.resolved if isinstance(attempt.resolved, int) else None
        verdict.unresolved += attempt.resolved is None or told != truth
    else:
        verdict.refused += 1
        verdict.denied += found is not None


def _examine_order(
    verdict: Verdict,
    positions: Sequence[int],
    versions: dict[str, list[int]],
    seen: Sequence[int],
) -> None:
    if positions != list(range(1, len(positions) + 1)):
        verdict.wrong.append("positions have gaps")
    for stream, found in versions.items():
        if found != list(range(1, len(found) + 1)):
            verdict.wrong.append(f"versions of {stream}: {found[:20]}")
    verdict.missed = len(set(positions) - set(seen))
    verdict.disordered = sum(b != a + 1 for a, b in zip((0, *seen), seen, strict=False))


def _examine_repeats(
    verdict: Verdict,
    attempts: Sequence[Attempt],
    written: dict[str, Written],
    beside: dict[tuple[str, str], int],
) -> None:
    """A message has one effect and a key one answer, whoever brought it first."""
    effects: Counter[tuple[str, str]] = Counter()
    winners: dict[tuple[str, str], str] = {}
    for attempt in attempts:
        for name in (("message", attempt.message), ("key", attempt.key)):
            if name[1] is not None and attempt.mark in written:
                place = (name[0], name[1])
                effects[place] += 1
                winners[place] = attempt.mark
                if beside.get(place) != written[attempt.mark].last:
                    verdict.wrong.append(f"{place} is not marked at its position")
    verdict.duplicated += sum(count - 1 for count in effects.values())
    if beside.keys() != effects.keys():
        verdict.wrong.append("something is marked that has no effect")
    for attempt in attempts:
        if isinstance(attempt.refused, KeyAlreadyUsed) and attempt.key is not None:
            answer = attempt.refused.stored.body.decode()
            if answer != winners.get(("key", attempt.key)):
                verdict.wrong.append(f"{attempt.mark} was given {answer}'s place")
