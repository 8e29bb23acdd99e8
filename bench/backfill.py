"""Back-fill of logs to committed sightings and coverage, beside reading the same answers otherwise.

Two providers replay a chain from memory (bench/replay.py); the follower of production reads it:
ranges from both, a header quorum for each stretch and for each block with a match, receipts
proved, and a transaction a stretch in PostgreSQL, with fsync. Reports are written to the outbox,
as part of it, and not published. One process, as `gateway ingest` is; the projections run in
another, as they do.

Shapes  logs      those of the chain: each is counted once, though two providers' answers are read
                  in full. A thousandth of them goes to one of 10,000 watched addresses, so a
                  tenth of the blocks is fetched and proved as well.
        curl      the same answers of one provider, as bytes
        web3.py   `events.Transfer.get_logs` on one provider, which decodes every log
        ponder    with --ponder: its historical sync of one provider's first blocks, a row a
                  transfer in PostgreSQL; npm installs it in a scratch folder. It limits its own
                  questions, and asks for each block as well (bench/ponder.py)
Units   logs a second of the wall, processor microseconds a log; MB are 10^6 bytes of memory
"""

import argparse
import asyncio
import cProfile
import json
import multiprocessing
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import uvloop
from web3 import Web3

from adapters.ingest_store import PostgresIngestStore
from bench import ponder, rig
from bench.replay import Serving, providers
from bench.replay_chain import FIRST_NUMBER, TOKEN, TRANSFER_ABI, Plan
from bench.report import Report, arguments, finish, growth, machine, show
from chain_ingest.coverage import close
from gateway import bootstrap
from gateway.bootstrap import Core
from gateway.settings import load

GOAL_PER_SECOND = 50_000
GOAL_GROWTH = 0.1  # of the memory, from a tenth of the way on
BEYOND_BLOCKS = 600  # the chain goes on: near its head work is block by block
BASELINE_BLOCKS = 100  # in one question, as the follower comes to ask
CURL_LAPS = 5
WEB3_QUESTIONS = 5
SAMPLES = 50
PROVIDERS = 2
CONFIRMATIONS = 12
IDLE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Taken:
    """One way to read; without memory where another process read."""

    logs: int
    seconds: float
    cpu_seconds: float
    memory_mb: tuple[float, ...] = ()  # at equal steps of the way
    sightings: int = 0

    @property
    def per_second(self) -> int:
        return round(self.logs / self.seconds)

    @property
    def cpu_micros(self) -> float:
        return round(self.cpu_seconds / self.logs * 1e6, 2)


# ---------------------------------------------------------------- ours


async def _followed(environment: Mapping[str, str], plan: Plan) -> Taken:
    settings = load(environment)
    async with bootstrap.core(settings, "ingest-bench") as core:
        network = settings.book().get(rig.NETWORK)
        sources = bootstrap.providers(core, network)
        for source in sources:
            await source.open()
        try:
            follower = bootstrap.ingester(core, network, sources).follower
            while not await follower.step():
                pass  # the first step that does anything begins
            return await _filled(core, follower.step, plan)
        finally:
            for source in sources:
                await source.close()


