"""A gateway in memory, where each kind of story is lived through once by the real use cases.

Shapes  World.written   what the store was given and made of it, in order: rows of the log, legs
                        of the books, the inbox message
        World.tokens    what another telling of the same story has instead: each text with the
                        Token that says how it is made (bench/load_compiler.py)
        Numbers that differ from telling to telling are eleven digits beginning with 75 to 79, so
        that nothing else looks like them.
Units   seconds; amounts as decimal strings of US dollars
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from adapters.addresses import checksum_address, parse_address
from adapters.event_store_books import Leg
from adapters.event_store_read import RawEvent
from adapters.memory.bus import MemoryBus
from adapters.memory.checkpoints import MemoryCheckpoints
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from adapters.memory.vault import MemoryVault
from application.chain_messages import TransferReport
from application.deciders import DELIVERY, MERCHANT, transfer_stream_id
from application.handling import Handler, UnitOfWork
from application.messages import Messages
from application.ports import Batch, Context
from application.refunds import Refunds
from application.sessions import Sessions
from application.settlement import Settlement
from domain import commands as c
from domain import events as e
from domain.matching import AddressOwner
from domain.money import Amount
from domain.networks import KNOWN_NETWORKS, Network, NetworkBook
from domain.values import Mode
from workers.dispatcher import Dispatcher
from workers.refund_facts import RefundFacts

BOOK = NetworkBook(networks=KNOWN_NETWORKS)
MODE: Mode = "live"
AMOUNT_MAX = "1000000.00"
MASTER_KEY = bytes(32)
REPORT_NUMBER = 75_000_000_000
DEPOSIT_INDEX = 76_000_000_000
BLOCK_NUMBER = 77_000_000_000
NONCE = 78_000_000_000
SHARED_VERSION = 79_000_000_000
EXTENDED_KEY = (  # of test vector 1 of BIP-32: everybody has its seed
    "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg"
    "7usUDFdp6W1EGMcet8"
)


ReportKind = Literal["observed", "confirmed", "retracted"]


class Token(NamedTuple):
    """How a text of the story is made for another telling: `kind` of it, and from what."""

    kind: str
    of: tuple[object, ...] = ()


class Block(NamedTuple):
    number: int
    hash: str
    time: datetime


@dataclass(slots=True)
class Written:
    """One batch as the store has written it."""

    batch: Batch
    at: datetime
    rows: list[RawEvent]
    legs: list[tuple[int, Leg]]  # index into rows


class WritingStore(MemoryEventStore):
    def __init__(self, *, ids: SeededIds, clock: FakeClock) -> None:
        super().__init__(ids=ids, clock=clock)
        self.written: list[Written] = []

    async def append(self, batch: Batch) -> int:
        head, legs = len(self.log.recorder.rows), len(self.log.postings)
        position = await super().append(batch)
        rows = [row for row in self.log.recorder.rows[head:] if row is not None]
        booked = [(each.position - head - 1, each.leg) for each in self.log.postings[legs:]]
        self.written.append(Written(batch, self._clock.now(), rows, booked))
        return position


class ToldIds:
    """Ids that are told to the world, so that each telling gets its own."""

    def __init__(self, tokens: dict[str, Token], seed: int) -> None:
        self._ids = SeededIds(seed)
        self._tokens = tokens

    def new(self) -> UUID:
        made = self._ids.new()
        self._tokens[made.hex] = Token("id", (made.hex,))
        self._tokens[str(made)] = Token("dashed", (made.hex,))
        return made

    def secret(self, size_bytes: int) -> bytes:
        return self._ids.secret(size_bytes)


@dataclass(slots=True)
class Addresses:
    """Deposit addresses and whose they are.

    All digits, so that the form with a checksum (EIP-55) is the same text.
    """

    tokens: dict[str, Token]
    count: int = 0
    owners: dict[str, AddressOwner] = field(default_factory=dict)

    def fresh(self) -> str:
        self.count += 1
        address = f"0x{10**39 + self.count:040d}"
        self.tokens[address] = Token("address", (address,))
        return address

    async def allocate(self, merchant_id: UUID, mode: Mode, key: str) -> tuple[int, str]:
        del merchant_id, mode, key
        index, address = DEPOSIT_INDEX + self.count, self.fresh()
        self.tokens[str(index)] = Token("deposit_index")
        return index, address

    def check(self, extended_public_key: str) -> str:
        raise NotImplementedError

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        del network
        return self.owners.get(address)

    async def owners_of(
        self, network: str, addresses: Collection[str]
    ) -> Mapping[str, AddressOwner]:
        del network
        return {each: self.owners[each] for each in addresses if each in self.owners}


class _Always:
    """Read models that have seen everything, of chains that have begun."""

    async def head(self, network: str) -> int | None:
        return len(network)

    async def position(self, projection: str) -> int:
        raise NotImplementedError

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        del position, timeout_seconds, projection
        return True


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant, as far as stories name it."""

    merchant_id: UUID
    key_id: UUID
    endpoint_id: UUID
    wallet: str  # that pays refunds
    wallet_index: int


