"""Every transfer of the final chain is attributed once, rightly, and to the end; nothing else is.

Rules   A5, A6, B2 to B4. Whose a transfer is follows from what was true when it was first seen:
        the block it was first seen in, and whether its session had been cancelled by then. The
        log gives that order; block, amount and addresses come from the chain.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from simulation import oracle_inbox, oracle_policy
from simulation.evidence import LogRow, Violation
from simulation.oracle_truth import TRANSFERS, Case, Moved, us_of

STATES = {
    "onchain_transfer.observed": "observed",
    "onchain_transfer.confirmed": "confirmed",
    "onchain_transfer.retracted": "retracted",
    "onchain_transfer.reversed": "reversed",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the log says at last of a transfer: whose, and what became of it in the inbox."""

    purpose: str
    subject: str | None
    merchant: str | None
    resolution: str = "open"  # accepted, dismissed, refunding, refunded


RESOLUTIONS = {
    "onchain_transfer.accepted": "accepted",
    "onchain_transfer.dismissed": "dismissed",
    "onchain_transfer.refund_reserved": "refunding",
    "onchain_transfer.refund_released": "open",
    "onchain_transfer.refunded": "refunded",
    "onchain_transfer.refund_reversed": "refunding",
}


def verdicts(case: Case) -> dict[str, Told]:
    """By transfer id."""
    found: dict[str, Told] = {}
    for _, rows in case.of_type(TRANSFERS):
        for row in rows:
            if row.name in oracle_inbox.VERDICTS:
                found[row.data["transfer_id"]] = Told(*oracle_inbox.given(row))
            elif row.name in RESOLUTIONS:
                known = found[row.data["transfer_id"]]
                resolution = RESOLUTIONS[row.name]
                found[row.data["transfer_id"]] = replace(known, resolution=resolution)
    return found


def check(case: Case) -> Iterator[Violation]:
    streams: defaultdict[str, list[list[LogRow]]] = defaultdict(list)
    for stream_id, rows in case.of_type(TRANSFERS):
        if "sighting" not in rows[0].data:
            yield Violation("transfer_unnamed", f"stream {stream_id} begins with {rows[0].name}")
            continue
        streams[rows[0].data["sighting"]["transfer_id"]].append(rows)
    for moved in case.final.values():
        if case.owner(moved) is not None and moved.id not in streams:
            yield Violation("transfer_missed", f"{moved.id}: {moved.units} to {moved.recipient}")
    for transfer_id, found in streams.items():
        if len(found) > 1:
            yield Violation("attributed_twice", f"{transfer_id} has {len(found)} streams")
        for rows in found:
            yield from _sightings(case, transfer_id, rows)
            yield from oracle_policy.check(case, transfer_id, rows)
            yield from oracle_inbox.check(case, transfer_id, rows)
            yield from _end(case, transfer_id, rows)


def _sightings(case: Case, transfer_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    """What two providers agreed on was in a block of some branch, exactly so."""
    for row in rows:
        if row.name != "onchain_transfer.observed":
            continue
        said = row.data["sighting"]
        real = case.ever.get((transfer_id, said["block_hash"]))
        if real is None:
            if said["attested"] and not oracle_policy.believable(case, row):
                yield Violation(
                    "sighting_false", f"{transfer_id} never was in {said['block_hash']}"
                )
            continue
        if _as_said(said) != _as_it_is(real):
            yield Violation("sighting_wrong", f"{_as_said(said)} is really {_as_it_is(real)}")


def _as_said(said: dict[str, object]) -> tuple[object, ...]:
    amount = said["amount"]
    assert isinstance(amount, dict)
    time = us_of(str(said["block_time"]))
    names = ("transfer_id", "network", "token", "sender", "recipient", "tx_hash", "block_number")
    return (*(said[name] for name in names), int(amount["units"]), amount["asset"], time)


def _as_it_is(real: Moved) -> tuple[object, ...]:
    names = (real.id, real.network, real.token, real.sender, real.recipient, real.tx_hash)
    return (*names, real.number, real.units, real.asset, real.time_us)


def _end(case: Case, transfer_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    """When the dust has settled, the log says of each transfer what the chain says."""
    last = next(row for row in reversed(rows) if row.name in STATES)
    seen = next(row for row in reversed(rows) if row.name == "onchain_transfer.observed")
    state = STATES[last.name]
    block = seen.data["sighting"]["block_hash"]
    real = case.final.get(transfer_id)
    if real is None:
        if state in {"observed", "confirmed"}:
            yield Violation("transfer_phantom", f"{transfer_id} is {state} and not on chain")
        return
    if state in {"retracted", "reversed"}:
        yield Violation("transfer_missed", f"{transfer_id} is {state} and on chain")
    elif block != real.block_hash:
        yield Violation(
            "transfer_misplaced", f"{transfer_id} in {block}, really {real.block_hash}"
        )
    elif (state == "confirmed") != case.safe(real):
        deep = case.depth(real)
        yield Violation(
            "confirmation_wrong", f"{transfer_id} is {state} with {deep} confirmations"
        )