async def _filled(core: Core, step: Any, plan: Plan) -> Taken:
    store, process = PostgresIngestStore(core.postgres), psutil.Process()
    first = FIRST_NUMBER + 1
    last = plan.last_number - BEYOND_BLOCKS
    sample_blocks = max((last - first + 1) // SAMPLES, 1)
    memory: list[float] = []
    number = FIRST_NUMBER
    begun, cpu = time.perf_counter(), time.process_time()
    while number < last:
        if not await step():
            await asyncio.sleep(IDLE_SECONDS)
        cursor = await store.cursor(rig.NETWORK)
        assert cursor is not None, "it has begun"
        number = cursor.number
        if number - FIRST_NUMBER >= len(memory) * sample_blocks:
            memory.append(process.memory_info().rss / 1e6)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    close(await store.coverage(rig.NETWORK), first, number)
    found = len(await store.sightings_above(rig.NETWORK, FIRST_NUMBER))
    expected = sum(plan.ours_of(each) for each in range(first, number + 1))
    assert found == expected, f"{found} sightings instead of {expected}"
    return Taken((number - FIRST_NUMBER) * plan.logs, seconds, cpu, tuple(memory), found)


def ours(environment: Mapping[str, str], plan: Plan, profile: str | None = None) -> Taken:
    if profile is None:
        return uvloop.run(_followed(environment, plan))
    profiler = cProfile.Profile(time.process_time)  # others use this machine too
    taken: Taken = profiler.runcall(uvloop.run, _followed(environment, plan))
    with Path(profile).open("w", encoding="utf-8") as file:
        pstats.Stats(profiler, stream=file).sort_stats("tottime").print_stats(60)
    return taken


# ---------------------------------------------------------------- baselines


def _ranges(plan: Plan) -> list[tuple[int, int]]:
    """Of one lap, in pieces."""
    end = FIRST_NUMBER + plan.blocks
    starts = range(FIRST_NUMBER, end, BASELINE_BLOCKS)
    return [(start, min(start + BASELINE_BLOCKS, end) - 1) for start in starts]


def curl(url: str, plan: Plan, folder: Path) -> Taken:
    """One connection, one question after the other; nothing is looked at."""
    questions = []
    for first, last in _ranges(plan) * CURL_LAPS:
        asked = {"fromBlock": hex(first), "toBlock": hex(last), "address": [TOKEN], "topics": []}
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [asked]}
        data = json.dumps(json.dumps(body))
        questions.append(f'url = "{url}"\ndata = {data}\noutput = "/dev/null"\n')
    config = folder / "curl.config"
    config.write_text("next\n".join(questions), encoding="ascii")
    before = psutil.Process().cpu_times()
    begun = time.perf_counter()
    subprocess.run(["curl", "--silent", "--fail", "--config", str(config)], check=True)
    seconds = time.perf_counter() - begun
    after = psutil.Process().cpu_times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    return Taken(plan.blocks * plan.logs * CURL_LAPS, seconds, spent)


def web3(url: str, plan: Plan) -> Taken:
    chain = Web3(Web3.HTTPProvider(url))
    token = chain.eth.contract(address=Web3.to_checksum_address(TOKEN), abi=TRANSFER_ABI)
    questions = _ranges(plan)[:WEB3_QUESTIONS]
    read = 0
    begun, cpu = time.perf_counter(), time.process_time()
    for first, last in questions:
        read += len(token.events.Transfer().get_logs(from_block=first, to_block=last))
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    assert read == sum(last - first + 1 for first, last in questions) * plan.logs
    return Taken(read, seconds, cpu)


# ---------------------------------------------------------------- all together


def ponder_of(url: str, admin_dsn: str, plan: Plan, folder: Path) -> Taken:
    """Raises ponder.Skipped."""
    blocks = min(ponder.BLOCKS_MAX, plan.blocks)
    ponder.install(folder)
    seconds = ponder.seconds(folder, url, admin_dsn, blocks)
    assert ponder.rows(admin_dsn) == blocks * plan.logs
    return Taken(blocks * plan.logs, seconds, 0.0)


