"""How the demo tells its story: steps with live progress, checked claims, a table of times."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.failures import GatewayError


class Broken(Exception):  # noqa: N818 - a claim, not a mistake
    """A claim of the demo did not hold."""


class Step:
    """One step under way."""

    def __init__(self, console: Console, progress: Progress, title: str) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task(title, total=None)
        self.claims = 0

    def note(self, text: str) -> None:
        self._console.print(f"     [dim]{escape(text)}[/]", highlight=False)

    def check(self, claim: str, holds: bool, seen: object = None) -> None:
        """State a claim. Raises Broken with what was seen instead."""
        if not holds:
            raise Broken(claim if seen is None else f"{claim}: saw {seen!r}")
        self.claims += 1
        self._console.print(f"   [green]✓[/] {escape(claim)}", highlight=False)

    def count(self, done: int, total: int, text: str) -> None:
        """Show how far something has come, as a bar."""
        self._progress.update(self._task, completed=done, total=total, description=text)


class Story:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = monotonic()
        self._times: list[tuple[str, float, int]] = []

    @contextlib.asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[Step]:
        number = len(self._times) + 1
        began = monotonic()
        self._console.print(f"[bold]{number:2}. {escape(title)}[/]", highlight=False)
        progress = Progress(
            TextColumn("    "),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        try:
            with progress:
                step = Step(self._console, progress, "working …")
                yield step
        except TimeoutError:
            raise Broken(f"{title}: nothing came in time") from None
        except GatewayError as error:
            raise Broken(f"{title}: {error}") from error
        self._times.append((title, monotonic() - began, step.claims))

    def show(self, what: RenderableType) -> None:
        self._console.print()
        self._console.print(what)
        self._console.print()

    @property
    def seconds(self) -> float:
        return round(monotonic() - self._began, 2)

    def summary(self) -> None:
        table = Table(
            "step", "claims checked", "seconds", title="Time taken", title_justify="left"
        )
        for title, seconds, claims in self._times:
            table.add_row(escape(title), str(claims or ""), f"{seconds:.1f}")
        claims = sum(claims for _, _, claims in self._times)
        table.add_section()
        table.add_row("[bold]all of it[/]", f"[bold]{claims}[/]", f"[bold]{self.seconds:.1f}[/]")
        self.show(table)
        self._console.print(f"[bold green]Every one of the {claims} claims held.[/]")

    def failed(self, broken: Broken, logs: Path) -> None:
        self._console.print(f"   [bold red]✗ {escape(str(broken))}[/]")
        self._console.print(f"The demo stops here. What the processes said is in {logs}")
