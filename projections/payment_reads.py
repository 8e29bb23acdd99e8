"""Payment sessions by id, as filtered pages, and those whose window has closed.

Shapes  A page is driven by the narrowest filter that an index answers, by itself or in a few
        lanes; the other filters are looked at row by row, in a bounded number of rows
        (projections/pages.py). What there is to be merged is looked for first: the networks and
        assets a merchant has sessions in, the amounts within a range.
Errors  CursorMalformed; ports.StoreUnavailable.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import LiteralString, get_args
from uuid import UUID

from psycopg import sql

from application.cursors import microseconds_of, moment_of, place_of
from application.reads import Page, SessionQuery, SessionRow
from domain.payment import PaymentSession, Status
from projections.database import Connections
from projections.pages import (
    NEWER_FIELDS,
    Lane,
    Listing,
    Where,
    fetch_page,
    has_nul,
)
from projections.table import Row

LANES_MAX = 96  # a page; above that rows are looked at one by one
# A payer's sessions are filtered within one index; but not by another payer, which is a look into
# another place of it for each, several times as dear at five million sessions.
PAYERS_WALKED_MAX, PAYERS_COMPARED_MAX = 4_000, 500
AMOUNTS_MAX = 48  # different ones within a range that are merged
STATUSES: tuple[str, ...] = get_args(Status)

_COLUMNS = "state, version, updated_position, created_at, position"
# S608: here and below, what is put together are constants of this file.
_SELECT = f"SELECT {_COLUMNS} FROM rm.payments"  # noqa: S608

# A transaction pays as many sessions as it has transfers; a block has room for a few thousand.
_OF_TRANSACTION = (
    "session_id = ANY(ARRAY("
    "SELECT session_id FROM rm.payment_transfers WHERE tx_hash = %s LIMIT 2000))"
)
_OF_OWN_ADDRESS = (
    "session_id = ANY(ARRAY(SELECT subject_id FROM rm.watch_list WHERE mode = %s "
    "AND address = %s AND purpose = 'payment_session'))"
)
# Of the rows of a page alone, each by its key: so no plan reads all of a payer's.
_STATES_AROUND: LiteralString = """
SELECT k.matches, s.state, s.version, s.updated_position, k.created_at, k.position
FROM ({found}) AS k CROSS JOIN LATERAL (
    SELECT state, version, updated_position FROM rm.payments
    WHERE session_id = k.session_id LIMIT 1
) AS s
ORDER BY k.matches DESC, k.created_at DESC, k.position DESC
"""

# From one to the next along the index, as PostgreSQL cannot skip by itself.
_SHELVES: LiteralString = """
WITH RECURSIVE shelf AS (
    (SELECT network, asset FROM rm.payments
     WHERE merchant_id = %(merchant_id)s AND mode = %(mode)s {first}
     ORDER BY network, asset LIMIT 1)
    UNION ALL
    SELECT following.network, following.asset FROM shelf CROSS JOIN LATERAL (
        SELECT network, asset FROM rm.payments
        WHERE merchant_id = %(merchant_id)s AND mode = %(mode)s {following}
        ORDER BY network, asset LIMIT 1
    ) AS following
)
SELECT network, asset FROM shelf LIMIT %(most)s
"""
_AMOUNTS = """
WITH RECURSIVE amount AS (
    (SELECT due_units FROM rm.payments
     WHERE merchant_id = %(merchant_id)s AND mode = %(mode)s
       AND due_units >= %(least)s AND due_units <= %(highest)s
     ORDER BY due_units LIMIT 1)
    UNION ALL
    SELECT following.due_units FROM amount CROSS JOIN LATERAL (
        SELECT due_units FROM rm.payments
        WHERE merchant_id = %(merchant_id)s AND mode = %(mode)s
          AND due_units > amount.due_units AND due_units <= %(highest)s
        ORDER BY due_units LIMIT 1
    ) AS following
)
SELECT due_units FROM amount LIMIT %(most)s
"""
_UNITS_MAX = 2**256 - 1  # of an ERC-20 token

_DUE = """
SELECT session_id FROM rm.payments
WHERE status = 'pending' AND network = %s AND expires_at <= %s
ORDER BY expires_at, position LIMIT %s
"""
_EXPECTS = "SELECT FROM rm.payments WHERE status = 'pending' AND network = %s LIMIT 1"
_OPENED_SINCE = """
SELECT min(opened_at) FROM rm.payment_openings WHERE network = %s AND closing_hour > %s
"""
_HOUR = timedelta(hours=1)


class PaymentReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, session_id: UUID) -> SessionRow | None:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(f"{_SELECT} WHERE session_id = %s", (session_id,))
            row = await cursor.fetchone()
        return None if row is None else _session_row(row)[0]

    async def page(self, query: SessionQuery) -> Page[SessionRow]:
        lanes, answered = await self._lanes(query)
        residual = _residual(query, answered)
        listing = _PAID_LISTING if "payer" in answered or "address" in answered else _LISTING
        return await fetch_page(self._connections, listing, lanes, query.limit, residual)

    async def _lanes(self, query: SessionQuery) -> tuple[list[Lane], frozenset[str]]:
        """Where to read, and which filters are answered by that."""
        base = _base(query)
        direct = _direct_lanes(query, base)
        if direct is not None:
            return direct
        if query.status or query.network or query.assets is not None:
            shelves = await self._shelves(query)
            if shelves is not None:
                return shelves, frozenset({"status", "network", "assets"})
        elif query.units_min is not None or query.units_max is not None:
            amounts = await self._amounts(query)
            if amounts is not None:
                return amounts, frozenset({"units"})
        return [Lane(base)], frozenset()

    async def _shelves(self, query: SessionQuery) -> list[Lane] | None:
        """A lane for each network, asset and status; None where there are too many."""
        statuses = STATUSES if query.status is None else (query.status,)
        most = LANES_MAX // len(statuses) + 1
        given = {
            "merchant_id": query.merchant_id,
            "mode": query.mode,
            "network": query.network,
            "most": most,
        }
        if query.network is not None and has_nul(query.network):
            return []
        first, following = "", "AND (network, asset) > (shelf.network, shelf.asset)"
        if query.network is not None:
            first = "AND network = %(network)s"
            following = f"{first} AND asset > shelf.asset"
        statement = _SHELVES.format(first=first, following=following)
        found = await self._rows(statement, given)
        if len(found) == most:
            return None
        lanes = []
        for network, asset in found:
            if query.assets is not None and asset not in query.assets:
                continue
            for status in statuses:
                where = _base(query)
                where.add("network = %s", network)
                where.add("asset = %s", asset)
                where.add("status = %s", status)
                lanes.append(Lane(where))
        return lanes

    async def _amounts(self, query: SessionQuery) -> list[Lane] | None:
        """A lane for each amount within the range; None where there are too many."""
        given = {
            "merchant_id": query.merchant_id,
            "mode": query.mode,
            "least": 0 if query.units_min is None else query.units_min,
            "highest": _UNITS_MAX if query.units_max is None else query.units_max,
            "most": AMOUNTS_MAX + 1,
        }
        found = await self._rows(_AMOUNTS, given)
        if len(found) > AMOUNTS_MAX:
            return None
        lanes = []
        for (units,) in found:
            where = _base(query)
            where.add("due_units = %s", units)
            lanes.append(Lane(where))
        return lanes

    async def _rows(self, statement: str, given: Mapping[str, object]) -> list[Row]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(statement, given, prepare=False)
            return await cursor.fetchall()

    async def due_to_expire(self, now: datetime, limit: int, *, network: str) -> Sequence[UUID]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_DUE, (network, now, limit))
            return [row[0] for row in await cursor.fetchall()]

    async def expects(self, network: str) -> bool:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_EXPECTS, (network,))
            return await cursor.fetchone() is not None

    async def opened_since(self, network: str, not_expired_at: datetime) -> datetime | None:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_OPENED_SINCE, (network, not_expired_at - _HOUR))
            row = await cursor.fetchone()
            return None if row is None else row[0]


def _base(query: SessionQuery) -> Where:
    """What every lane asks for: whose sessions, from when, and where the last page ended."""
    where = Where()
    where.add("merchant_id = %s", query.merchant_id)
    where.add("mode = %s", query.mode)
    _in_window(where, query)
    return where


def _in_window(where: Where, query: SessionQuery) -> None:
    where.add("created_at >= %s", query.created_from)
    where.add("created_at < %s", query.created_to)
    if query.cursor is not None:
        created, position = place_of(query.cursor, 2)
        where.before("created_at, position", (moment_of(created), position))


def _direct_lanes(query: SessionQuery, base: Where) -> tuple[list[Lane], frozenset[str]] | None:
    """Those of a filter that names few sessions, the narrowest first."""
    if query.session_id is not None:
        base.add("session_id = %s", query.session_id)
        return [Lane(base)], frozenset({"session_id"})
    if query.tx_hash is not None:
        base.add(_OF_TRANSACTION, query.tx_hash)
        return [Lane(base)], frozenset({"tx_hash"})
    if query.merchant_reference is not None:
        base.add("merchant_reference = %s", query.merchant_reference)
        return [Lane(base)], frozenset({"merchant_reference"})
    if query.address is not None:
        return _address_lanes(query, query.address, base), frozenset({"address"})
    if query.payer is not None:
        return [_payer_lane(query, query.payer)], frozenset({"payer"})
    return None


def _payer_lane(query: SessionQuery, payer: str) -> Lane:
    where = Where()
    where.add("merchant_id = %s", query.merchant_id)
    where.add("mode = %s", query.mode)
    where.add("payer = %s", payer)
    _in_window(where, query)
    other = query.payer not in {None, payer}
    return Lane(where, walked_max=PAYERS_COMPARED_MAX if other else PAYERS_WALKED_MAX)


def _address_lanes(query: SessionQuery, address: str, base: Where) -> list[Lane]:
    """Sessions paid from it, and the one it was made for."""
    base.conditions.append(sql.SQL(_OF_OWN_ADDRESS))
    base.arguments += [query.mode, address]
    base.add(
        "NOT EXISTS (SELECT FROM rm.payment_payers AS paid "
        "WHERE paid.session_id = payments.session_id AND paid.payer = %s)",
        address,
    )
    payers = _payer_lane(query, address)
    own = Lane(base, source="rm.payments", walked_max=payers.walked_max)  # a row or so
    return [payers, own]


def _residual(query: SessionQuery, answered: Iterable[str]) -> Where:
    """The filters that the lanes have not answered."""
    where = Where()
    for name, condition in _LOOKED_AT.items():
        if name not in answered:
            value = getattr(query, name)
            where.add(condition, list(value) if isinstance(value, tuple) else value)
    if "units" not in answered:
        where.add("due_units >= %s", query.units_min)
        where.add("due_units <= %s", query.units_max)
    return where


_PAID: LiteralString = (
    "SELECT FROM rm.payment_payers AS paid WHERE paid.session_id = walked.session_id"
)
_LOOKED_AT: dict[str, LiteralString] = {
    "status": "status = %s",
    "network": "network = %s",
    "assets": "asset = ANY(%s)",
    "merchant_reference": "merchant_reference = %s",
    "tx_hash": (
        "EXISTS (SELECT FROM rm.payment_transfers AS moved "
        "WHERE moved.session_id = walked.session_id AND moved.tx_hash = %s)"
    ),
    "payer": f"EXISTS ({_PAID} AND paid.payer = %s)",
    "address": (
        f"(SELECT own_address = a OR EXISTS ({_PAID} AND paid.payer = a)"  # noqa: S608
        " FROM (SELECT %s::text AS a OFFSET 0) AS asked)"
    ),
}


def _session_row(row: Row) -> tuple[SessionRow, tuple[int, ...]]:
    text, version, updated_position, created_at, position = row
    assert isinstance(text, str)
    assert isinstance(version, int)
    assert isinstance(updated_position, int)
    assert isinstance(created_at, datetime)
    assert isinstance(position, int)
    session = PaymentSession.model_validate_json(text, extra=NEWER_FIELDS)
    item = SessionRow(session, version, updated_position)
    return item, (microseconds_of(created_at), position)


_LISTING = Listing(
    source="rm.payments",
    columns=_COLUMNS,
    order="created_at DESC, position DESC",
    read=_session_row,
    residual="session_id, status, network, asset, due_units, merchant_reference, own_address",
)
# A payer's sessions: looked at in the payers' own index, and read once they are found.
_PAID_LISTING = Listing(
    source="rm.payment_payers",
    columns="session_id, created_at, position",
    order=_LISTING.order,
    read=_session_row,
    residual="status, network, asset, due_units",
    around=_STATES_AROUND,
)
