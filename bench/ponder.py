"""Ponder reads the same blocks: a baseline for bench/backfill.py, where npm gives it.

Shapes  A project of one handler, which inserts a row a transfer, is made in a scratch folder and
        run with a PostgreSQL database of its own; timed from its start until it says that it is
        ready. It asks one provider, and for every block with a log it asks for the block too.
Errors  Skipped says why there is no figure: no npm, no package, or not ready in time.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from bench.replay import CHAIN_ID
from bench.replay_chain import FIRST_NUMBER, TOKEN, TRANSFER_ABI
from gateway.embedded_server import free_port

VERSION = "0.16.10"
INSTALL_SECONDS_MAX = 300
READY_SECONDS_MAX = 180
POLL_SECONDS = 0.25
BLOCKS_MAX = 400  # its own limit of requests makes more a matter of patience
_CONFIG = """
import { createConfig } from "ponder";
export default createConfig({
  chains: { local: { id: %(chain)d, rpc: process.env.RPC_URL } },
  contracts: {
    Token: {
      chain: "local", abi: %(abi)s, address: "%(token)s",
      startBlock: %(first)d, endBlock: %(last)d,
    },
  },
});
"""
_SCHEMA = """
import { onchainTable } from "ponder";
export const transfer = onchainTable("transfer", (t) => ({
  id: t.text().primaryKey(), from: t.hex().notNull(), to: t.hex().notNull(),
  value: t.bigint().notNull(),
}));
"""
_HANDLER = """
import { ponder } from "ponder:registry";
import { transfer } from "ponder:schema";
ponder.on("Token:Transfer", async ({ event, context }) => {
  await context.db.insert(transfer).values({
    id: event.id, from: event.args.from, to: event.args.to, value: event.args.value,
  });
});
"""
_API = """
import { Hono } from "hono";
export default new Hono();
"""


class Skipped(Exception):  # noqa: N818 - named for what happened
    """No figure, and why."""


def install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Skipped("npm is not installed")
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"name":"bench","private":true,"type":"module"}\n')
    wanted = (f"ponder@{VERSION}", "hono", "viem")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", *wanted]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_SECONDS_MAX
        )
    except subprocess.CalledProcessError as failed:
        raise Skipped(f"npm does not give ponder@{VERSION}: {failed.stderr[-200:]!r}") from failed
    except subprocess.TimeoutExpired as late:
        raise Skipped(f"npm took longer than {INSTALL_SECONDS_MAX} s") from late


def seconds(folder: Path, url: str, admin_dsn: str, blocks: int) -> float:
    """How long the first so many blocks take, from the start of the program."""
    last = FIRST_NUMBER + blocks
    _write(folder, last)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE ponder")
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "RPC_URL": url,
        "DATABASE_URL": urlsplit(admin_dsn)._replace(path="/ponder").geturl(),
        "DO_NOT_TRACK": "1",
        "PONDER_TELEMETRY_DISABLED": "true",
    }
    port = free_port()
    command = [str(folder / "node_modules" / ".bin" / "ponder")]
    command += ["start", "--schema", "bench", "--port", str(port), "--log-level", "warn"]
    begun = time.perf_counter()
    with (folder / "ponder.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while not _ready(port):
                if process.poll() is not None or time.perf_counter() - begun > READY_SECONDS_MAX:
                    said = (folder / "ponder.log").read_text(errors="replace")[-300:]
                    raise Skipped(f"ponder was not ready in {READY_SECONDS_MAX} s: {said}")
                time.sleep(POLL_SECONDS)
            return time.perf_counter() - begun
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def rows(admin_dsn: str) -> int:
    """What it has stored."""
    with psycopg.connect(urlsplit(admin_dsn)._replace(path="/ponder").geturl()) as connection:
        row = connection.execute("SELECT count(*) FROM bench.transfer").fetchone()
    assert row is not None
    return int(row[0])


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _write(folder: Path, last: int) -> None:
    place = {
        "chain": CHAIN_ID,
        "abi": json.dumps(TRANSFER_ABI),
        "token": TOKEN,
        "first": FIRST_NUMBER + 1,  # it asks for the block before as well
        "last": last,
    }
    files = {
        "ponder.config.ts": _CONFIG % place,
        "ponder.schema.ts": _SCHEMA,
        "src/index.ts": _HANDLER,
        "src/api/index.ts": _API,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
