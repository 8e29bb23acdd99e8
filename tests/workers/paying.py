"""A merchant with a funded refund wallet on a real chain, workers that may die at any call.

Crash   ends a worker as kill -9 would: nothing of it catches that, and the next round is done
        by new workers that remember nothing.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from adapters.evm import EvmClient
from adapters.keystore import LocalSigner
from adapters.memory.clock import FakeClock
from adapters.memory.reads import MemoryReads
from application.deciders import PAYMENT, REFUND, REFUND_FLOAT, float_id
from application.handling import Handler, UnitOfWork
from application.outside import OutgoingBook
from application.paying_out import Caps, SigningBook
from application.ports import Context, EventStore, Stream
from domain import commands as c
from domain.events import Sighting
from domain.money import Amount
from domain.networks import Network, NetworkBook, Token, local_network
from domain.payment import PaymentSession
from domain.refund import Refund
from domain.refund_float import RefundFloat
from tests.contracts.chain import Chain, Deployed, transfers
from tests.examples import LATER, MERCHANT_ID, PAYER, block_hash
from workers.refund_sender import RefundSender
from workers.signer import SignerProcess

T = TypeVar("T")
BLOCKS = 3
ROUNDS_MAX = 60
ROUND_SECONDS = 6.0  # longer than every pause between looks, so that each round looks
GAS_WEI = 10**18
PAID_UNITS = 10_000_000
UNITS = 4_000_000
CAPS = Caps(10**12, 10**12, 10**12)
CONTEXT = Context(actor="system", merchant_id=MERCHANT_ID, mode="test")


class Crash(BaseException):
    """The process is gone."""


@dataclass
class Fuse:
    """Counts calls of ports, and blows at one of them: before it is made, or after."""

    blows_at: int = 0  # 0: never
    after: bool = False
    calls: int = 0
    names: list[str] = field(default_factory=list)

    def around(self, port: T) -> T:
        return _Fused(port, self)  # type: ignore[return-value] # answers to the same names

    async def call(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        self.names.append(name)
        blows = self.calls == self.blows_at
        if blows and not self.after:
            raise Crash
        answer = await work()
        if blows:
            raise Crash
        return answer


class _Fused:
    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def fused(*arguments: Any, **named: Any) -> Any:
            return await self._fuse.call(name, lambda: found(*arguments, **named))

        return fused


NEVER = Fuse()
_numbers = itertools.count(1)


@dataclass
class World:
    """Everything a refund touches. `signer_book` and `outgoing` are two views of one table."""

    clock: FakeClock
    store: EventStore
    outgoing: OutgoingBook
    signer_book: SigningBook
    chain: Chain
    token: Deployed
    client: EvmClient
    networks: NetworkBook
    keys: LocalSigner
    wallet: str
    caps: Caps = CAPS

    @property
    def handler(self) -> Handler:
        return Handler(self.store, self.clock)

    @property
    def network(self) -> Network:
        return self.networks.networks[0]

    @property
    def asset(self) -> str:
        return self.network.asset(self.network.tokens[0])

    def workers(self, fuse: Fuse = NEVER) -> tuple[RefundSender, SignerProcess]:
        """New ones, as after a restart."""
        store = fuse.around(self.store)
        sender = RefundSender(
            Handler(store, self.clock),
            MemoryReads(self.store, self.networks).refunds,
            fuse.around(self.outgoing),
            {self.network.name: fuse.around(self.client)},
            self.networks,
            self.clock,
        )
        signer = SignerProcess(
            fuse.around(self.signer_book), self.keys, self.networks, self.clock, self.caps
        )
        return sender, signer

    async def round(self, sender: RefundSender, signer: SignerProcess) -> None:
        await sender.look()
        await signer.sign_waiting()
        await self.chain.rpc("anvil_mine", "0x1")
        self.clock.advance(ROUND_SECONDS)

    async def finish(self, *refund_ids: UUID, fuse: Fuse = NEVER) -> list[Refund]:
        """Rounds until none of these refunds is open; a crash brings new workers."""
        sender, signer = self.workers(fuse)
        for _ in range(ROUNDS_MAX):
            try:
                await self.round(sender, signer)
            except Crash:
                sender, signer = self.workers(fuse)
            refunds = [await self.refund(one) for one in refund_ids]
            if not any(refund.open for refund in refunds):
                return refunds
        raise AssertionError(f"still open after {ROUNDS_MAX} rounds")

    # ------------------------------------------------------------ how things stand

    async def refund(self, refund_id: UUID) -> Refund:
        refund = await self.handler.load(REFUND, refund_id)
        assert refund is not None
        return refund

    async def session(self, session_id: UUID) -> PaymentSession:
        session = await self.handler.load(PAYMENT, session_id)
        assert session is not None
        return session

    async def float_(self) -> RefundFloat:
        held = await self.handler.load(REFUND_FLOAT, float_id(MERCHANT_ID, "test", self.asset))
        assert held is not None
        return held

    async def paid_to(self, destination: str) -> list[int]:
        """Every transfer from the refund wallet to this address that the chain has."""
        topics = [None, "0x" + self.wallet[2:].rjust(64, "0")]
        query = {"fromBlock": "0x0", "address": self.token.address, "topics": topics}
        logs = await self.chain.rpc("eth_getLogs", query)
        return [units for _, to, units in transfers({"logs": logs}) if to == destination]

    async def facts(self, refund_id: UUID) -> list[str]:
        recorded = await self.store.read_stream(Stream("refund", refund_id))
        return [each.event.name for each in recorded]

    async def books_agree(self) -> None:
        """Debits equal credits, and the float on the books is the float on the stream."""
        books = MemoryReads(self.store, self.networks).books
        assert [line.difference for line in await books.trial_balance()] == [0]
        balances = {b.account.split(":")[0]: b for b in await books.balances()}
        free = balances["refund_float"]
        assert free.credits - free.debits == (await self.float_()).available_units

    # ------------------------------------------------------------ what happens

    async def top_up(self, units: int) -> None:
        """Tokens on chain, gas beside them, and the fact of it in the log."""
        owner = self.chain.accounts[0]
        await self.token.send(owner, "mint(address,uint256)", self.wallet, units)
        await self.chain.rpc("anvil_setBalance", self.wallet, hex(GAS_WEI))

        async def work(unit: UnitOfWork) -> None:
            command = c.TopUpFloat(
                at=unit.now,
                transfer_id=f"31337:top-up:{next(_numbers)}",
                amount=Amount(units=units, asset=self.asset),
            )
            stream_id = float_id(MERCHANT_ID, "test", self.asset)
            await unit.decide(
                REFUND_FLOAT, stream_id, command, merchant_id=MERCHANT_ID, mode="test"
            )

        await self.handler.execute(CONTEXT, work)

    async def paid_session(self) -> UUID:
        """A session that a customer has paid with PAID_UNITS, confirmed."""
        number = next(_numbers)
        session_id = UUID(int=0x5E0000 + number)
        sighting = self._sighting(number)

        async def work(unit: UnitOfWork) -> None:
            create = c.CreateSession(
                at=unit.now,
                session_id=session_id,
                merchant_id=MERCHANT_ID,
                mode="test",
                network=self.network.name,
                due=Amount(units=PAID_UNITS, asset=self.asset),
                deposit_address=sighting.recipient,
                deposit_index=number,
                expires_at=unit.now + timedelta(days=1),
                grace_seconds=0,
            )
            observe = c.ObserveTransfer(at=unit.now, sighting=sighting)
            confirm = c.ConfirmTransfer(
                at=unit.now,
                transfer_id=sighting.transfer_id,
                block_hash=sighting.block_hash,
                confirmations=BLOCKS,
                policy_version=1,
            )
            for command in (create, observe, confirm):
                await unit.decide(PAYMENT, session_id, command)

        await self.handler.execute(CONTEXT, work)
        return session_id

    async def pay_again(self, session_id: UUID) -> None:
        """PAID_UNITS once more, in a transfer of its own."""
        sighting = self._sighting(next(_numbers))

        async def work(unit: UnitOfWork) -> None:
            observe = c.ObserveTransfer(at=unit.now, sighting=sighting)
            await unit.decide(PAYMENT, session_id, observe)
            confirm = c.ConfirmTransfer(
                at=unit.now,
                transfer_id=sighting.transfer_id,
                block_hash=sighting.block_hash,
                confirmations=BLOCKS,
                policy_version=1,
            )
            await unit.decide(PAYMENT, session_id, confirm)

        await self.handler.execute(CONTEXT, work)

    async def reverse_a_transfer(self, session_id: UUID) -> None:
        """A reorg deeper than the policy takes the first confirmed transfer away."""
        transfers_ = (await self.session(session_id)).transfers.values()
        gone = next(transfer for transfer in transfers_ if transfer.status == "confirmed")

        async def work(unit: UnitOfWork) -> None:
            command = c.RetractTransfer(
                at=unit.now, transfer_id=gone.transfer_id, block_hash=gone.block_hash
            )
            await unit.decide(PAYMENT, session_id, command)

        await self.handler.execute(CONTEXT, work)

    def _sighting(self, number: int) -> Sighting:
        tx_hash = f"0x{number:064x}"
        return Sighting(
            transfer_id=f"31337:{tx_hash}:0",
            network=self.network.name,
            amount=Amount(units=PAID_UNITS, asset=self.asset),
            token=self.token.address,
            sender=PAYER,
            recipient=f"0x{0xDE << 152 | number:040x}",
            tx_hash=tx_hash,
            log_index=0,
            block_number=1,
            block_hash=block_hash(1),
            block_time=LATER,
            attested=True,
            providers=("one",),
        )

    async def request(
        self, units: int, destination: str | None = None, session_id: UUID | None = None
    ) -> Refund:
        """A refund as application/refunds.py writes it; each to a new address by default."""
        number = next(_numbers)
        paid = session_id or await self.paid_session()
        refund_id = UUID(int=0x4EF000000 + number)
        amount = Amount(units=units, asset=self.asset)

        async def work(unit: UnitOfWork) -> Refund:
            reserve = c.ReserveRefund(at=unit.now, refund_id=refund_id, amount=amount)
            await unit.decide(PAYMENT, paid, reserve)
            hold = c.ReserveFloat(at=unit.now, refund_id=refund_id, amount=amount)
            stream_id = float_id(MERCHANT_ID, "test", self.asset)
            await unit.decide(REFUND_FLOAT, stream_id, hold, merchant_id=MERCHANT_ID, mode="test")
            command = c.RequestRefund(
                at=unit.now,
                refund_id=refund_id,
                session_id=paid,
                merchant_id=MERCHANT_ID,
                mode="test",
                network=self.network.name,
                amount=amount,
                destination=destination or f"0x{0xC0FFEE << 136 | number:040x}",
                wallet=self.wallet,
                wallet_index=0,
            )
            refund = await unit.decide(REFUND, refund_id, command)
            assert refund is not None
            return refund

        return await self.handler.execute(CONTEXT, work)


def network_of(token: str) -> NetworkBook:
    tokens = (Token(symbol="USDC", address=token, decimals=6),)
    return NetworkBook(networks=(local_network(chain_id=31337, tokens=tokens, blocks=BLOCKS),))
