"""Steps that make something go wrong, handed to those who will notice.

Rules   Of a network's providers one may lie at a time: two who say the same are believed, for that
        is what agreement means. Where there is only one provider, it may not be silent about
        logs: nobody else could tell.
"""

from dataclasses import dataclass
from typing import assert_never

from simulation import setting
from simulation import steps as s
from simulation.asking import Asking
from simulation.chains import ChainHand
from simulation.faults import Faults
from simulation.servers import Servers
from simulation.staff import Staff

LIARS = frozenset(
    {"empty", "forged_logs", "forged_receipts", "forged_headers", "fork", "tags_lie"}
)
BY_COUNT = frozenset({"lost_answer", "busy", "conflicts"})

Troubles = (
    s.ProviderFault
    | s.NodeFault
    | s.BusFault
    | s.StoreFault
    | s.ReceiverFault
    | s.Crash
    | s.Skew
    | s.StopSigning
)


@dataclass(eq=False)
class Spoiling:
    servers: Servers
    staff: Staff
    chains: ChainHand
    faults: Faults
    asking: Asking

    def perform(self, step: Troubles) -> None:
        match step:
            case s.ProviderFault():
                self._provider(step)
            case s.NodeFault():
                self._node(step)
            case s.BusFault():
                self._bus(step)
            case s.StoreFault():
                times = step.count if step.trouble in BY_COUNT else None
                name = f"store.{step.trouble}"
                self.faults.open(name, step.seconds, step.salt, times=times)
            case s.ReceiverFault():
                self._receiver(step)
            case s.Crash():
                self.staff.crash(step)
            case s.Skew():
                self.staff.skew(step)
            case s.StopSigning():
                self._stop_signing(step.seconds)
            case _:
                assert_never(step)

    def _bus(self, step: s.BusFault) -> None:
        if step.trouble == "wiped":
            self.servers.bus.wipe()
            self.faults.count("bus.wiped")
        else:
            self.faults.open(f"bus.{step.trouble}", step.seconds, step.salt)

    def _receiver(self, step: s.ReceiverFault) -> None:
        found = self.asking.known("create_endpoint", step.endpoint)
        if found is not None:
            self.servers.receivers.treat(found[1]["url"], step.manner, step.posts)

    def _provider(self, step: s.ProviderFault) -> None:
        networks = setting.BOOK.networks
        network = networks[step.network % len(networks)].name
        providers = setting.PROVIDERS[network]
        number = step.provider % providers
        if step.trouble in LIARS:
            # One of several may lie: two who say the same are believed, that is the agreement.
            if providers == 1 and step.trouble in {"empty", "tags_lie"}:
                return
            self._end_lies(network)
        if step.trouble == "fork":
            self.chains.fork(network, number, step.salt, self.asking.addresses())
        name = f"provider.{network}.{number}.{step.trouble}"
        self.faults.open(name, step.seconds, step.salt, amount=step.amount)

    def _end_lies(self, network: str) -> None:
        for number in range(setting.PROVIDERS[network]):
            self.servers.forks.chains.pop((network, number), None)
            for lie in sorted(LIARS):
                self.faults.close(f"provider.{network}.{number}.{lie}")

    def _node(self, step: s.NodeFault) -> None:
        networks = setting.BOOK.networks
        network = networks[step.network % len(networks)].name
        if step.trouble == "drops_mempool":
            chain = self.servers.chains[network]
            chain.mempool = [tx for tx in chain.mempool if tx.sender is None]
        name = f"node.{network}.{step.trouble}"
        self.faults.open(name, step.seconds, step.salt, amount=step.amount)

    def _stop_signing(self, seconds: int) -> None:
        self.servers.outgoing.stopped = "thrown by the history"
        self.faults.count("signer.stopped")
        self.servers.loop.call_later(seconds, self.sign_again)

    def sign_again(self) -> None:
        self.servers.outgoing.stopped = None
