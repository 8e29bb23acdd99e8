"""States of payment sessions as the domain folds them, to be given ids of their own.

Shapes  a Sample is the JSON of a state with PARTS in the places of what differs from row to row,
        and the columns a list filters by. Weighted as a merchant's are: most are completed, few
        are open, some were cancelled, some given back.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from bench.replay_chain import TOKEN
from domain import commands as c
from domain import payment
from domain.events import Sighting
from domain.money import Amount
from domain.network_catalogue import KNOWN_NETWORKS

SAMPLES = 4_000
SECONDS_APART = 10
APART = timedelta(seconds=SECONDS_APART)
BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
AT = datetime(2024, 7, 7, 7, 7, 7, tzinfo=UTC)
WINDOW = timedelta(days=7)
SEED = 11
_OUTCOMES = (
    ("completed", 780),
    ("failed", 150),
    ("refunded", 30),
    ("partially_refunded", 2),
    ("confirming", 8),
    ("pending", 30),
)
_AMOUNTS = (49_900_000, 9_900_000, 120_000_000)


class Parts(NamedTuple):
    """Of every sample the same; unlike anything else in a state."""

    session_id: UUID = UUID(int=0x5E5510 << 100)
    merchant_id: UUID = UUID(int=0x3E8C << 110)
    address: str = "0x" + "d7" * 20
    payer: str = "0x" + "b3" * 20
    tx_hash: str = "0x" + "c9" * 32
    reference: str = "order-of-a-sample"
    created_at: str = "2024-07-07T07:07:07Z"


PARTS = Parts()


class Sample(NamedTuple):
    state: str  # as format() of PostgreSQL takes it: %1$s is the first of PARTS
    status: str
    network: str
    asset: str
    units: int
    paid: bool


def samples() -> list[Sample]:
    rng = random.Random(SEED)
    kinds, weights = zip(*_OUTCOMES, strict=True)
    # Of each one at least, so that every filter finds something.
    outcomes = [*kinds, *rng.choices(kinds, weights, k=SAMPLES - len(kinds))]
    return [_sample(rng, outcome) for outcome in outcomes]


def _form(state: str) -> str:
    """With gaps for PARTS, filled in one pass."""
    form = state.replace("%", "%%")
    for number, part in enumerate(PARTS, start=1):
        assert str(part) in form or part in {PARTS.payer, PARTS.tx_hash}, part  # unpaid
        form = form.replace(str(part), f"%{number}$s")
    return form


def _where(rng: random.Random) -> tuple[str, str]:
    """A network of test mode, and an asset there."""
    known = {network.name: network for network in KNOWN_NETWORKS}
    name = rng.choices(("local", "polygon_amoy", "base_sepolia"), (70, 25, 5))[0]
    if name == "local":
        return name, f"eip155:31337/erc20:{TOKEN}"
    network = known[name]
    return name, network.asset(rng.choice(network.tokens))


def _sample(rng: random.Random, outcome: str) -> Sample:
    network, asset = _where(rng)
    cents = rng.randrange(100, 50_000) * 10_000
    units = rng.choice(_AMOUNTS) if rng.random() < 0.5 else cents
    due = Amount(units=units, asset=asset)
    folded: payment.PaymentSession | None = None
    for command in _history(network, due, outcome):
        for event in payment.decide(command, folded):
            folded = payment.evolve(folded, event)
    assert folded is not None
    assert folded.status == outcome, (folded.status, outcome)
    return Sample(
        _form(folded.model_dump_json()),
        outcome,
        network,
        asset,
        units,
        paid=bool(folded.transfers),
    )


def _history(network: str, due: Amount, outcome: str) -> list[c.SessionCommand]:
    created = c.CreateSession(
        at=AT,
        session_id=PARTS.session_id,
        merchant_id=PARTS.merchant_id,
        mode="test",
        network=network,
        due=due,
        pay_by="deposit_address",
        tolerance=due.changed(units=0),
        deposit_address=PARTS.address,
        deposit_index=7,
        expires_at=AT + WINDOW,
        grace_seconds=86_400,
        description="Two coffees and a slice of the apple cake",
        merchant_reference=PARTS.reference,
        metadata={"table": "7", "waiter": "Ada"},
    )
    seen = _sighting(network, due)
    observed = c.ObserveTransfer(at=AT, sighting=seen)
    confirmed = c.ConfirmTransfer(
        at=AT,
        transfer_id=seen.transfer_id,
        block_hash=seen.block_hash,
        confirmations=12,
        policy_version=1,
        rule="12 confirmations",
    )
    paid: list[c.SessionCommand] = [created, observed, confirmed]
    back = due.units if outcome == "refunded" else due.units // 3
    refund_id = UUID(int=0xEF)
    given_back: list[c.SessionCommand] = [
        c.ReserveRefund(at=AT, refund_id=refund_id, amount=due.changed(units=back)),
        c.SettleRefund(at=AT, refund_id=refund_id, tx_hash="0x" + "f1" * 32),
    ]
    histories: dict[str, list[c.SessionCommand]] = {
        "pending": [created],
        "confirming": [created, observed],
        "failed": [created, c.ExpireSession(at=AT + WINDOW)],
        "completed": paid,
        "refunded": [*paid, *given_back],
        "partially_refunded": [*paid, *given_back],
    }
    return histories[outcome]


def _sighting(network: str, due: Amount) -> Sighting:
    return Sighting(
        transfer_id=f"31337:{PARTS.tx_hash}:0",
        network=network,
        amount=due,
        token=TOKEN,
        sender=PARTS.payer,
        recipient=PARTS.address,
        tx_hash=PARTS.tx_hash,
        log_index=0,
        block_number=1_000,
        block_hash="0x" + "ab" * 32,
        block_time=AT,
        attested=True,
        providers=("one", "two"),
    )
