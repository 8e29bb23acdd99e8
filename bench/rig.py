"""A gateway on servers of its own for the benchmarks of ingestion, wired as in production.

Shapes  `gateway` gives the environment of every process: PostgreSQL with fsync and JetStream with
        a sync at every write, tables made, sessions open. `process` runs a gateway command beside
        the benchmark. Sessions are opened by their facts, appended to the log; the read models
        learn of them as always.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGTERM
from typing import NamedTuple
from uuid import UUID

from adapters import migrate
from application.ports import Batch, Context, Stream, StreamAppend
from application.reads import WATCH_LIST_MODEL
from bench.replay_chain import TOKEN, UNITS, watched_address
from domain.events import SessionCreated
from domain.money import Amount
from gateway import bootstrap
from gateway.bootstrap import Core
from gateway.embedded import Embedded
from gateway.processes import Child, Launch
from projections.schema import ensure_schemas

HOME = Path(__file__).resolve().parent.parent
NETWORK = "local"
AT_ONCE = 256
END_SECONDS_MAX = 20.0
PROJECTED_SECONDS_MAX = 120.0
MERCHANT = UUID(int=0xA1)
CONTEXT = Context(
    actor="api_key:00000000000000000000000000000001", merchant_id=MERCHANT, mode="test"
)
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class Running(NamedTuple):
    environment: Mapping[str, str]  # the settings, under their variables' names
    admin: str  # PostgreSQL as its superuser


@asynccontextmanager
async def gateway(
    folder: Path,
    urls: Sequence[str],
    *,
    start_block: int,
    confirmations: int,
    sockets: Sequence[str] = (),
) -> AsyncIterator[Running]:
    """The servers live as long as the context."""
    async with Embedded(folder, chain=None) as endpoints:
        await asyncio.to_thread(_tables, endpoints.database_url)
        bell = {"RPC_WS_URLS_LOCAL": ",".join(sockets)} if sockets else {}
        environment = {
            **bell,
            "DATABASE_URL": migrate.role_dsn(endpoints.database_url, migrate.APP),
            "NATS_URL": endpoints.nats_url,
            "NETWORKS": NETWORK,
            "RPC_URLS_LOCAL": ",".join(urls),
            "LOCAL_TOKENS": f"USDC={TOKEN}",
            "CONFIRMATIONS_LOCAL": str(confirmations),
            "START_BLOCK_LOCAL": str(start_block),
            "INGEST_RESTS": "false",
            "LOG_LEVEL": "warning",
        }
        yield Running(environment, endpoints.database_url)


def _tables(admin: str) -> None:
    migrate.create_roles(admin)
    owner = migrate.role_dsn(admin, migrate.OWNER)
    migrate.migrate(owner)
    ensure_schemas(owner)


@asynccontextmanager
async def process(name: str, environment: Mapping[str, str], folder: Path) -> AsyncIterator[Child]:
    """One gateway command, ended with the context."""
    inherited = {key: value for key, value in os.environ.items() if key in _INHERITED}
    child = Child(
        Launch(
            (sys.executable, "-m", "gateway", name),
            log=folder / "log" / f"{name}.log",
            environment={**inherited, **environment, "PYTHONUNBUFFERED": "1"},
            folder=HOME,
        )
    )
    try:
        yield child
    finally:
        await child.end(SIGTERM, END_SECONDS_MAX)


async def open_sessions(of: Core, count: int) -> None:
    """One for each watched address, of the amount that a replayed transfer brings."""
    now = datetime.now(UTC)
    facts = (_session(number, now) for number in range(count))
    while some := [fact for _, fact in zip(range(AT_ONCE), facts, strict=False)]:
        await asyncio.gather(*(of.store.append(Batch((_append(f),), CONTEXT)) for f in some))
    reached = await bootstrap.progress(of).wait_for(
        await of.store.head(),
        timeout_seconds=PROJECTED_SECONDS_MAX,
        projection=WATCH_LIST_MODEL,
    )
    assert reached, "the watch list has read the sessions"


def _append(fact: SessionCreated) -> StreamAppend:
    return StreamAppend(Stream("payment_session", fact.session_id), 0, (fact,))


def _session(number: int, now: datetime) -> SessionCreated:
    asset = f"eip155:31337/erc20:{TOKEN}"
    return SessionCreated(
        at=now,
        session_id=UUID(int=(0xB << 120) | number),
        merchant_id=MERCHANT,
        mode="test",
        network=NETWORK,
        due=Amount(units=UNITS, asset=asset),
        pay_by="deposit_address",
        tolerance=Amount(units=0, asset=asset),
        deposit_address=watched_address(number),
        deposit_index=number,
        expires_at=now + timedelta(hours=24),
        grace_seconds=86_400,
        description="Two coffees",
        merchant_reference=f"order-{number}",
    )
