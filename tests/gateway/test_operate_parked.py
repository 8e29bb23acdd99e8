"""`gateway parked` as an operator runs it: looked at, tried again, settled, and kept."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from rich.console import Console

from adapters.parked import PostgresParkedMessages
from adapters.postgres import Postgres
from application.chain_messages import SOURCE, encode_report, subject_of
from application.outside import BusMessage, ParkedMessage
from gateway.local_chain import LOCAL_TOKENS
from gateway.operate_parked import described, listed
from projections.schema import ensure_schemas
from tests.application.test_settlement import report
from tests.conftest import Migrated
from tests.examples import AT, sighting

ROOT = Path(__file__).resolve().parents[2]
TOLD = report("confirmed", 1, sighting())
MESSAGE = ParkedMessage(
    SOURCE, "id-1", "chain.local.transfer.observed", b'{"a": 1}', "KeyError: [b]", AT
)


class Ran(NamedTuple):
    status: int
    lines: list[str]
    said: str

    @property
    def json(self) -> list[Any]:
        return [orjson.loads(line) for line in self.lines]


@pytest.fixture
async def parked(migrated: Migrated) -> AsyncIterator[PostgresParkedMessages]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    async with Postgres(migrated.app_dsn, name="test-parked") as postgres:
        yield PostgresParkedMessages(postgres)


async def gateway(migrated: Migrated, *arguments: str) -> Ran:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "parked", *arguments),
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": migrated.app_dsn,
            "NATS_URL": "nats://127.0.0.1:9",  # not needed, and not there
            "NETWORKS": "local",
            "LOCAL_TOKENS": LOCAL_TOKENS,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode is not None
    return Ran(child.returncode, out.decode().splitlines(), error.decode())


@pytest.mark.services
async def test_a_report_is_looked_at_and_tried_again_until_nothing_waits(
    migrated: Migrated, parked: PostgresParkedMessages
) -> None:
    assert (await gateway(migrated, "--json")).status == 0
    good = BusMessage(subject_of(TOLD), encode_report(TOLD), 5, None, TOLD.message_id)
    await parked.park(SOURCE, good, "KeyError: 'a bug of the release before'")
    junk = BusMessage("chain.local.transfer.observed", b"junk", 1, None, "junk")
    await parked.park(SOURCE, junk, "MessageMalformed: no report")
    waiting = await gateway(migrated, "--json")
    assert waiting.status == 1
    assert {each["message_id"] for each in waiting.json} == {TOLD.message_id, "junk"}
    shown = await gateway(migrated, "show", TOLD.message_id)
    assert shown.status == 0
    assert '  "report_number": 1,' in shown.lines
    tried = await gateway(migrated, "retry", "--all", "--reason", "release 7", "--json")
    assert tried.status == 1, "one is no report, and never will be"
    assert {each["message_id"]: each["outcome"] for each in tried.json} == {
        TOLD.message_id: "settled",
        "junk": "failed",
    }
    again = await gateway(migrated, "retry", TOLD.message_id, "--reason", "sure?", "--json")
    assert again.status == 0
    assert (again.json[0]["retries"], again.json[0]["retry_reason"]) == (1, "release 7")
    assert [each["message_id"] for each in (await gateway(migrated, "--json")).json] == ["junk"]
    everything = await gateway(migrated, "--all", "--json")
    assert {each["settled"] for each in everything.json} == {True, False}


@pytest.mark.services
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nothing"), "no report 'nothing' is parked"),
        (("retry", "nothing", "--reason", "x"), "no report 'nothing' is parked"),
        (("retry", "--reason", "x"), "name one parked report, or give --all"),
        (("retry", "nothing", "--all", "--reason", "x"), "name one parked report"),
        (("retry", "--all", "--reason", " "), "say why"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(
    migrated: Migrated, parked: PostgresParkedMessages, arguments: tuple[str, ...], said: str
) -> None:
    assert await parked.list(1) == []
    ran = await gateway(migrated, *arguments)
    assert ran.status == 1
    assert said in ran.said
    assert "Traceback" not in ran.said


def test_people_see_the_newest_reason_and_every_field_whole() -> None:
    failed = replace(
        MESSAGE,
        retries=2,
        retried_at=AT,
        retry_reason="release 7",
        outcome="failed",
        retry_error="ValueError: [still]",
    )
    written = io.StringIO()
    out = Console(width=400, file=written)
    listed([failed, MESSAGE], out)
    described(failed, out)
    text = written.getvalue()
    for expected in ("ValueError: [still]", "KeyError: [b]", "failed again", "waits for somebody"):
        assert expected in text
    assert "retried because release 7" in text
    assert '  "a": 1' in text
