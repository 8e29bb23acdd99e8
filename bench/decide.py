"""Pure transitions a second on one core: decide on a command, apply what it answers.

No store, no bytes, no clock: what the rules themselves cost. Seconds are those of the processor,
not of the wall, because a core that others use too is not one core. Rounds alternate with two
baselines in the same process, so that whatever else the machine does falls on all of them alike.

Shapes  a transition is one fact, decided and applied by domain/payment.py; commands are ready
        made, as they are when they arrive
        library       the eventsourcing library's own Aggregate, which records and applies the
                      facts of the plain payment and decides nothing
        constructed   our facts only made and checked, neither decided nor applied
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.domain import Aggregate, event

from bench.report import Report, arguments, finish, machine, show
from domain import commands as c
from domain import payment
from domain.events import Event, Sighting
from domain.money import Amount
from domain.payment import PaymentSession

ROUNDS = 5
ROUND_SECONDS = 1.0
GOAL_PER_SECOND = 50_000
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EXPIRES_AT = AT + timedelta(hours=1)
ASSET = "eip155:31337/erc20:0x" + "aa" * 20
SESSION, MERCHANT = UUID(int=0xB2), UUID(int=0xA1)
REFUND, REFUND_TOO = UUID(int=0xC3), UUID(int=0xC4)
TX_HASH = "0x" + "22" * 32

History = tuple[c.SessionCommand, ...]

# ---------------------------------------------------------------- histories


def amount(units: int) -> Amount:
    return Amount(units=units, asset=ASSET)


def create(*, shared: bool = False) -> c.CreateSession:
    return c.CreateSession(
        at=AT,
        session_id=SESSION,
        merchant_id=MERCHANT,
        mode="test",
        network="local",
        due=amount(10_000_000),
        pay_by="merchant_wallet" if shared else "deposit_address",
        tolerance=amount(100_000),
        deposit_address="0x" + "dd" * 20,
        deposit_index=None if shared else 7,
        expires_at=EXPIRES_AT,
        grace_seconds=86_400,
        description="Two coffees",
        merchant_reference="order-1",
        metadata={"table": "4"},
    )


def seen(number: int, units: int, *, branch: str = "a", at: datetime = AT) -> Sighting:
    tx_hash = f"0x{number:064x}"
    return Sighting(
        transfer_id=f"31337:{tx_hash}:0",
        network="local",
        amount=amount(units),
        token="0x" + "aa" * 20,
        sender=f"0x{number:040x}",
        recipient="0x" + "dd" * 20,
        tx_hash=tx_hash,
        log_index=0,
        block_number=100 + number,
        block_hash=f"0x{branch * 2}{number:062x}",
        block_time=at,
        attested=True,
        providers=("one", "two"),
    )


def observe(sighting: Sighting) -> c.ObserveTransfer:
    return c.ObserveTransfer(at=AT, sighting=sighting)


def confirm(sighting: Sighting) -> c.ConfirmTransfer:
    return c.ConfirmTransfer(
        at=AT,
        transfer_id=sighting.transfer_id,
        block_hash=sighting.block_hash,
        confirmations=64,
        policy_version=1,
        rule="64 confirmations",
    )


def retract(sighting: Sighting) -> c.RetractTransfer:
    return c.RetractTransfer(
        at=AT, transfer_id=sighting.transfer_id, block_hash=sighting.block_hash
    )


def pays(sighting: Sighting) -> History:
    return (observe(sighting), confirm(sighting))


def gives_back(refund_id: UUID, units: int) -> History:
    return (
        c.ReserveRefund(at=AT, refund_id=refund_id, amount=amount(units)),
        c.SettleRefund(at=AT, refund_id=refund_id, tx_hash=TX_HASH),
    )


def histories() -> dict[str, tuple[int, History]]:
    """What sessions go through, and of twenty how many go through it."""
    whole, again = seen(1, 10_000_000), seen(1, 10_000_000, branch="b")
    late = seen(2, 10_000_000, at=EXPIRES_AT + timedelta(minutes=5))
    parts = (seen(3, 4_000_000), seen(4, 5_900_000), seen(5, 2_000_000))
    claims: History = (
        c.ProvePayer(at=AT, payer=whole.sender, scheme="eip191"),
        c.AnnounceTransaction(at=AT, tx_hash=whole.tx_hash),
    )
    expire = c.ExpireSession(at=EXPIRES_AT)
    return {
        "paid": (9, (create(), *pays(whole))),
        "never paid": (3, (create(), expire)),
        "paid by a wallet that signed": (2, (create(shared=True), *claims, *pays(whole))),
        "paid in three parts": (2, (create(), *(step for part in parts for step in pays(part)))),
        "mined again after a reorg": (
            1,
            (create(), observe(whole), retract(whole), *pays(again)),
        ),
        "late, reversed and paid again": (
            1,
            (create(), expire, *pays(late), retract(late), *pays(whole)),
        ),
        "refunded twice in part": (
            2,
            (
                create(),
                *pays(whole),
                *gives_back(REFUND, 4_000_000),
                *gives_back(REFUND_TOO, 6_000_000),
            ),
        ),
    }


def twenty_sessions() -> tuple[History, ...]:
    return tuple(history for count, history in histories().values() for _ in range(count))


# ---------------------------------------------------------------- contenders


def transitions(sessions: Sequence[History]) -> int:
    done = 0
    for history in sessions:
        state: PaymentSession | None = None
        for command in history:
            for fact in payment.decide(command, state):
                state = payment.evolve(state, fact)
                done += 1
    return done


def facts_of(sessions: Sequence[History]) -> list[tuple[type[Event], dict[str, Any]]]:
    """Each fact of the same histories, as its class and fields."""
    found: list[tuple[type[Event], dict[str, Any]]] = []
    for history in sessions:
        state: PaymentSession | None = None
        for command in history:
            for fact in payment.decide(command, state):
                state = payment.evolve(state, fact)
                found.append((type(fact), dict(fact)))
    return found


def constructed(facts: Sequence[tuple[type[Event], dict[str, Any]]]) -> int:
    for kind, fields in facts:
        kind(**fields)
    return len(facts)


class LibrarySession(Aggregate):
    """What the library does of itself when facts are recorded and applied."""

    @event("Created")
    def __init__(self, due: int, address: str) -> None:
        self.due, self.address = due, address
        self.transfers: dict[str, dict[str, Any]] = {}
        self.covered = self.completed = False

    @event("Observed")
    def observe(self, transfer_id: str, units: int, payer: str, block_hash: str) -> None:
        self.transfers[transfer_id] = {
            "units": units,
            "payer": payer,
            "block_hash": block_hash,
            "status": "observed",
        }

    @event("Covered")
    def cover(self, units: int) -> None:
        self.covered = units >= self.due

    @event("Confirmed")
    def confirm(self, transfer_id: str, confirmations: int) -> None:
        self.transfers[transfer_id] |= {"status": "confirmed", "confirmations": confirmations}

    @event("Completed")
    def complete(self, units: int, fee: int) -> None:
        self.completed = units >= self.due > fee


def library() -> int:
    session = LibrarySession(due=10_000_000, address="0x" + "dd" * 20)
    session.observe(str(uuid4()), 10_000_000, "0x" + "ff" * 20, TX_HASH)
    session.cover(10_000_000)
    session.confirm(next(iter(session.transfers)), 64)
    session.complete(10_000_000, 50_000)
    return len(session.collect_events())


def rate(run: Callable[[], int]) -> float:
    begun, done = time.process_time(), 0
    while (spent := time.process_time() - begun) < ROUND_SECONDS:
        done += run()
    return done / spent


def measure() -> dict[str, float]:
    """The median of the rounds of each contender."""
    sessions = twenty_sessions()
    facts = facts_of(sessions)
    contenders: dict[str, Callable[[], int]] = {
        "ours": lambda: transitions(sessions),
        "library": library,
        "constructed": lambda: constructed(facts),
    }
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            samples[name].append(rate(run))
    return {name: round(statistics.median(taken), 1) for name, taken in samples.items()}


def by_history() -> dict[str, float]:
    """Transitions a second of each kind of history alone."""
    return {
        name: round(rate(lambda kept=history: transitions((kept,))))  # type: ignore[misc]
        for name, (_, history) in histories().items()
    }


def report(rates: dict[str, float], conditions: dict[str, Any]) -> Report:
    return Report(
        figure=rates["ours"],
        unit="transitions per processor second",
        baseline=rates["library"],
        ratio=round(rates["ours"] / rates["library"], 2),
        goal=f"{GOAL_PER_SECOND:,} transitions/s or more on one core",
        met=rates["ours"] >= GOAL_PER_SECOND,
        conditions={
            **conditions,
            "transitions_per_second": rates,
            "rounds": ROUNDS,
            "round_seconds": ROUND_SECONDS,
            "transitions_of_twenty_sessions": transitions(twenty_sessions()),
        },
    )


def main() -> None:
    as_json: bool = arguments("Pure decide and evolve a second.").parse_args().json
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        conditions = machine(Path(folder))
    rates = measure()
    if not as_json:
        rows = [
            ("decide and evolve, twenty sessions of all kinds", f"{rates['ours']:,.0f}"),
            ("eventsourcing's Aggregate, which decides nothing", f"{rates['library']:,.0f}"),
            ("our facts only made and checked", f"{rates['constructed']:,.0f}"),
            *((f"  {name}", f"{each:,.0f}") for name, each in by_history().items()),
        ]
        show("Pure transitions a second on one core", ("", "facts/s"), rows)
    finish(report(rates, conditions), as_json=as_json)


if __name__ == "__main__":
    main()
