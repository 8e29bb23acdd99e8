"""A recheck and a reconcile beside the ingester of a World, and what the log says of transfers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from adapters.memory.reconciling import MemoryReconcileBook
from application.deciders import TRANSFER, transfer_stream_id
from application.handling import Handler, UnitOfWork
from application.ports import Context
from application.reconciling import WatchedAddress
from chain_ingest.recheck import Recheck
from chain_ingest.reconcile import Reconciler, Reconciling
from chain_ingest.service import second_look
from chain_ingest.watch import Watch
from domain import commands as c
from domain.events import Sighting
from tests.chain_ingest.world import DEPOSIT, World

SESSION_ID = UUID(int=7)
MERCHANT_ID = UUID(int=8)


@dataclass
class ToCheck:
    """application.reconciling.AddressesToCheck, of a list; the newest is the last one."""

    addresses: list[WatchedAddress] = field(
        default_factory=lambda: [WatchedAddress(DEPOSIT, "payment_session")]
    )
    waiting: list[WatchedAddress] = field(default_factory=list)

    async def awaiting(self, _: str, limit: int) -> Sequence[WatchedAddress]:
        return self.waiting[:limit]

    async def below(
        self, _: str, position: int, limit: int
    ) -> tuple[Sequence[WatchedAddress], int]:
        top = position - 1 if position else len(self.addresses)
        chosen = self.addresses[:top][::-1][:limit]
        left = top - len(chosen)
        return chosen, left + 1 if left else 0


@dataclass
class Looking:
    world: World
    to_check: ToCheck = field(default_factory=ToCheck)

    def __post_init__(self) -> None:
        self.book = MemoryReconcileBook(self.world.store)
        self.handler = Handler(self.world.log, self.world.clock)
        self.restart()

    def restart(self) -> None:
        world = self.world
        found = second_look(
            world.network,
            world.asked,
            world.store,
            world.bus,
            Reconciling(self.book, self.to_check, self.handler),
            watch=Watch(world.watched, world.watched, world.watched),
            clock=world.clock,
        )
        self.recheck: Recheck
        self.reconciler: Reconciler
        self.recheck, self.reconciler = found

    async def verdicts(self, tx_hash: str, *, apply: bool = False) -> list[str]:
        again = await self.recheck.transaction(tx_hash, apply=apply)
        return [finding.verdict for finding in again.findings]

    async def words(self, tx_hash: str) -> str:
        again = await self.recheck.transaction(tx_hash)
        return "\n".join(finding.words for finding in again.findings)

    async def settle(
        self, sighting: Sighting, *, confirmed: bool, purpose: str = "payment_session"
    ) -> None:
        """What settlement would write of it."""
        attribution = c.Attribution(
            purpose=purpose,  # type: ignore[arg-type]  # a test names one that exists
            subject_id=SESSION_ID if purpose == "payment_session" else None,
            merchant_id=MERCHANT_ID,
            verdict="deposit_address" if purpose == "payment_session" else "after_grace",
            reason="paid to its own address" if purpose == "payment_session" else "came too late",
        )
        at = self.world.clock.now()
        commands: list[c.TransferCommand] = [
            c.ReportObserved(at=at, report_number=1, sighting=sighting, attribution=attribution)
        ]
        if confirmed:
            safe = c.ReportConfirmed(
                at=at,
                report_number=2,
                sighting=sighting,
                attribution=attribution,
                confirmations=3,
                policy_version=1,
                rule="3 confirmations",
            )
            commands.append(safe)

        async def work(unit: UnitOfWork) -> None:
            for command in commands:
                await unit.decide(TRANSFER, transfer_stream_id(sighting.transfer_id), command)

        await self.handler.execute(Context(actor="chain:31337", mode="test"), work)
