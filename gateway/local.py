"""A whole gateway on this machine: local servers, tables, test tokens, keys, processes.

Shapes  LocalGateway(folder).prepare() starts the servers and gives the environment in which
        every `gateway` command finds them; run(stop) keeps the processes alive.
Files   FOLDER/environment.json: the settings, secrets among them, readable by the owner only.
        FOLDER/keystore.json: the signer's encrypted keystore. log/: one log a process.
Errors  EmbeddedError, ChainError, ContractError: each says what to do next.
"""

import asyncio
import base64
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from adapters import keystore, migrate
from gateway import release
from gateway.embedded import ChainOptions, Embedded
from gateway.embedded_server import free_port, port_is_free
from gateway.local_chain import LOCAL_TOKENS, LocalChain
from gateway.local_files import read_environment, write_environment
from gateway.supervisor import OnChange, Process, Supervisor

CONFIRMATIONS = 3
LOCAL_SCRYPT_N = 2**12
PROCESSES = ("project", "ingest", "settle", "api", "deliver", "work", "sign")
OnStep = Callable[[str, float], None]


class Secrets(NamedTuple):
    """Made once per folder."""

    master_key: str
    keystore_passphrase: str


class LocalGateway:
    def __init__(
        self, folder: Path, *, api_port: int | None = None, chain: ChainOptions | None = None
    ) -> None:
        self.folder = folder.absolute()
        self._api_port = api_port
        self.embedded = Embedded(self.folder, chain=chain or ChainOptions())
        self.environment: dict[str, str] = {}

    async def prepare(self, on_step: OnStep | None = None) -> Mapping[str, str]:
        """Servers, tables, tokens and keys; the environment of every process."""
        say = on_step or (lambda _name, _seconds: None)
        loop = asyncio.get_running_loop()
        endpoints = await self.embedded.start(on_step)
        began = loop.time()
        owner = await asyncio.to_thread(self._tables, endpoints.database_url)
        await release.fill_tables(owner)
        say("tables", loop.time() - began)
        began = loop.time()
        async with LocalChain(endpoints.rpc_url) as chain:
            await chain.deploy_tokens()
        say("test tokens", loop.time() - began)
        began = loop.time()
        self.environment = await asyncio.to_thread(self._settings)
        say("keys", loop.time() - began)
        return self.environment

    async def run(self, stop: asyncio.Event, on_change: OnChange | None = None) -> None:
        """Keep every process alive until `stop`, then let them finish what they hold."""
        supervisor = Supervisor(self._processes(), self.folder / "log")
        await supervisor.run(stop, on_change)

    async def stop(self) -> None:
        await self.embedded.stop()

    def _tables(self, admin_url: str) -> str:
        migrate.create_roles(admin_url)
        owner = migrate.role_dsn(admin_url, migrate.OWNER)
        release.make_tables(owner)
        return owner

    def _settings(self) -> dict[str, str]:
        known = read_environment(self.folder)
        admin = self.embedded.endpoints.database_url
        own = Secrets(
            known.get("MASTER_KEY") or base64.b64encode(secrets.token_bytes(32)).decode(),
            known.get("KEYSTORE_PASSPHRASE") or secrets.token_urlsafe(24),
        )
        # Kept before the keystore is made: a passphrase that is lost cannot be made again.
        write_environment(
            self.folder,
            {
                **known,
                "MASTER_KEY": own.master_key,
                "KEYSTORE_PASSPHRASE": own.keystore_passphrase,
            },
        )
        port = self._api_port or _usable(known.get("API_PORT"))
        environment = {
            "DATABASE_URL": migrate.role_dsn(admin, migrate.APP),
            "DATABASE_URL_OWNER": migrate.role_dsn(admin, migrate.OWNER),
            "DATABASE_URL_SIGNER": migrate.role_dsn(admin, migrate.SIGNER),
            "NATS_URL": self.embedded.endpoints.nats_url,
            "NETWORKS": "local",
            "RPC_URLS_LOCAL": self.embedded.endpoints.rpc_url,
            "LOCAL_TOKENS": LOCAL_TOKENS,
            "CONFIRMATIONS_LOCAL": str(CONFIRMATIONS),
            "START_BLOCK_LOCAL": "0",
            "MASTER_KEY": own.master_key,
            "KEYSTORE_PATH": str(self.folder / "keystore.json"),
            "KEYSTORE_PASSPHRASE": own.keystore_passphrase,
            "HOT_WALLET_XPUB": self._wallet_key(own.keystore_passphrase, known),
            "API_PORT": str(port),
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
            "WEBHOOK_ALLOW_PRIVATE": "true",
        }
        write_environment(self.folder, environment)
        return environment

    def _wallet_key(self, passphrase: str, known: Mapping[str, str]) -> str:
        path = self.folder / "keystore.json"
        if path.exists() and "HOT_WALLET_XPUB" in known:
            return known["HOT_WALLET_XPUB"]
        if not path.exists():
            # The passphrase is random, so guessing is hopeless without a slow hash too.
            keystore.create_keystore(
                path, passphrase, secrets.token_bytes(32), scrypt_n=LOCAL_SCRYPT_N
            )
        return keystore.open_keystore(path, passphrase).xpub()

    def _processes(self) -> list[Process]:
        base = {key: value for key, value in os.environ.items() if key in _INHERITED}  # noqa: TID251 - children need PATH and the like
        environment = {**base, **self.environment, "PYTHONUNBUFFERED": "1"}
        return [
            Process(
                name,
                (sys.executable, "-m", "gateway", name, *_options(name)),
                environment=_only_needed(name, environment),
                folder=Path(__file__).resolve().parent.parent,
            )
            for name in PROCESSES
        ]


def _usable(remembered: str | None) -> int:
    """The port of the last time while nobody else has it, so that URLs stay the same."""
    if remembered is not None and port_is_free(int(remembered)):
        return int(remembered)
    return free_port()


_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")
_SIGNERS = ("DATABASE_URL_SIGNER", "KEYSTORE_PATH", "KEYSTORE_PASSPHRASE")
_OPEN_SECRETS = ("api", "deliver")
_APPS = ("DATABASE_URL", "NATS_URL", "MASTER_KEY")


def _options(name: str) -> tuple[str, ...]:
    return ("--network", "local") if name == "ingest" else ()


def _only_needed(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The owner's role goes to nobody, the keystore to the signer alone and nothing else to it."""
    if name == "sign":
        withheld: tuple[str, ...] = ("DATABASE_URL_OWNER", *_APPS)
    elif name in _OPEN_SECRETS:
        withheld = ("DATABASE_URL_OWNER", *_SIGNERS)
    else:
        withheld = ("DATABASE_URL_OWNER", "MASTER_KEY", *_SIGNERS)
    return {key: value for key, value in environment.items() if key not in withheld}
