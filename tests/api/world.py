"""A gateway of twins with two merchants, for tests of the API and of the pages.

Shapes  World has the use cases over the in-memory store; a Tenant has a key for every set of
        scopes and mode. `settle` does what the chain would do.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from bip32 import BIP32  # type: ignore[import-untyped]  # it ships no types

from adapters.addresses import checksum_address, parse_address
from adapters.memory.bus import MemoryBus
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.ledger import MemoryLedger
from adapters.memory.poster import MemoryPoster
from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore
from adapters.memory.vault import MemoryVault
from adapters.memory.wallet import MemoryDepositAddresses, MemoryRefundWallets
from adapters.signatures import EvmSignatures, Provider
from api.services import ApiServices, HealthCheck
from application.api_keys import hash_of
from application.callers import Caller
from application.chain_messages import TransferReport
from application.claims import Claims
from application.deciders import (
    DELIVERY,
    MERCHANT,
    REFUND_FLOAT,
    float_id,
    transfer_stream_id,
)
from application.handling import Handler, UnitOfWork
from application.inbox import Inbox
from application.instructions import WriteAddress
from application.merchant_settings import MerchantSettings
from application.merchants import Merchants
from application.ports import Context
from application.refunds import Refunds
from application.sessions import NewSession, Sessions
from application.settlement import Settlement
from application.statements import Statements
from application.webhooks import Webhooks
from domain import commands as c
from domain.events import Sighting
from domain.networks import POLYGON, NetworkBook, Token
from domain.payment import PaymentSession
from domain.values import Mode
from tests.examples import AT, LOCAL, PAYER, block_hash, usd
from web.services import WebServices

ALL = ("read", "write", "refund")
BRIDGED = Token(symbol="USDC.e", address="0x" + "ae" * 20, decimals=6, accepted=False)
NETWORK = LOCAL.model_copy(update={"tokens": (*LOCAL.tokens, BRIDGED)})
BASE_URL = "https://pay.example"


def _xpub(seed: int) -> str:
    return str(BIP32.from_seed(bytes([seed]) * 32).get_xpub_from_path("m/44'/60'/0'"))


@dataclass(slots=True)
class Tenant:
    merchant_id: UUID
    keys: dict[tuple[str, ...], str] = field(default_factory=dict)  # test mode, by scopes
    live_key: str = ""

    @property
    def key(self) -> str:
        return self.keys[ALL]

    def caller(self, mode: Mode = "test") -> Caller:
        return Caller(self.merchant_id, mode, UUID(int=1), ALL, "req_test")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock(AT)
        self.ids = SeededIds(7)
        self.store = MemoryEventStore(ids=self.ids, clock=self.clock)
        self.handler = Handler(self.store, self.clock)
        self.vault = MemoryVault(bytes(32), self.ids)
        self.poster = MemoryPoster()
        self.bus = MemoryBus(self.clock)
        self.addresses = MemoryDepositAddresses()
        self.merchants = Merchants(
            self.handler, self.addresses, MemoryRefundWallets(_xpub(9)), self.ids
        )
        self.webhooks = Webhooks(self.handler, self.vault, self.poster, self.ids)
        self.providers: dict[str, tuple[Provider, ...]] = {}
        self.health: tuple[HealthCheck, ...] = ()
        self.write: WriteAddress = checksum_address
        self._reports = 0
        self.serve(NetworkBook(networks=(NETWORK, POLYGON)))

    def serve(self, networks: NetworkBook) -> None:
        """As after a restart with these networks; whoever serves asks for `api` or `web` anew."""
        self.networks = networks
        self.reads = MemoryReads(self.store, networks)
        # Their ingesters have begun, and no more.
        self.reads.heads.numbers = {each.name: 0 for each in networks.networks}
        self.sessions = Sessions(
            self.handler,
            networks,
            self.addresses,
            self.vault,
            self.ids,
            self.reads.heads,
            amount_max="10000.00",
        )
        watch = self.reads.watch_list
        self.refunds = Refunds(self.handler, networks, watch, self.ids, parse_address)
        signatures = EvmSignatures(self.providers, self.clock)
        self.claims = Claims(self.handler, networks, signatures, parse_address, checksum_address)
        self.inbox = Inbox(self.handler, networks)
        self.settings = MerchantSettings(self.handler, networks, watch, parse_address)
        self.settlement = Settlement(self.handler, watch, networks, self.reads.progress)

    def api(self) -> ApiServices:
        return ApiServices(
            sessions=self.sessions,
            refunds=self.refunds,
            webhooks=self.webhooks,
            statements=Statements(MemoryLedger(self.store.log), self.networks, self.clock),
            claims=self.claims,
            inbox=self.inbox,
            settings=self.settings,
            handler=self.handler,
            api_keys=self.reads.api_keys,
            session_reads=self.reads.sessions,
            refund_reads=self.reads.refunds,
            delivery_reads=self.reads.deliveries,
            inbox_reads=self.reads.inbox,
            progress=self.reads.progress,
            heads=self.reads.heads,
            networks=self.networks,
            clock=self.clock,
            ids=self.ids,
            write_address=self.write,
            parse_address=parse_address,
            public_base_url=BASE_URL,
            health=self.health,
        )

    def web(self) -> WebServices:
        return WebServices(
            handler=self.handler,
            claims=self.claims,
            session_reads=self.reads.sessions,
            inbox_reads=self.reads.inbox,
            heads=self.reads.heads,
            networks=self.networks,
            clock=self.clock,
            write_address=self.write,
            public_base_url=BASE_URL,
            hints=self.bus.hints,
        )

    # ------------------------------------------------------------ people

    async def tenant(self, name: str, seed: int) -> Tenant:
        modes: tuple[Mode, ...] = ("test", "live")
        merchant_id = await self.merchants.register(name, "test", actor="test")
        for number, mode in enumerate(modes):
            await self.merchants.configure_wallet(
                merchant_id, mode, _xpub(seed + number), actor="test"
            )
        tenant = Tenant(merchant_id)
        for scopes in (ALL, ("read",), ("write",), ("refund",)):
            tenant.keys[scopes] = await self.merchants.create_api_key(
                merchant_id, "test", scopes, "key", actor="test"
            )
        tenant.live_key = await self.merchants.create_api_key(
            merchant_id, "live", ALL, "key", actor="test"
        )
        return tenant

    async def session(self, tenant: Tenant, amount: str = "10.00", **more: str) -> PaymentSession:
        new = NewSession(amount=amount, currency="USD", **more)  # type: ignore[arg-type]  # texts
        return await self.sessions.create(new, tenant.caller(), None, lambda _: (201, b""))

    async def receive_at(self, tenant: Tenant, address: str) -> None:
        """From now on the merchant has one wallet that its sessions may share."""
        await self.merchants.set_receiving_address(
            tenant.merchant_id, "test", address, actor="test"
        )

    async def revoke(self, tenant: Tenant, key: str) -> None:
        holder = await self.reads.api_keys.holder(hash_of(key))
        assert holder is not None
        revoked = c.RevokeApiKey(at=self.clock.now(), key_id=holder.key_id)

        async def work(unit: UnitOfWork) -> None:
            await unit.decide(MERCHANT, tenant.merchant_id, revoked)

        await self.handler.execute(Context(actor="test"), work)

    # ------------------------------------------------------------ the chain

    async def observe(
        self, session: PaymentSession, amount: str = "10.00", *, tx: str = "11", number: int = 100
    ) -> Sighting:
        seen = self._sighting(session, amount, tx, number)
        await self._report("observed", seen, 1)
        self.reads.heads.numbers["local"] = number
        return seen

    async def confirm(self, seen: Sighting) -> None:
        await self._report("confirmed", seen, 3)
        self.reads.heads.numbers["local"] = seen.block_number + 2

    async def arrive(
        self,
        recipient: str,
        amount: str = "10.00",
        *,
        tx: str = "44",
        token: Token = NETWORK.tokens[0],
        sender: str = PAYER,
        confirmed: bool = True,
    ) -> UUID:
        """Money from anybody to any address; the id of its transfer's stream."""
        tx_hash = "0x" + tx * 32
        seen = Sighting(
            transfer_id=f"31337:{tx_hash}:0",
            network="local",
            amount=usd(amount, NETWORK.asset(token)),
            token=token.address,
            sender=sender,
            recipient=recipient,
            tx_hash=tx_hash,
            log_index=0,
            block_number=100,
            block_hash=block_hash(100),
            block_time=self.clock.now(),
            attested=True,
            providers=("one", "two"),
        )
        await self._report("observed", seen, 1)
        if confirmed:
            await self._report("confirmed", seen, 3)
        return transfer_stream_id(seen.transfer_id)

    async def pay(self, session: PaymentSession, amount: str = "10.00", *, tx: str = "11") -> None:
        await self.confirm(await self.observe(session, amount, tx=tx))

    async def fund(self, tenant: Tenant, amount: str) -> None:
        async def work(unit: UnitOfWork) -> None:
            top_up = c.TopUpFloat(
                at=unit.now, transfer_id=f"31337:0x{tenant.merchant_id.hex}:0", amount=usd(amount)
            )
            stream = float_id(tenant.merchant_id, "test", top_up.amount.asset)
            await unit.decide(
                REFUND_FLOAT, stream, top_up, merchant_id=tenant.merchant_id, mode="test"
            )

        await self.handler.execute(Context(actor="test"), work)

    async def delivery(self, tenant: Tenant, endpoint_id: UUID) -> UUID:
        delivery_id = self.ids.new()

        async def work(unit: UnitOfWork) -> None:
            opened = c.OpenDelivery(
                at=unit.now,
                delivery_id=delivery_id,
                merchant_id=tenant.merchant_id,
                mode="test",
                endpoint_id=endpoint_id,
                message_id=f"evt_{delivery_id.hex}",
                message_type="payment.completed",
                body='{"type":"payment.completed"}',
            )
            await unit.decide(DELIVERY, delivery_id, opened)
            failed = c.RecordAttempt(
                at=unit.now, status_code=410, latency_ms=12, error="answered 410"
            )
            await unit.decide(DELIVERY, delivery_id, failed)

        await self.handler.execute(Context(actor="test"), work)
        return delivery_id

    async def _report(self, kind: str, seen: Sighting, confirmations: int) -> None:
        self._reports += 1
        report = TransferReport(
            kind=kind,  # type: ignore[arg-type]  # one of the three
            message_id=f"{kind}:{self._reports}",
            report_number=self._reports,
            at=self.clock.now(),
            sighting=seen,
            confirmations=confirmations,
            policy_version=1,
        )
        await self.settlement.apply(report)
        await self.bus.hint("hint.log.head", b"1")

    def _sighting(self, session: PaymentSession, amount: str, tx: str, number: int) -> Sighting:
        tx_hash = "0x" + tx * 32
        return Sighting(
            transfer_id=f"31337:{tx_hash}:0",
            network="local",
            amount=usd(amount),
            token=LOCAL.tokens[0].address,
            sender=PAYER,
            recipient=session.deposit_address,
            tx_hash=tx_hash,
            log_index=0,
            block_number=number,
            block_hash=block_hash(number),
            block_time=self.clock.now() - timedelta(seconds=1),
            attested=True,
            providers=("one", "two"),
        )
