"""What the ingester's twin holds of one network, and how writes change it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from application.chain_messages import MessageMalformed, TransferReport, decode_report
from application.ingest import (
    CoveredRange,
    Cursor,
    Passage,
    PassedHeader,
    Sighted,
    StoredReport,
    Terms,
)
from domain.events import Sighting


@dataclass(slots=True)
class Block:
    header: PassedHeader
    canonical: bool = True


@dataclass(slots=True)
class Seen:
    sighting: Sighting
    terms: Terms
    state: Literal["observed", "confirmed", "orphaned"] = "observed"

    def told(self) -> Sighted:
        return Sighted(self.sighting, self.terms, self.state == "confirmed")

    def waits(self, *, attested_only: bool) -> bool:
        return self.state == "observed" and (self.sighting.attested or not attested_only)


@dataclass(slots=True)
class Post:
    report: StoredReport
    created_at: datetime | None = None
    published_at: datetime | None = None
    publications: int = 0
    settled: bool = False


@dataclass(slots=True)
class NetworkRows:
    cursor: Cursor
    blocks: dict[str, Block] = field(default_factory=dict)
    # By block and transfer, in the order of their first sighting.
    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    outbox: list[Post] = field(default_factory=list)
    coverage: list[CoveredRange] = field(default_factory=list)


def observed_at(report: StoredReport) -> tuple[datetime, ...]:
    try:
        told = decode_report(report.subject, report.data)
    except MessageMalformed:
        return ()
    if isinstance(told, TransferReport) and told.kind == "observed":
        return (told.sighting.block_time,)
    return ()


def write_header(held: NetworkRows, header: PassedHeader) -> None:
    """Attested only if it was read through a quorum since it last joined the chain."""
    old = held.blocks.get(header.ref.hash)
    if old is not None and old.canonical and old.header.attested:
        return
    held.blocks[header.ref.hash] = Block(header)


def write_sightings(held: NetworkRows, sightings: Sequence[Sighted]) -> None:
    """Terms stay as they were, but of a block that left the chain and has come back."""
    for fresh in sightings:
        key = (fresh.sighting.block_hash, fresh.sighting.transfer_id)
        old = held.seen.get(key)
        if old is None:
            held.seen[key] = Seen(fresh.sighting, fresh.terms)
        elif old.state == "orphaned":
            terms = replace(fresh.terms, policy_version=old.terms.policy_version)
            held.seen[key] = Seen(fresh.sighting, terms)
        elif not old.sighting.attested:
            old.sighting = fresh.sighting


def confirm(held: NetworkRows, confirmed: Sequence[Sighted]) -> None:
    for each in confirmed:
        seen = held.seen[each.sighting.block_hash, each.sighting.transfer_id]
        assert seen.state == "observed", "only canonical, unconfirmed sightings are confirmed"
        seen.state = "confirmed"


def extend(coverage: list[CoveredRange], passage: Passage) -> None:
    header, ref = passage.header, passage.header.ref
    last = coverage[-1] if coverage else None
    if (
        last is not None
        and last.last_hash == passage.cursor.hash
        and last.last == passage.first - 1
        and (last.providers, last.attested) == (header.providers, header.attested)
    ):
        coverage[-1] = replace(last, last=ref.number, last_hash=ref.hash, updated_at=passage.at)
        return
    coverage.append(
        CoveredRange(
            passage.first,
            passage.cursor.hash,
            ref.number,
            ref.hash,
            header.providers,
            header.attested,
            passage.at,
        )
    )
