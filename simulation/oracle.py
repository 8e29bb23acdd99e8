"""Judges a finished history: what must have happened, against what did.

The oracle shares no code with the gateway. It reads plain evidence, works out from the final
chains and the clients' requests what must be true, in its own words and arithmetic, and names
every invariant that does not hold. An import contract holds it to the standard library and
simulation.evidence.

Parts   oracle_truth        the chains and the log, sorted
        oracle_chain        every canonical transfer attributed once and rightly
        oracle_policy       confirmed under the right version, by the right rule, and truly so
        oracle_inbox        each verdict, whenever somebody looked
        oracle_decisions    what was set, decided and claimed, as it was asked for
        oracle_tally        one session added up; oracle_sessions where each one ends
        oracle_books        what every account must hold
        oracle_refunds      one refund, at most one transfer
        oracle_webhooks     who must hear of what, in which bytes
        oracle_requests     what clients were told holds
        oracle_log          gapless, known, along allowed edges
        oracle_projections  rebuilt equals live; nothing set aside
"""

from collections.abc import Callable, Iterator
from itertools import islice

from simulation import (
    oracle_books,
    oracle_chain,
    oracle_decisions,
    oracle_log,
    oracle_projections,
    oracle_refunds,
    oracle_requests,
    oracle_sessions,
    oracle_webhooks,
)
from simulation.evidence import Evidence, Violation
from simulation.oracle_tally import Tally, tallies
from simulation.oracle_truth import Case, case_of

VIOLATIONS_MAX = 200
ERROR_LENGTH_MAX = 300

PARTS: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    oracle_log.known_names,
    oracle_log.check,
    oracle_log.causes,
    oracle_chain.check,
    oracle_decisions.check,
    oracle_refunds.check,
    oracle_requests.check,
    oracle_requests.addresses,
    oracle_projections.check,
)
SUMS: tuple[Callable[[Case, dict[str, Tally]], Iterator[Violation]], ...] = (
    oracle_sessions.check,
    oracle_books.check,
    oracle_webhooks.check,
)


def judge(evidence: Evidence) -> tuple[Violation, ...]:
    """Every violation there is, up to VIOLATIONS_MAX; none means that all invariants hold."""
    return tuple(islice(_judged(evidence), VIOLATIONS_MAX))


def _judged(evidence: Evidence) -> Iterator[Violation]:
    case = case_of(evidence)
    for part in PARTS:
        yield from _guarded(part(case), part)
    found: dict[str, Tally] = {}
    yield from _guarded(tallies(case, found), tallies)
    for sums in SUMS:
        yield from _guarded(sums(case, found), sums)


def _guarded(violations: Iterator[Violation], part: Callable[..., object]) -> Iterator[Violation]:
    """A log so wrong that one part cannot read it must not silence the others."""
    try:
        yield from violations
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{part.__module__}: {type(error).__name__}: {error}"
        yield Violation("evidence_unreadable", what[:ERROR_LENGTH_MAX])
