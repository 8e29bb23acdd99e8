"""The pool after an outage: whoever asks first finds the server, not the end of the last one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres import Postgres, acting_as
from gateway.embedded import Embedded

CONNECTIONS = 4


@pytest.fixture
async def server(server_folder: Path) -> AsyncIterator[Embedded]:
    made = Embedded(server_folder, chain=None, nats=False, durable=False)
    await made.start()
    yield made
    await made.stop()


async def _one(postgres: Postgres) -> object:
    async with postgres.connection() as connection:
        await asyncio.sleep(0.05)  # so that all of them are lent at once
        return await (await connection.execute("SELECT 1")).fetchone()


@pytest.mark.parametrize("how", ["immediate", "fast"])
async def test_the_first_call_after_a_restart_succeeds(
    server: Embedded, how: Literal["immediate", "fast"]
) -> None:
    async with Postgres(server.postgres.url, name="test", max_size=CONNECTIONS) as postgres:
        await asyncio.gather(*(_one(postgres) for _ in range(CONNECTIONS)))
        await server.postgres.stop(how)
        await server.postgres.start()
        for _ in range(CONNECTIONS):
            assert await _one(postgres) == (1,)


def test_who_acts_as_another_role_keeps_what_its_dsn_asks_for() -> None:
    plain = "postgresql://postgres@127.0.0.1/gateway"
    asking = f"{plain}?options=-c%20work_mem%3D12345kB"
    for dsn, options in (
        (plain, "-c role=gw_owner"),
        (asking, "-c work_mem=12345kB -c role=gw_owner"),
    ):
        assert conninfo_to_dict(acting_as(dsn, "gw_owner"))["options"] == options
