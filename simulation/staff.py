"""Starts, kills and restarts the processes, and hears of those that die by themselves.

Shapes  A process has one life after the other: when one ends, by a Plan or by a mistake, another
        one begins after a pause. `calm` takes back what was planned and what was wrong.
Units   seconds of virtual time.
"""

import asyncio

from simulation import steps as s
from simulation.clients import EPOCH_US
from simulation.evidence import Death
from simulation.faults import Plan
from simulation.loop import Life
from simulation.processes import Desk, Process, all_processes, api
from simulation.servers import Servers

RESTART_SECONDS = 1
DEATHS_MAX = 50  # after which a process that always dies stays down


class Staff:
    def __init__(self, servers: Servers) -> None:
        self.processes = all_processes()
        self.deaths: list[Death] = []
        self._servers = servers

    def start_all(self) -> None:
        for process in self.processes.values():
            if not process.up:
                self._live(process)

    def named(self, name: s.Process, network: int) -> Process:
        found = self.processes.get(name)
        if found is not None:
            return found
        several = [each for key, each in self.processes.items() if key.startswith(f"{name}.")]
        chosen = several[network % len(several)]
        leader = self._servers.leading.get(chosen.name.partition(".")[2])
        return self.processes[leader] if name == "ingest" and leader else chosen

    def crash(self, step: s.Crash) -> None:
        process = self.named(step.process, step.network)
        plan = Plan(step.point, max(1, step.after), step.down_seconds)
        process.plan = plan
        if step.point == "await" and process.life is not None:
            process.life.fuse = plan.after

    def restart(self, *names: str) -> None:
        """Stopped and started again, as to deploy another configuration."""
        for name in names:
            process = self.processes.get(name)
            if process is None:
                continue
            if process.up and process.life is not None:
                process.life.when_over.pop(0)  # this is no death: see `_live`
                process.life.end()
            self._live(process)

    def skew(self, step: s.Skew) -> None:
        self.named(step.process, step.network).skew_us = step.seconds * 1_000_000
        self._servers.faults.count("clock.skew")

    def calm(self) -> None:
        """No more deaths, no more wrong clocks, and everybody at work."""
        for process in self.processes.values():
            process.plan, process.skew_us = None, 0
            if process.life is not None:
                process.life.fuse = 0
        self.start_all()

    def broke(self, name: str, error: str) -> None:
        self.deaths.append(Death(name, error, EPOCH_US + self._servers.loop.now_us))

    # ------------------------------------------------------------ lives

    def _live(self, process: Process) -> None:
        process.lives += 1
        process.life = life = Life(process.name)
        life.when_over.append(lambda: self._over(process))
        process.desk = desk = Desk(self._servers, process, life)
        self._servers.trace.add("life", process.name, process.lives, self._servers.loop.now_us)
        if process.work is None:
            process.api = api(desk)
            return
        process.task = self._servers.loop.spawn(life, process.work(desk))
        process.task.add_done_callback(lambda task: self._ended(process, task))

    def _over(self, process: Process) -> None:
        """Killed."""
        plan, process.plan = process.plan, None
        self._servers.faults.count(f"crash.{plan.point if plan is not None else 'await'}")
        down_seconds = plan.down_seconds if plan is not None else RESTART_SECONDS
        self._later(down_seconds, process)

    def _ended(self, process: Process, task: "asyncio.Task[None]") -> None:
        """Ended by itself, which none of them ever should."""
        error = None if task.cancelled() else task.exception()
        said = "ended" if error is None else f"{type(error).__name__}: {error}"
        self.broke(process.name, said)
        if process.life is not None:
            process.life.when_over.pop(0)  # this was no kill: see `_live`
            process.life.end()
        if len(self.deaths) < DEATHS_MAX:
            self._later(RESTART_SECONDS, process)

    def _later(self, seconds: int, process: Process) -> None:
        loop = self._servers.loop
        # Not as a part of the process that died, whose callbacks are never called again.
        loop.outside(loop.call_later, seconds, self._again, process)

    def _again(self, process: Process) -> None:
        if not process.up:
            self._live(process)
