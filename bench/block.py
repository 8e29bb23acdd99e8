"""A new block with 100 payments, from the moment it can be had to committed events in the log.

Three providers replay a chain (bench/replay.py) and take 5 ms for each answer; each block has 200
transfers, of which 100 pay an open session each. The ingester of production runs in this process:
header quorum of three, logs from two, receipts proved, one transaction, outbox to JetStream. It
is woken by newHeads. Settlement and projections run as `gateway settle` and `gateway project`.
A reader follows the log by position all the while (tail.py), and must miss nothing.
All of it, providers, PostgreSQL with fsync and NATS with a sync at each write, on one machine.

Shapes  observed   blocks that only bring payments: the end is their last `payment.covered`
        confirmed  blocks that also confirm the 100 payments of an older one: twice the reports,
                   and the end is the last of these, with the books
        web3.py    the same block by `events.Transfer.get_logs` of one provider, an INSERT for
                   each of its 100 payments and one commit: no quorum, no proof, no books
        split      rpc     until the block is agreed, read and matched, but for the proof
                   proof   its receipts hashed, on a thread
                   write   the ingester's transaction
                   bus     until JetStream has acknowledged every report
                   settle  until the log has every event, in the process of settlement
        CPU        what a block costs each program, pauses included: on a machine that others use
                   too it says more than the wall
Units   milliseconds
"""

import argparse
import asyncio
import contextlib
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from application.chain_source import RECIPIENTS_ASKED_MAX
from bench import rig
from bench.block_parts import Bell, Heads, LogGrowth, Plain, Stopwatch, cpu_seconds
from bench.replay import Serving, providers
from bench.replay_chain import FIRST_NUMBER, Plan, watched_address
from bench.report import Report, arguments, finish, machine, show
from bench.tail import TailReport, tailing
from gateway import bootstrap
from gateway.bootstrap import Core
from gateway.settings import load

GOAL_MS = 150.0
PROVIDERS = 3
TRANSFERS, PAYMENTS = 200, 100
ANSWER_SECONDS = 0.005
WARM = 4  # blocks before each kind, of which the first says how many events one brings
PAUSE_SECONDS = 0.25  # between blocks: projections catch up, as they do in a block time
BASELINE_EVERY = 4
PARTS = ("rpc", "proof", "write", "bus", "settle")


@dataclass(slots=True)
class Samples:
    """Of one kind of block."""

    total: list[float] = field(default_factory=list)
    parts: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: dict[str, float] = field(default_factory=dict)  # of one block, by program


# ---------------------------------------------------------------- the blocks


@dataclass(slots=True)
class Race:
    heads: Heads
    growth: LogGrowth
    watch: Stopwatch
    plain: Plain
    taken: dict[str, Samples] = field(default_factory=lambda: defaultdict(Samples))

    async def run(self, kind: str, first: int, count: int) -> int:
        """`count` blocks from `first` on, after WARM others; the number of the next one."""
        position = await self.growth.quiet()
        await self.heads.move(first)
        await self.growth.reached(position + PAYMENTS)  # however long the first one takes
        each = await self.growth.quiet() - position
        assert each >= PAYMENTS, f"{each} events for {PAYMENTS} payments"
        position += each
        spent: dict[str, float] = {}
        for number in range(first + 1, first + WARM + count):
            position += each
            if number == first + WARM:
                spent = cpu_seconds()
            self.watch.start()
            await self.heads.move(number)
            ended = await self.growth.reached(position)
            if number >= first + WARM:
                self._note(kind, ended)
            await asyncio.sleep(PAUSE_SECONDS)
        self.taken[kind].cpu_ms = {
            program: round((seconds - spent.get(program, 0.0)) / count * 1e3, 1)
            for program, seconds in sorted(cpu_seconds().items())
        }
        for number in range(first + WARM, first + WARM + count, BASELINE_EVERY):
            self.taken["web3"].total.append(await asyncio.to_thread(self.plain.read, number))
            assert self.plain.found == PAYMENTS
            await self.heads.ring()  # a bell that is silent for long is taken for dead
        assert await self.growth.quiet() == position, f"{each} events a block, and none else"
        return first + WARM + count

    def _note(self, kind: str, ended: float) -> None:
        samples = self.taken[kind]
        samples.total.append((ended - self.watch.begun) * 1e3)
        for part, seconds in self.watch.parts(ended).items():
            samples.parts[part].append(seconds * 1e3)


