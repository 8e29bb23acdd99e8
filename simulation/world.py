"""One history from its first step to the evidence.

Shapes  A World has servers, staff and clients, and performs steps one after the other. Requests
        and faults happen at once; Mine, MineAt and Wait let virtual time pass, in ticks, so that
        what comes due within a tick comes at its end, as on a machine that is slow.
        `settle_down` ends all faults and lets everything run until it is quiet.
Errors  a mistake of the simulation or of the code under test is an entry in `deaths`; no progress
        leaves `settled` False.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from unittest.mock import patch

import structlog

from application.handling import Handler
from application.merchants import Merchants
from chain_ingest import proof
from simulation import setting
from simulation import steps as s
from simulation.asking import Asking
from simulation.asking_merchants import Merchandising
from simulation.chains import ChainHand
from simulation.clients import Clients, Merchant
from simulation.collecting import collect
from simulation.evidence import Evidence, MerchantFacts
from simulation.faults import Faults, Trace
from simulation.loop import Livelock, new_loop
from simulation.servers import Servers
from simulation.settling import settle_down
from simulation.spoiling import Spoiling
from simulation.staff import Staff

TICKS_MAX = 10  # of one stretch of time
TICK_SECONDS_MIN = 1.0
BLOCK_TICK_SECONDS = 12.0  # a block, or several, come in one tick; what takes longer in two
BLOCK_SECONDS_MAX = 60  # longer is no pause between two blocks
HEADERS_HELD_MAX = 4_096  # more than the chains of a history have blocks


@dataclass(frozen=True, slots=True)
class Performed:
    """What is left of a history when it is over."""

    evidence: Evidence
    faults: dict[str, int]
    trace_hash: str
    steps: int
    callbacks: int


class World:
    def __init__(self, seed: int, *, trace: Trace | None = None) -> None:
        self.trace = trace or Trace()
        self.loop = new_loop()
        self.faults = Faults(self.loop, self.trace)
        self.servers = Servers(self.loop, self.faults, self.trace, seed)
        self.staff = Staff(self.servers)
        self.chains = ChainHand(self.servers, self._between_blocks)
        self.clients = Clients(self.servers, self.staff.processes["api"], self.staff.broke)
        self.merchants = self._registered()
        self.asking = Asking(self.clients, self.servers, self.merchants)
        self.deciding = Merchandising(self.asking)
        self.spoiling = Spoiling(self.servers, self.staff, self.chains, self.faults, self.asking)
        for name in self.servers.chains:
            self.servers.chains[name].mine(setting.FIRST_BLOCKS)
        self.staff.start_all()
        self.loop.run_ready()

    # ------------------------------------------------------------ a history

    def run(self, history: s.History) -> Performed:
        settled = False
        try:
            for step in history.steps:
                self.perform(step)
            settled = settle_down(self)
        except Livelock as stuck:
            self.staff.broke("world", f"Livelock: {stuck}")
        self.loop.look_back()
        for failure in self.loop.failures:
            self.staff.broke("loop", failure)
        evidence = self.evidence(settled=settled)
        return Performed(
            evidence,
            dict(sorted(self.faults.counts.items())),
            self.trace.hexdigest(),
            len(history.steps),
            self.loop.callbacks,
        )

    def evidence(self, *, settled: bool) -> Evidence:
        merchants = [
            MerchantFacts(each.merchant_id.hex, each.mode, each.refund_wallet)
            for each in self.merchants
        ]
        return collect(
            self.servers, self.staff, self.clients, settled=settled, merchants=merchants
        )

    def pass_time(self, seconds: float) -> None:
        tick_seconds = max(TICK_SECONDS_MIN, seconds / TICKS_MAX)
        self.loop.advance(seconds, tick_seconds=tick_seconds)

    def _between_blocks(self, seconds: float) -> None:
        if seconds > BLOCK_SECONDS_MAX:
            self.pass_time(seconds)
        else:
            tick_seconds = seconds if seconds <= BLOCK_TICK_SECONDS else seconds / 2
            self.loop.advance(seconds, tick_seconds=tick_seconds)

    # ------------------------------------------------------------ steps

    def perform(self, step: s.Step) -> None:
        self.trace.add("step", step)
        match step:
            case (
                s.OpenSession()
                | s.CancelSession()
                | s.AskRefund()
                | s.Repeat()
                | s.CreateEndpoint()
                | s.DeleteEndpoint()
                | s.ReplayDelivery()
            ):
                self.asking.perform(step)
                self.loop.run_ready()
            case (
                s.SetTolerance()
                | s.SetReceivingAddress()
                | s.ProvePayer()
                | s.AnnounceTransaction()
                | s.DecideTransfer()
            ):
                self.deciding.perform(step)
                self.loop.run_ready()
            case s.ChangePolicy():
                self._change_policy(step)
            case s.TopUp() | s.Pay() | s.PayStranger():
                self._transact(step)
            case s.Mine() | s.MineAt() | s.Wait() | s.Reorg() | s.Restore():
                self._move_on(step)
            case _:
                self.spoiling.perform(step)

    # ------------------------------------------------------------ chains

    def _transact(self, step: s.TopUp | s.Pay | s.PayStranger) -> None:
        match step:
            case s.TopUp():
                merchant = self.asking.merchant(step.merchant)
                networks = [n for n in setting.BOOK.networks if n.mode == merchant.mode]
                network = networks[step.network % len(networks)]
                self.chains.top_up(step, merchant.refund_wallet, network)
            case s.PayStranger():
                found = self.asking.session(step.session)
                self.chains.pay_stranger(step, found[1] if found is not None else None)
            case s.Pay():
                found = self.asking.session(step.session)
                if found is None:
                    return
                beside = None if step.beside is None else self.asking.session(step.beside)
                tx = self.chains.pay(step, found[1], beside[1] if beside is not None else None)
                self.deciding.paid(found[1]["session_id"], tx.hash)

    def _move_on(self, step: s.Mine | s.MineAt | s.Wait | s.Reorg | s.Restore) -> None:
        match step:
            case s.Mine():
                networks = setting.BOOK.networks
                self.chains.mine(networks[step.network % len(networks)].name, step.blocks)
            case s.MineAt():
                found = self.asking.session(step.session)
                if found is not None:
                    known = found[1]
                    at_us = known["expires_at_us"] + step.offset_seconds * 1_000_000
                    if step.edge == "grace":
                        at_us += setting.GRACE_SECONDS * 1_000_000
                    self.chains.mine_at(known["network"], at_us // 1_000_000)
            case s.Wait():
                self.pass_time(step.seconds)
            case s.Reorg():
                self.chains.reorg(step)
            case s.Restore():
                self.chains.restore(step)

    def _change_policy(self, step: s.ChangePolicy) -> None:
        """Deployed to the ingesters; the others read the book when they start the next time."""
        networks = self.servers.book.networks
        place = step.network % len(networks)
        offered = setting.POLICIES[networks[place].name]
        changed = networks[place].changed(policy=offered[step.policy % len(offered)])
        book = (*networks[:place], changed, *networks[place + 1 :])
        self.servers.book = self.servers.book.changed(networks=book)
        self.staff.restart(f"ingest.{changed.name}", f"standby.{changed.name}")
        self.loop.run_ready()

    # ------------------------------------------------------------ before the first step

    def _registered(self) -> tuple[Merchant, ...]:
        servers = self.servers
        handler = Handler(servers.store, servers.clock)
        use_case = Merchants(handler, servers.addresses, servers.wallets, servers.ids)
        found: list[Merchant] = []

        async def register() -> None:
            for number, (name, mode) in enumerate(setting.MERCHANTS):
                merchant_id = await use_case.register(name, mode, actor="simulation")
                key = setting.merchant_key(number)
                await use_case.configure_wallet(merchant_id, mode, key, actor="simulation")
                known = await use_case.find(merchant_id)
                assert known is not None
                wallet = known.refund_wallets[mode].address
                found.append(Merchant(merchant_id, mode, wallet))

        self.loop.spawn(None, register())
        self.loop.run_ready()
        return tuple(found)


@contextmanager
def _in_silence() -> Iterator[None]:
    """What workers say of troubles is expected here, and would cost more than the rest."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _hashed_once() -> Iterator[None]:
    """Providers tell the same headers again and again; a hash depends on nothing but its header."""
    hashed = lru_cache(HEADERS_HELD_MAX)(proof.header_hash)
    with patch.object(proof, "header_hash", hashed):
        yield


def run_history(history: s.History, *, trace: Trace | None = None) -> Performed:
    with _in_silence(), _hashed_once():
        world = World(history.seed, trace=trace)
        try:
            return world.run(history)
        finally:
            world.loop.dispose()