async def contest(
    folder: Path, plan: Plan, profile: str | None = None, *, with_ponder: bool = False
) -> dict[str, Taken]:
    spawn = multiprocessing.get_context("spawn")
    serving = Serving(plan, PROVIDERS, plan.last_number)
    fresh = partial(ProcessPoolExecutor, 1, mp_context=spawn, max_tasks_per_child=1)
    with providers(serving) as urls, fresh() as pool:
        async with (
            rig.gateway(
                folder, urls, start_block=FIRST_NUMBER + 1, confirmations=CONFIRMATIONS
            ) as gateway,
            rig.process("project", gateway.environment, folder),
        ):
            async with bootstrap.core(load(gateway.environment), "bench") as core:
                await rig.open_sessions(core, plan.watched)
            taken = {
                "curl": await asyncio.to_thread(curl, urls[0], plan, folder),
                "web3": await asyncio.to_thread(pool.submit(web3, urls[0], plan).result),
            }
            if with_ponder:
                try:
                    taken["ponder"] = await asyncio.to_thread(
                        ponder_of, urls[0], gateway.admin, plan, folder / "ponder"
                    )
                except ponder.Skipped as skipped:
                    print(f"ponder: skipped, {skipped}", file=sys.stderr)
            running = pool.submit(ours, gateway.environment, plan, profile)
            taken["ours"] = await asyncio.to_thread(running.result)
    return taken


def report(taken: dict[str, Taken], plan: Plan, conditions: dict[str, Any]) -> Report:
    mine, grown = taken["ours"], growth(taken["ours"].memory_mb)
    return Report(
        figure=mine.per_second,
        unit="logs/s to committed sightings and coverage, both providers' answers read",
        baseline=taken["web3"].per_second,
        ratio=round(mine.per_second / taken["web3"].per_second, 1),
        goal=(
            f"{GOAL_PER_SECOND:,} logs/s; memory grows by less than {GOAL_GROWTH:.0%} "
            "after the first tenth"
        ),
        met=mine.per_second >= GOAL_PER_SECOND and grown <= GOAL_GROWTH,
        conditions={
            **conditions,
            **{
                name: {"logs": each.logs, "per_second": each.per_second, "cpu_us": each.cpu_micros}
                for name, each in taken.items()
            },
            "memory_mb": [round(each) for each in mine.memory_mb],
            "memory_growth": round(grown, 3),
            "sightings": mine.sightings,
            "providers": PROVIDERS,
            "plan": asdict(plan),
        },
    )


def _table(taken: dict[str, Taken], plan: Plan) -> None:
    names = {
        "ours": "ours: two providers, quorum, proofs, committed",
        "curl": "curl: one provider's answers, bytes only",
        "web3": "web3.py events.Transfer.get_logs, one provider",
        "ponder": "ponder, one provider, historical sync",
    }
    rows = [
        (
            names[name],
            f"{each.logs:,}",
            f"{each.per_second:,}",
            f"{each.cpu_micros:.1f}" if each.cpu_seconds else "",
        )
        for name, each in sorted(taken.items(), key=lambda item: list(names).index(item[0]))
    ]
    show(f"Back-fill, {plan.logs} logs a block", ("", "logs", "logs/s", "CPU us/log"), rows)
    memory = taken["ours"].memory_mb
    places = (0, len(memory) // 2, len(memory) - 1)
    points = zip(("start", "middle", "end"), places, strict=True)
    show(
        f"Memory over {taken['ours'].logs:,} logs",
        ("", "MB"),
        [(name, f"{memory[place]:,.0f}") for name, place in points],
    )


def _given() -> argparse.Namespace:
    given = arguments(__doc__.partition("\n")[0])
    given.add_argument("--blocks", type=int, default=2_000, help="different blocks")
    given.add_argument("--block-logs", type=int, default=100, help="logs in each of them")
    given.add_argument("--laps", type=int, default=26, help="how often they come, as new ones")
    given.add_argument("--ours", type=int, default=1_000, help="of a million logs")
    given.add_argument("--ponder", action="store_true", help="install it for comparison")
    given.add_argument("--profile", help="a file for the costliest functions; slows it down")
    return given.parse_args()


def main() -> None:
    given = _given()
    plan = Plan(given.blocks, given.block_logs, given.ours, given.laps)
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        taken = asyncio.run(contest(folder, plan, given.profile, with_ponder=given.ponder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        _table(taken, plan)
    finish(report(taken, plan, conditions), as_json=given.json)


if __name__ == "__main__":
    main()
