"""One ingester on real servers, as a process would run it, and a consumer of its reports."""

import asyncio
from dataclasses import dataclass, field

from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.evm import EvmClient
from adapters.ingest_store import PostgresIngestStore
from adapters.nats_bus import NatsBus
from adapters.postgres import Postgres
from application.chain_messages import ChainReport, TransferReport, decode_report, report_subjects
from application.handling import Handler
from application.policies import Policies
from application.ports import Unavailable
from chain_ingest.service import Ingester, ingest_network
from domain.networks import Network, Token, local_network
from gateway.local_chain import USDC, LocalChain
from tests.chain_ingest.world import Watched

DEPOSIT, OTHER_DEPOSIT = "0x" + "d1" * 20, "0x" + "d2" * 20
WAIT_SECONDS_MAX = 20
LOCAL = local_network(
    chain_id=31337, tokens=(Token(symbol="USDC", address=USDC, decimals=6),), blocks=3
)


@dataclass
class Rig:
    """One ingester as a process would run it, and a consumer that records what it acks."""

    chain: LocalChain
    urls: list[str]
    postgres: Postgres
    bus: NatsBus
    network: Network = LOCAL
    reports: list[ChainReport] = field(default_factory=list)
    start_block: int = 1

    def __post_init__(self) -> None:
        self.watched = Watched()
        self.watched.now = {DEPOSIT, OTHER_DEPOSIT}
        self.store = PostgresIngestStore(self.postgres)
        self._log = PostgresEventStore(self.postgres, ids=SystemIds())
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._clients: list[EvmClient] = []

    def ingester(self) -> Ingester:
        return ingest_network(
            self.network,
            self._clients,
            self.store,
            self.bus,
            policies=Policies(Handler(self._log, SystemClock())),
            log_head=self.watched,
            progress=self.watched,
            watched=self.watched,
            clock=SystemClock(),
            start_block=self.start_block,
        )

    async def start(self) -> None:
        self._clients = [
            EvmClient(url, self.network, provider_name=f"p{number}")
            for number, url in enumerate(self.urls)
        ]
        for client in self._clients:
            await client.open()
        await self._log.start()
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(self.ingester().run(self._stop))

    async def stop(self) -> None:
        self._stop.set()
        if self._running is not None:
            async with asyncio.timeout(5):
                await self._running
        await self._log.close()
        for client in self._clients:
            await client.close()

    async def pull(self) -> None:
        """Decode, record in the inbox, and only then ack: as the settlement worker does."""
        try:
            messages = await self.bus.pull(
                report_subjects(self.network.name), "rig", limit=100, wait_seconds=0.05
            )
        except Unavailable:
            await asyncio.sleep(0.1)
            return
        for message in messages:
            if await self._recorded(message.message_id):
                self.reports.append(decode_report(message.subject, message.data))
            await self.bus.ack(message)

    async def _recorded(self, message_id: str) -> bool:
        async with self.postgres.connection() as connection:
            added = await connection.execute(
                "INSERT INTO es.inbox (source, message_id, position) VALUES ('chain', %s, 0) "
                "ON CONFLICT DO NOTHING",
                (message_id,),
            )
            return added.rowcount == 1

    async def until(self, *kinds: str) -> None:
        """Pull until just these have been said, in this order."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while self.said != list(kinds):
                assert self.said == list(kinds)[: len(self.said)], "said something else"
                await self.pull()

    @property
    def said(self) -> list[str]:
        return [report.kind for report in sorted(self.reports, key=lambda r: r.report_number)]

    @property
    def transfers(self) -> list[TransferReport]:
        return [report for report in self.reports if isinstance(report, TransferReport)]

    async def passed(self) -> int:
        cursor = await self.store.cursor(self.network.name)
        return 0 if cursor is None else cursor.number

    async def until_passed(self, number: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while await self.passed() < number:
                await asyncio.sleep(0.02)
