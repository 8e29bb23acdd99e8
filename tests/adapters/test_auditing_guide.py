"""An auditor's program, word for word from the guide, follows a log that our store wrote."""

import ast
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.memory.clock import FakeClock
from adapters.postgres import Postgres
from application.handling import Handler
from tests.conftest import Migrated
from tests.ports.event_store_facts import AT
from tests.projections.history import History

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "auditing.md").read_text(encoding="utf-8")
PROGRAM = GUIDE.split("```python\n")[1].split("```")[0]
STANDARD = {"json", "os", "sys", "dataclasses", "typing", "uuid"}


def settings(migrated: Migrated, file: Path) -> Mapping[str, str]:
    parts = urlsplit(migrated.readonly_dsn)
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONWARNINGS": "error",
        "GATEWAY_PERSISTENCE_MODULE": "adapters.recorder",
        "GATEWAY_POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "GATEWAY_POSTGRES_HOST": parts.hostname or "",
        "GATEWAY_POSTGRES_PORT": str(parts.port),
        "GATEWAY_POSTGRES_USER": parts.username or "",
        "GATEWAY_POSTGRES_PASSWORD": parts.password or "",
        "COUNTS_PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "COUNTS_SQLITE_DBNAME": str(file),
    }


async def audited(program: Path, environment: Mapping[str, str]) -> dict[str, int]:
    """One run of the program, from its start to the head of the log and its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        env=dict(environment),
        cwd=program.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    counts: dict[str, int] = json.loads(out)
    return counts


def test_the_program_needs_the_library_alone() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(PROGRAM)):
        if isinstance(node, ast.Import):
            imported |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported == {*STANDARD, "eventsourcing"}


def test_the_guide_names_every_setting_the_program_gets(tmp_path: Path) -> None:
    given = settings(Migrated(*["postgresql://a:b@c:5/d"] * len(Migrated._fields)), tmp_path)
    for name in given.keys() - {"PATH", "PYTHONWARNINGS"}:
        start, _, rest = name.partition("POSTGRES_")
        assert f"`{name}`" in GUIDE or (start == "GATEWAY_" and f"`_{rest}`" in GUIDE), name


async def test_an_auditor_counts_the_log_and_goes_on_where_it_stopped(
    migrated: Migrated, tmp_path: Path
) -> None:
    program = tmp_path / "auditor.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = settings(migrated, tmp_path / "counts.db")

    async def log() -> Counter[str]:
        facts: Any = await store.read_log(after=0, limit=10_000)
        return Counter(each.event.name for each in facts)

    async with (
        Postgres(migrated.app_dsn, name="test", max_size=2) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        clock = FakeClock(AT)
        await History(Handler(store, clock), clock, 1).write(3)
        before = await log()
        assert await audited(program, environment) == before
        assert await audited(program, environment) == before, "a second look counts nothing twice"
        await History(Handler(store, clock), clock, 2).write(2)
        after = await log()
        assert after.total() > before.total() > 0
        assert await audited(program, environment) == after


async def test_a_log_that_takes_longer_than_any_wait_is_counted_to_its_end(
    migrated: Migrated, tmp_path: Path
) -> None:
    program = tmp_path / "auditor.py"
    slow = "import time; time.sleep(0.05)"
    program.write_text(
        PROGRAM.replace("SILENCE_SECONDS = 30.0", "SILENCE_SECONDS = 0.5").replace(
            "        self.view.count(", f"        {slow}\n        self.view.count("
        ),
        encoding="utf-8",
    )
    async with (
        Postgres(migrated.app_dsn, name="test", max_size=2) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        clock = FakeClock(AT)
        await History(Handler(store, clock), clock, 1).write(6)
        head = await store.head()
        assert head * 0.05 > 1.0, "longer than two waits"
        counted = await audited(program, settings(migrated, tmp_path / "counts.db"))
    assert sum(counted.values()) == head


async def test_an_auditors_count_is_not_what_the_program_says_by_itself(
    migrated: Migrated, tmp_path: Path
) -> None:
    """With the library's own mapper it fails at the first name: the guide is right to bring one."""
    program = tmp_path / "auditor.py"
    program.write_text(
        PROGRAM.replace('os.environ["GATEWAY_MAPPER_TOPIC"]', "_"), encoding="utf-8"
    )
    async with (
        Postgres(migrated.app_dsn, name="test", max_size=2) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        clock = FakeClock(AT)
        await History(Handler(store, clock), clock, 1).write(1)
    with pytest.raises(AssertionError, match="TopicError"):
        await audited(program, settings(migrated, tmp_path / "counts.db"))