async def measure(
    folder: Path, observed: int, confirmed: int
) -> tuple[dict[str, Samples], TailReport]:
    depth = WARM + observed + 1
    blocks = 2 * WARM + observed + confirmed + 1  # and the one before the first
    plan = Plan(
        blocks,
        TRANSFERS,
        1_000_000 * PAYMENTS // TRANSFERS,
        watched=max(blocks * PAYMENTS, RECIPIENTS_ASKED_MAX + 1),
        since=int(time.time()) - blocks,
    )
    serving = Serving(plan, PROVIDERS, FIRST_NUMBER, ANSWER_SECONDS)
    bell = Bell()
    with contextlib.ExitStack() as stack, providers(serving) as urls:
        async with (
            bell.hung() as socket,
            rig.gateway(
                folder,
                urls,
                start_block=FIRST_NUMBER + 1,
                confirmations=depth,
                sockets=[socket],
            ) as running,
            rig.process("project", running.environment, folder),
            rig.process("settle", running.environment, folder),
            bootstrap.core(load(running.environment), "ingest-bench") as core,
        ):
            await rig.open_sessions(core, plan.watched)
            watched = frozenset(watched_address(number) for number in range(plan.watched))
            plain = stack.enter_context(contextlib.closing(Plain(urls[0], running.admin, watched)))
            tail = await asyncio.to_thread(
                stack.enter_context, tailing(running.environment["DATABASE_URL"])
            )
            async with (
                aiohttp.ClientSession() as session,
                _ingesting(core) as (growth, watch),
            ):
                race = Race(Heads(urls, bell, session), growth, watch, plain)
                next_block = await race.run("observed", FIRST_NUMBER + 1, observed)
                if confirmed:
                    await race.run("confirmed", next_block, confirmed)
            await asyncio.to_thread(stack.close)  # the reader ends while the log can be read
    return race.taken, tail.report


@contextlib.asynccontextmanager
async def _ingesting(core: Core) -> AsyncIterator[tuple[LogGrowth, Stopwatch]]:
    network = core.settings.book().get(rig.NETWORK)
    sources = bootstrap.providers(core, network)
    stop, growth, watch = asyncio.Event(), LogGrowth(core), Stopwatch()
    async with contextlib.AsyncExitStack() as stack:
        for source in sources:
            await source.open()
            stack.push_async_callback(source.close)
        stack.enter_context(watch.watching())
        listening = asyncio.create_task(growth.listen())
        running = asyncio.create_task(bootstrap.ingester(core, network, sources).run(stop))
        try:
            yield growth, watch
        finally:
            stop.set()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await running


# ---------------------------------------------------------------- what it says


def at(share: float, samples: Sequence[float]) -> float:
    """That share of the samples is no higher."""
    ordered = sorted(samples)
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1)


def figures(samples: Samples) -> dict[str, Any]:
    parts = {
        part: {"p50": at(0.5, taken), "p95": at(0.95, taken)}
        for part, taken in samples.parts.items()
    }
    return {
        "blocks": len(samples.total),
        "p50": at(0.5, samples.total),
        "p95": at(0.95, samples.total),
        "mean": round(statistics.mean(samples.total), 1),
        **({"split": parts, "cpu_ms": samples.cpu_ms} if parts else {}),
    }


def report(taken: dict[str, Samples], tail: TailReport, conditions: dict[str, Any]) -> Report:
    told = {kind: figures(samples) for kind, samples in taken.items()}
    mine, plain = told["observed"]["p95"], told["web3"]["p95"]
    return Report(
        figure=mine,
        unit="ms, p95, from a block that can be had to committed events",
        baseline=plain,
        ratio=round(mine / plain, 2),
        goal=f"p95 below {GOAL_MS:.0f} ms; a tailing reader misses nothing and sees all in order",
        met=mine < GOAL_MS and tail.clean,
        conditions={
            **conditions,
            "transfers": TRANSFERS,
            "payments": PAYMENTS,
            "providers": PROVIDERS,
            "answer_ms": ANSWER_SECONDS * 1e3,
            "tailing_reader": tail.conditions(),
            **told,
        },
    )


def _table(taken: dict[str, Samples]) -> None:
    names = {
        "observed": "100 payments observed",
        "confirmed": "100 observed, 100 older ones confirmed",
        "web3": "web3.py get_logs, 100 INSERTs",
    }
    rows = []
    for kind, name in names.items():
        if kind not in taken:
            continue
        samples = taken[kind]
        rows.append(
            (
                name,
                str(len(samples.total)),
                f"{at(0.5, samples.total):,.1f}",
                f"{at(0.95, samples.total):,.1f}",
            )
        )
        rows += [
            (f"  {part}", "", f"{at(0.5, each):,.1f}", f"{at(0.95, each):,.1f}")
            for part in PARTS
            if (each := samples.parts.get(part))
        ]
    title = f"A block of {TRANSFERS} transfers, {PAYMENTS} ours"
    show(title, ("", "blocks", "p50 ms", "p95 ms"), rows)
    kinds = [kind for kind in names if kind in taken and taken[kind].cpu_ms]
    programs = sorted({program for kind in kinds for program in taken[kind].cpu_ms})
    costs = [
        (program, *(f"{taken[kind].cpu_ms.get(program, 0.0):,.1f}" for kind in kinds))
        for program in programs
    ]
    show("CPU ms a block", ("", *kinds), costs)


def _given() -> argparse.Namespace:
    given = arguments(__doc__.partition("\n")[0])
    given.add_argument("--blocks", type=int, default=200, help="that only bring payments")
    given.add_argument("--confirming", type=int, default=100, help="that confirm others as well")
    return given.parse_args()


def main() -> None:
    given = _given()
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        taken, tail = uvloop.run(measure(folder, given.blocks, given.confirming))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        _table(taken)
        print(f"Tailing reader: {tail.seen:,} events, {tail.missed} missed, {tail.disordered} odd")
    finish(report(taken, tail, conditions), as_json=given.json)


if __name__ == "__main__":
    main()
