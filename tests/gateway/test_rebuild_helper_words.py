"""What the two processes of a rebuild say to each other, also when it is not what it should be."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg
import pytest
from pydantic import BaseModel, ValidationError

from application.ports import StoreUnavailable
from domain.event_base import EventUnknown
from gateway import rebuild_helper
from gateway.rebuild_helper import told_of
from projections.checkpoints import Overtaken
from projections.sharing import HelperFailed
from projections.wording import ERROR_LENGTH_MAX
from tests.gateway.projections_site import Site
from tests.gateway.test_rebuild_helper import NOWHERE, site, unheard

__all__ = ["site"]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """A program that is started in the helper's stead: it reads its order and does as told."""
    program = tmp_path / "stand-in"

    def does(lines: str) -> None:
        program.write_text(f"#!/bin/sh\nread order\n{lines}\n")
        program.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(program))

    return does


@pytest.mark.parametrize(
    "lines",
    [
        "head -c 3000000 /dev/zero | tr '\\0' x; echo",
        "echo 'a library greets you'",
        "echo '[1]'",
        """echo '{"phase": "replaying", "position": "7"}'""",
    ],
)
async def test_a_line_that_is_none_of_ours_ends_the_rebuild_in_a_sentence(
    stand_in: Callable[[str], None], lines: str
) -> None:
    stand_in(lines)
    with pytest.raises(HelperFailed, match=r"rebuilt inbox has said what cannot be understood$"):
        await NOWHERE.replay(["inbox"], unheard)


@pytest.mark.parametrize("known", [StoreUnavailable, EventUnknown, Overtaken])
async def test_what_the_first_process_knows_to_explain_is_raised_there(
    stand_in: Callable[[str], None], known: type[Exception]
) -> None:
    stand_in(f"""echo '{{"failed": "{known.__name__}", "text": "why"}}'""")
    with pytest.raises(known, match="why"):
        await NOWHERE.replay(["inbox"], unheard)


async def test_a_helper_that_falls_silent_is_killed_and_told(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rebuild_helper, "SILENCE_SECONDS", 0.4)
    stand_in(f"""echo $$ > {tmp_path}/pid; echo '{{"alive": true}}'; exec sleep 60""")
    began = asyncio.get_running_loop().time()
    with pytest.raises(
        HelperFailed, match=r"said nothing for 0\.4 seconds and was killed; the same"
    ):
        await NOWHERE.replay(["inbox"], unheard)
    assert asyncio.get_running_loop().time() - began < rebuild_helper.END_SECONDS
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


async def test_a_helper_that_waits_for_its_database_is_not_silent() -> None:
    async def unanswered(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(unanswered, "127.0.0.1", 0)
    dsn = f"host=127.0.0.1 port={server.sockets[0].getsockname()[1]}"
    often = "from gateway import rebuild_helper as h; h.ALIVE_SECONDS = 0.1; h.main()"
    helper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", often), stdin=PIPE, stdout=PIPE
    )
    assert helper.stdin is not None
    assert helper.stdout is not None
    helper.stdin.write(orjson.dumps({"owner": dsn, "app": dsn, "names": ["inbox"]}) + b"\n")
    try:
        async with asyncio.timeout(60):
            said = [orjson.loads(line) async for line in helper.stdout]
    finally:
        helper.stdin.close()
        await helper.wait()
        server.close()
        for writer in writers:
            writer.close()
    *before, last = said
    assert last["failed"] == "StoreUnavailable"
    assert before.count({"alive": True}) > 5


class Note(BaseModel):
    text: int


@pytest.mark.services
async def test_what_is_told_of_an_error_is_short_and_holds_nothing_of_customers(
    site: Site,
) -> None:
    with pytest.raises(ValidationError) as invalid:
        Note.model_validate({"text": "ann@example.com"})
    assert told_of(invalid.value) == {"failed": "ValidationError", "text": "text: int_parsing"}
    with pytest.raises(psycopg.errors.UniqueViolation) as twice:
        await site.rows(
            "INSERT INTO rm_admin.checkpoints (schema, name, version) "
            "SELECT 'ann@example.com', 'x', 1 FROM generate_series(1, 2)"
        )
    assert "ann@example.com" in str(twice.value), "the database names the row"
    said = told_of(twice.value)
    assert said["failed"] == "UniqueViolation"
    assert "checkpoints_pkey" in said["text"]
    assert "ann@example.com" not in said["text"]
    long = told_of(RuntimeError("\ud800" + "x" * 2_000_000))
    assert long == {"failed": "RuntimeError", "text": "?" + "x" * (ERROR_LENGTH_MAX - 1)}
    assert orjson.loads(orjson.dumps(long)) == long
