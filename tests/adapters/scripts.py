"""Revisions of a test's own, in a folder as adapters/migrations has it."""

import shutil
from pathlib import Path

from adapters.migrate import SCRIPTS
from adapters.revisions import Phase

_REVISION = '''"""A table for a test."""

from alembic import op

revision = "{name}"
down_revision = {below}
branch_labels = None
depends_on = None
phase = "{phase}"


def upgrade() -> None:
    op.execute("{statement}")
'''


class Scripts:
    """A release's revisions, which grow by `add`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "migrations"
        (self.folder / "versions").mkdir(parents=True)
        shutil.copy(SCRIPTS / "env.py", self.folder)
        self._names: list[str] = []

    def add(self, phase: Phase, statement: str | None = None) -> Path:
        name = f"{len(self._names) + 1:04}"
        text = _REVISION.format(
            name=name,
            below=repr(self._names[-1]) if self._names else None,
            phase=phase,
            statement=statement or f"CREATE TABLE migrations.made_{name} ()",
        )
        path = self.folder / "versions" / f"v{name}.py"
        path.write_text(text, encoding="utf-8")
        self._names.append(name)
        return path
