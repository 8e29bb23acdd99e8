"""What the revisions of migrations/versions say of themselves, and what a database says of them.

Shapes  a revision names its phase: `before` a deploy everything that code of the release before
        can live with, `after` it what that code could not. `due` answers which of the missing
        ones a phase may apply, in order; the chain is never applied out of its order.
        The checksum of a revision is that of its file. It is kept when the revision is applied,
        in the same transaction, and compared ever after: what ran can be read.
        A database from before there were checksums takes those of the release that finds it.
Errors  MigrationRefused, in one line, with what to do.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from adapters.migrations import VERSION_SCHEMA

Phase = Literal["before", "after"]
PHASES: tuple[Phase, ...] = get_args(Phase)

TABLE = f"""
CREATE TABLE IF NOT EXISTS {VERSION_SCHEMA}.checksums (
    revision   text NOT NULL PRIMARY KEY,
    phase      text NOT NULL CHECK (phase IN ('before', 'after')),
    sha256     text NOT NULL,
    applied_at timestamptz
)
"""
# S608: the schema is the constant above.
_READ = text(f"SELECT revision, sha256 FROM {VERSION_SCHEMA}.checksums")  # noqa: S608
_ADOPT = text(
    f"INSERT INTO {VERSION_SCHEMA}.checksums (revision, phase, sha256)"  # noqa: S608
    " VALUES (:revision, :phase, :sha256)"
)
_KEEP = text(
    f"INSERT INTO {VERSION_SCHEMA}.checksums (revision, phase, sha256, applied_at)"  # noqa: S608
    " VALUES (:revision, :phase, :sha256, clock_timestamp())"
)


class MigrationRefused(Exception):  # noqa: N818 - a refusal, as the others are
    """The revisions here and the database do not fit together; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Revision:
    name: str
    phase: Phase
    sha256: str
    file: str


def known(config: Config) -> list[Revision]:
    """All revisions of this release, oldest first."""
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    return [_read(script) for script in scripts][::-1]


def _read(script: Script) -> Revision:
    path = Path(script.path)
    phase = getattr(script.module, "phase", None)
    if phase not in PHASES:
        raise MigrationRefused(f"{path.name} names no phase: it needs `before` or `after`")
    # A checkout may write lines in its own way; that is no change.
    content = path.read_bytes().replace(b"\r\n", b"\n")
    return Revision(script.revision, phase, hashlib.sha256(content).hexdigest(), path.name)


def pending(revisions: Sequence[Revision], current: str | None) -> list[Revision]:
    """Those a database at `current` lacks."""
    names = [each.name for each in revisions]
    if current is None:
        return list(revisions)
    if current not in names:
        raise MigrationRefused(
            f"the database is at revision {current}, which this release does not have: "
            "it was migrated by a newer one; use that"
        )
    return list(revisions[names.index(current) + 1 :])


def due(missing: Sequence[Revision], phase: Phase | None) -> list[Revision]:
    """What to apply now; without a phase everything.

    Raises MigrationRefused where the order would have to be broken for it.
    """
    if phase is None or not missing:
        return list(missing)
    now: list[Revision] = []
    for each in missing:
        if each.phase != phase:
            break
        now.append(each)
    later = [each for each in missing[len(now) :] if each.phase == phase]
    if not now and phase == "after":
        raise MigrationRefused(
            f"revision {missing[0].name} belongs before the deploy and is missing: "
            "run `gateway migrate --before` first"
        )
    if later and phase == "before":
        between = missing[len(now)].name
        raise MigrationRefused(
            f"revision {between} belongs after the last deploy and is missing: "
            "run `gateway migrate --after` first"
            if not now
            else f"revision {later[0].name} belongs before this deploy and waits for {between}, "
            "which belongs after an earlier one that was left out: run `gateway migrate --before` "
            f"and `--after` of the release that brought {between} first; or stop every process "
            "and run `gateway migrate`"
        )
    return now


def compare(connection: Connection, revisions: Sequence[Revision], current: str | None) -> None:
    """Hold the applied ones against their checksums; keep those that have none yet."""
    missing = {each.name for each in pending(revisions, current)}
    stored = {row.revision: row.sha256 for row in connection.execute(_READ)}
    for each in revisions:
        if each.name in missing:
            continue
        if each.name not in stored:
            connection.execute(_ADOPT, _row(each))
        elif stored[each.name] != each.sha256:
            raise MigrationRefused(
                f"revision {each.name} was applied as something else: {each.file} has been edited "
                "since. Put it back, and write the change as a new revision"
            )


def keep(connection: Connection, revision: Revision) -> None:
    """For the transaction that applies it."""
    connection.execute(_KEEP, _row(revision))


def _row(revision: Revision) -> dict[str, str]:
    return {"revision": revision.name, "phase": revision.phase, "sha256": revision.sha256}