class World:
    def __init__(self, at: datetime, seed: int = 0) -> None:
        self.clock = FakeClock(at)
        self.begun_at = at
        self.tokens: dict[str, Token] = {}
        self.store = WritingStore(ids=SeededIds(3 * seed), clock=self.clock)
        self.handler = Handler(self.store, self.clock)
        self.ids = ToldIds(self.tokens, 3 * seed + 1)
        self.addresses = Addresses(self.tokens)
        self._count = 0
        self._shown = 0
        vault = MemoryVault(MASTER_KEY, SeededIds(3 * seed + 2))
        self.sessions = Sessions(
            self.handler, BOOK, self.addresses, vault, self.ids, _Always(), amount_max=AMOUNT_MAX
        )
        self.settlement = Settlement(self.handler, self.addresses, BOOK, _Always())
        self.refunds = Refunds(self.handler, BOOK, self.addresses, self.ids, parse_address)
        self.facts = RefundFacts(self.handler, BOOK)
        self._dispatcher = Dispatcher(
            self.handler,
            Messages(self.store, BOOK, checksum_address),
            MemoryCheckpoints(),
            MemoryBus(self.clock),
            self.clock,
        )

    def begin(self) -> None:
        """Another story: what was told before belongs to that one."""
        self.tokens.clear()
        self.store.written.clear()
        self._shown = 0
        self.begun_at = self.clock.now()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def number(self, kind: str, first: int, *of: object) -> int:
        self._count += 1
        made = first + self._count
        self.tokens[str(made)] = Token(kind, of)
        return made

    def hash(self) -> str:
        self._count += 1
        made = "0x" + hashlib.sha256(self._count.to_bytes(8)).hexdigest()
        self.tokens[made] = Token("hash", (made,))
        return made

    # ------------------------------------------------------------ merchants

    async def open_shop(self, name: str, index: int, wanted: tuple[str, ...]) -> Shop:
        """A merchant with all that stories need, decided as its own and the operator's wishes."""
        merchant_id, key_id = self.ids.new(), self.ids.new()
        endpoint_id, secret_id = self.ids.new(), self.ids.new()
        wallet = self.addresses.fresh()
        key_hash = hashlib.sha256(key_id.bytes).hexdigest()

        async def work(unit: UnitOfWork) -> None:
            at = unit.now
            commands: tuple[c.MerchantCommand, ...] = (
                c.RegisterMerchant(at=at, merchant_id=merchant_id, display_name=name),
                c.AssignRefundWallet(at=at, mode=MODE, index=index, address=wallet),
                c.ConfigureWallet(at=at, mode=MODE, extended_public_key=EXTENDED_KEY),
                c.CreateApiKey(
                    at=at,
                    key_id=key_id,
                    mode=MODE,
                    key_hash=key_hash,
                    last4=key_hash[-4:],
                    scopes=("read", "write"),
                    label="shop",
                ),
                c.CreateEndpoint(
                    at=at,
                    endpoint_id=endpoint_id,
                    mode=MODE,
                    url=f"https://shop-{index}.example/hooks",
                    event_types=wanted,
                    secret_id=secret_id,
                ),
            )
            for command in commands:
                await unit.decide(MERCHANT, merchant_id, command)

        await self.handler.execute(
            Context(actor="system", merchant_id=merchant_id, mode=MODE), work
        )
        self.addresses.owners[wallet] = AddressOwner(
            purpose="refund_float", subject_id=merchant_id, merchant_id=merchant_id
        )
        return Shop(merchant_id, key_id, endpoint_id, wallet, index)

    # ------------------------------------------------------------ chain

    def sighting(
        self, network: Network, asset: str, units: int, recipient: str, branch: str = ""
    ) -> e.Sighting:
        """A transfer in a block of this moment, perhaps of a branch that will not last."""
        token = next(each for each in network.tokens if network.asset(each) == asset)
        tx_hash = self.hash()
        block = self.block(network, branch)
        return e.Sighting(
            transfer_id=self._transfer_id(network, tx_hash),
            network=network.name,
            amount=Amount(units=units, asset=asset),
            token=token.address,
            sender=self.addresses.fresh(),
            recipient=recipient,
            tx_hash=tx_hash,
            log_index=1,
            attested=True,
            providers=("one", "two"),
            block_number=block.number,
            block_hash=block.hash,
            block_time=block.time,
        )

    def _transfer_id(self, network: Network, tx_hash: str) -> str:
        transfer_id = f"{network.chain_id}:{tx_hash}:1"
        stream_id = transfer_stream_id(transfer_id)
        for text, kind in ((stream_id.hex, "id"), (str(stream_id), "dashed")):
            self.tokens[text] = Token(
                f"transfer_{kind}", (str(network.chain_id), tx_hash, stream_id.hex)
            )
        return transfer_id

    def moved(self, network: Network, seen: e.Sighting) -> e.Sighting:
        """The same transaction, mined again in a block of this moment."""
        block = self.block(network)
        return seen.changed(
            block_number=block.number, block_hash=block.hash, block_time=block.time
        )

    def block(self, network: Network, branch: str = "") -> Block:
        time = self.clock.now().replace(microsecond=0)
        seconds = int((time - self.begun_at.replace(microsecond=0)).total_seconds())
        of = (network.name, branch, network.block_seconds, seconds)
        block_hash = "0x" + hashlib.sha256(repr(of).encode()).hexdigest()
        self.tokens[block_hash] = Token("block_hash", of)
        number = self.number("block_number", BLOCK_NUMBER, *of)
        self.tokens[moment_text(time)] = Token("block_time", of)
        return Block(number, block_hash, time)

    def report(
        self, kind: ReportKind, seen: e.Sighting, confirmations: int, rule: str
    ) -> TransferReport:
        number = self.number("report_number", REPORT_NUMBER, seen.network)
        content = (kind, seen.transfer_id, seen.block_hash)
        digest = hashlib.sha256("\x1f".join(content).encode()).hexdigest()[:16]
        of = (kind, seen.transfer_id.partition(":")[0], seen.tx_hash, seen.block_hash)
        self.tokens[digest] = Token("report_digest", of)
        return TransferReport(
            kind=kind,
            message_id=f"{seen.network}-{number}-{digest}",
            report_number=number,
            at=self.clock.now(),
            sighting=seen,
            confirmations=confirmations,
            policy_version=1,
            rule=rule,
        )

    # ------------------------------------------------------------ webhooks

    async def deliver(self, failures: int = 0) -> None:
        """Open what the dispatcher opens, and attempt it until the receiver takes it."""
        self.wait(0.04)
        while await self._dispatcher.dispatch():
            pass
        rows = [row for each in self.store.written[self._shown :] for row in each.rows]
        opened = [row.stream_id for row in rows if row.topic == e.DeliveryOpened.name]
        delay = 0.15
        for number in range(failures + 1):
            self.wait(delay)
            for delivery_id in opened:
                delay = await self._attempt(delivery_id, fails=number < failures)
        self._shown = len(self.store.written)

    async def _attempt(self, delivery_id: UUID, *, fails: bool) -> float:
        delivery = await self.handler.load(DELIVERY, delivery_id)
        assert delivery is not None, "it was opened"
        context = Context("system", delivery.merchant_id, MODE, delivery.message_id)

        async def work(unit: UnitOfWork) -> None:
            command = c.RecordAttempt(
                at=unit.now,
                status_code=503 if fails else 200,
                latency_ms=85,
                error="the receiver answered 503" if fails else None,
            )
            await unit.decide(DELIVERY, delivery_id, command)

        await self.handler.execute(context, work)
        after = await self.handler.load(DELIVERY, delivery_id)
        assert after is not None
        again_at = after.next_attempt_at
        return (again_at - self.clock.now()).total_seconds() if again_at else 0.0


def moment_text(moment: datetime) -> str:
    """As pydantic and the public messages write it."""
    return moment.isoformat().replace("+00:00", "Z")
