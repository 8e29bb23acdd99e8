"""Parts of the ingester's transactions, and its rows as values; used by adapters/ingest_store.py.

Errors  CursorMoved; what psycopg raises passes through.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import psycopg

from adapters.ingest_sql import CANONICAL_HEADER, CONFIRM, MOVE_CURSOR, REPORT, SIGHT
from application.ingest import (
    BlockRef,
    Cursor,
    CursorMoved,
    PassedHeader,
    Sighted,
    StoredReport,
    Terms,
)
from domain.events import Sighting
from domain.networks import ConfirmationRule


async def move(
    connection: psycopg.AsyncConnection,
    network: str,
    before: Cursor,
    to: BlockRef,
    reports: Sequence[StoredReport],
    at: datetime,
) -> Cursor:
    """First in every transaction: it also makes two writers of a network wait in line."""
    last = reports[-1].report_number if reports else before.report_number
    moved = await connection.execute(
        MOVE_CURSOR,
        (to.number, to.hash, last, at, network, before.number, before.hash, before.report_number),
    )
    if moved.rowcount != 1:
        raise CursorMoved(network)
    return Cursor(to.number, to.hash, last, before.anchor)


async def write_header(
    connection: psycopg.AsyncConnection, network: str, header: PassedHeader, at: datetime
) -> None:
    ref = header.ref
    await connection.execute(
        CANONICAL_HEADER,
        (
            network,
            ref.hash,
            ref.number,
            ref.parent_hash,
            header.time,
            header.attested,
            list(header.providers),
            at,
        ),
    )


async def write_sightings(
    connection: psycopg.AsyncConnection, sightings: Iterable[Sighted], at: datetime
) -> None:
    rows = [
        (
            seen.sighting.network,
            seen.sighting.block_hash,
            seen.sighting.transfer_id,
            seen.sighting.block_number,
            seen.sighting.attested,
            seen.sighting.model_dump_json(),
            seen.terms.policy_version,
            seen.terms.rule.blocks,
            seen.terms.rule.tag,
            at,
            at,
        )
        for seen in sightings
    ]
    if rows:
        await connection.cursor().executemany(SIGHT, rows)


async def confirm(
    connection: psycopg.AsyncConnection, network: str, confirmed: Sequence[Sighted], at: datetime
) -> None:
    if not confirmed:
        return
    hashes = [seen.sighting.block_hash for seen in confirmed]
    transfers = [seen.sighting.transfer_id for seen in confirmed]
    done = await connection.execute(CONFIRM, (at, hashes, transfers, network))
    assert done.rowcount == len(confirmed), "only canonical, unconfirmed sightings are confirmed"


async def write_reports(
    connection: psycopg.AsyncConnection,
    network: str,
    reports: Iterable[StoredReport],
    at: datetime,
) -> None:
    rows = [
        (network, report.report_number, report.message_id, report.subject, report.data, at)
        for report in reports
    ]
    if rows:
        await connection.cursor().executemany(REPORT, rows)


def header_of(row: tuple[object, ...]) -> PassedHeader:
    number, block_hash, parent_hash, time, attested, providers = row
    assert isinstance(number, int)
    assert isinstance(time, datetime)
    assert isinstance(providers, list)
    ref = BlockRef(number, str(block_hash), str(parent_hash))
    return PassedHeader(ref, time, bool(attested), tuple(providers))


def sighted_of(row: tuple[object, ...]) -> Sighted:
    text, *terms, confirmed = row
    assert isinstance(text, str)
    return Sighted(Sighting.model_validate_json(text), terms_of(*terms), bool(confirmed))


def terms_of(*row: object) -> Terms:
    version, blocks, tag = row
    assert isinstance(version, int)
    return Terms(version, ConfirmationRule.model_validate({"blocks": blocks, "tag": tag}))
