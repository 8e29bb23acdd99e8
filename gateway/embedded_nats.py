"""A local NATS server with JetStream, on disk, synced at every write.

The configuration is written anew at each start. `sync_interval: always` because the default
acknowledges two minutes before it syncs, and a power cut then loses what was acknowledged.
"""

import asyncio
import json
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from gateway.embedded_server import LOOPBACK, EmbeddedError, LocalServer

USER = "gateway"
STORE_BYTES_MAX = 2 * 1024**3
MEMORY_BYTES_MAX = 64 * 1024**2
PAYLOAD_BYTES_MAX = 1024**2


class Nats(LocalServer):
    """nats-server with a password, one JetStream store under `home`."""

    name = "NATS"
    program = "nats-server"

    def __init__(
        self, home: Path, *, password: str, port: int | None = None, log: Path | None = None
    ) -> None:
        super().__init__(home, port=port, log=log)
        self._password = password

    @property
    def url(self) -> str:
        return f"nats://{USER}:{self._password}@{LOOPBACK}:{self.port}"

    @property
    def marker(self) -> str:
        return str(self.home / "nats.conf")

    async def wipe_store(self) -> None:
        """Delete every stream and message. The server must be stopped."""
        if self.running:
            message = "stop NATS before wiping its store"
            raise EmbeddedError(message)
        await asyncio.to_thread(shutil.rmtree, self.home / "store", ignore_errors=True)

    def _command(self) -> Sequence[str]:
        return (_binary(), "-c", self.marker)

    def _prepare(self) -> None:
        super()._prepare()
        path = Path(self.marker)
        path.touch(mode=0o600)
        # JSON strings are valid strings of this format, quotes and spaces included.
        path.write_text(
            f"listen: {json.dumps(f'{LOOPBACK}:{self.port}')}\n"
            f'server_name: "gateway-{self.port}"\n'
            f"max_payload: {PAYLOAD_BYTES_MAX}\n"
            f"authorization {{ user: {USER}, password: {json.dumps(self._password)} }}\n"
            "jetstream {\n"
            f"  store_dir: {json.dumps(str(self.home / 'store'))}\n"
            "  sync_interval: always\n"
            f"  max_memory_store: {MEMORY_BYTES_MAX}\n"
            f"  max_file_store: {STORE_BYTES_MAX}\n"
            "}\n",
            encoding="utf-8",
        )

    async def _answers(self) -> bool:
        """Log in with the password: then it is this server, and its store is open."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            information = json.loads((await reader.readline()).removeprefix(b"INFO "))
            login = {"user": USER, "pass": self._password, "verbose": False, "lang": "python"}
            writer.write(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
            answer = await reader.readline()
            return bool(information.get("jetstream")) and answer == b"PONG\r\n"
        except ValueError:
            return False
        finally:
            writer.close()
            await writer.wait_closed()


def _binary() -> str:
    """The server that pip put beside this interpreter, or one on the PATH."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which(
        "nats-server"
    )
    if found is None:
        message = "nats-server is not installed: run `make setup`"
        raise EmbeddedError(message)
    return found
