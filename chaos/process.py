"""A real `gateway ingest` process, which can be killed.

Shapes  the process has an environment of its own, and ends with kill -9, or with SIGTERM where the
        campaign stops it.
Units   seconds.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from chaos.sessions import environment, projected
from chaos.stage import NETWORK_NAME, Stage

ROOT = Path(__file__).resolve().parents[1]
CONFIRMATIONS = 3
END_SECONDS_MAX = 20.0


class IngestProcess:
    def __init__(self, stage: Stage) -> None:
        self.kills = 0
        self.log = stage.folder / "ingest.log"
        self._environment = environment(stage, CONFIRMATIONS)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        assert not self.alive, "one at a time"
        self._process = await asyncio.to_thread(self._launch)

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gateway", "ingest", "--network", NETWORK_NAME]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env=self._environment, cwd=ROOT, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)
        self.kills += 1

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            await asyncio.to_thread(process.wait, END_SECONDS_MAX)

    def check(self) -> None:
        """Nobody but the campaign ends it."""
        if self._process is not None and self._process.poll() is not None:
            end = self.log.read_text(encoding="utf-8", errors="replace")[-2_000:]
            message = f"gateway ingest ended by itself ({self._process.returncode}):\n{end}"
            raise AssertionError(message)


@contextlib.asynccontextmanager
async def ingest_process(stage: Stage) -> AsyncIterator[IngestProcess]:
    """The process, not started yet, with all it needs from others."""
    async with projected(stage):
        process = IngestProcess(stage)
        try:
            yield process
        finally:
            await process.stop()
