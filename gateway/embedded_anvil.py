"""A local EVM chain: anvil, with the same funded accounts each time and a chain that lasts.

What survives (measured with anvil 1.7.1): SIGINT, SIGTERM and the death of the gateway keep
every block, with hashes, logs and receipts; kill -9 of anvil itself loses the blocks since the
last save, so up to STATE_SECONDS, which the gateway sees as a reorg. Transactions that wait in
the mempool are never kept, nor are the states of older blocks (eth_call at an old height).
anvil rewrites its file in place, so kill -9 in the middle of that leaves half a file; a copy of
the last whole one is kept beside it. An empty block takes about 1.8 kB.

Units   block_seconds and state intervals are whole seconds; None mines a block a transaction.
"""

import asyncio
import contextlib
import platform
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import aiohttp
import orjson

from gateway.embedded_server import LOOPBACK, EmbeddedError, LocalServer

MNEMONIC = "test test test test test test test test test test test junk"
STATE_SECONDS = 1
# The whole file is written at each save: past this size it is saved less often.
STATE_BYTES_PER_SECOND = 5 * 1024**2
KEEP_SECONDS = 2.0
_REPOSITORY = Path(__file__).resolve().parent.parent


# anvil 1.7.1 moves states beyond its newest thousand to disk, and a chain that is taken back to one
# of those has no contracts and no balances. So only these are kept, and nothing goes to disk: the
# deepest reorg of the demo, the tests and the campaigns needs fewer.
STATES_KEPT = 300


class ChainOptions(NamedTuple):
    """How the chain behaves. `mining`: a block per transaction, or only when told."""

    chain_id: int = 31337
    mining: Literal["automatic", "manual"] = "automatic"
    block_seconds: int | None = None
    accounts: int = 10
    slots_in_an_epoch: int = 32
    persistent: bool = True


class Anvil(LocalServer):
    """One chain, its state under `home`."""

    name = "anvil"
    program = "anvil"

    def __init__(
        self,
        home: Path,
        options: ChainOptions | None = None,
        *,
        port: int | None = None,
        log: Path | None = None,
        host: str = LOOPBACK,
    ) -> None:
        super().__init__(home, port=port, log=log)
        self.options = options or ChainOptions()
        self._host = host  # other than loopback only inside a container
        self._state = self.home / "state.json"
        self._kept = self.home / "state.kept.json"
        self._keeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def marker(self) -> str:
        return str(self.home / "cache")

    async def start(self) -> None:
        await super().start()
        if self.options.persistent and self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_copies())

    def _command(self) -> Sequence[str]:
        options = self.options
        command = [
            # Quiet: else every request is a line of the log, for ever. Failures still speak.
            *(_binary(), "--quiet", "--host", LOOPBACK, "--port", str(self.port)),
            *("--chain-id", str(options.chain_id), "--mnemonic", MNEMONIC),
            *("--accounts", str(options.accounts)),
            *("--slots-in-an-epoch", str(options.slots_in_an_epoch)),
            *("--cache-path", self.marker),
            *("--prune-history", str(STATES_KEPT)),
        ]
        if options.mining == "manual":
            command.append("--no-mining")
        elif options.block_seconds is not None:
            command += ["--block-time", str(options.block_seconds)]
        if options.persistent:
            command += ["--state", str(self._state)]
            command += ["--state-interval", str(self._state_seconds())]
        return command

    def _state_seconds(self) -> int:
        size = self._state.stat().st_size if self._state.exists() else 0
        return STATE_SECONDS + size // STATE_BYTES_PER_SECOND

    def _prepare(self) -> None:
        super()._prepare()
        if not self.options.persistent or not self._state.exists():
            return
        if _is_whole(self._state):
            return
        # Younger than the first copy: nothing but a new chain is left. Kept for whoever asks.
        self._state.replace(self.home / "state.damaged.json")
        if self._kept.exists():
            shutil.copyfile(self._kept, self._state)

    async def _end(self, number: signal.Signals) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        await super()._end(number)

    async def _keep_copies(self) -> None:
        """Whenever the file has changed and is whole, copy it beside itself."""
        copied = None
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            with contextlib.suppress(OSError):
                status = self._state.stat()
                if (status.st_mtime_ns, status.st_size) != copied:
                    copied = (status.st_mtime_ns, status.st_size)
                    await asyncio.to_thread(self._copy)

    def _copy(self) -> None:
        content = self._state.read_bytes()
        if _parses(content):
            fresh = self._kept.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(self._kept)

    async def _answers(self) -> bool:
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(self.url, data=orjson.dumps(request), headers=_JSON) as response,
            ):
                answer = orjson.loads(await response.read())
        except (aiohttp.ClientError, ValueError):
            return False
        return isinstance(answer, dict) and answer.get("result") == hex(self.options.chain_id)


_JSON = {"Content-Type": "application/json"}


def _is_whole(path: Path) -> bool:
    return _parses(path.read_bytes())


def _parses(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except ValueError:
        return False
    return True


def _binary() -> str:
    """The program of the npm package itself: its wrapper script would not pass signals on."""
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform, sys.platform)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    packages = _REPOSITORY / "node_modules" / "@foundry-rs"
    binary = packages / f"anvil-{system}-{machine}" / "bin" / "anvil"
    found = str(binary) if binary.exists() else shutil.which("anvil")
    if found is None:
        message = (
            f"anvil for {system}-{machine} is not installed: run `make setup`; if that does "
            "not bring it, install Foundry so that `anvil` is on the PATH"
        )
        raise EmbeddedError(message)
    return found
