"""A merchant with a funded refund wallet on a real chain, workers that may die at any call."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from adapters.evm import EvmClient
from adapters.keystore import LocalSigner
from adapters.memory.clock import FakeClock
from adapters.memory.reads import MemoryReads
from application.deciders import (
    PAYMENT,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    float_id,
    transfer_stream_id,
)
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
from domain.transfer import OnchainTransfer
from tests.contracts.chain import Chain, Deployed, transfers
from tests.examples import LATER, MERCHANT_ID, PAYER, block_hash
from tests.workers.fuse import NEVER, Crash, Fuse
from workers.refund_sender import RefundSender
from workers.signer import SignerProcess

BLOCKS = 3
RULE = "3 confirmations"
ROUNDS_MAX = 60
FINAL_BLOCKS = 64  # how far behind its head this chain calls a block final
ROUND_SECONDS = 6.0  # longer than every pause between looks, so that each round looks
GAS_WEI = 10**18
PAID_UNITS = 10_000_000
UNITS = 4_000_000
CAPS = Caps(10**12, 10**12, 10**12)
CONTEXT = Context(actor="system", merchant_id=MERCHANT_ID, mode="test")


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

    async def finish_failing(self, refund_id: UUID) -> Refund:
        """As `finish`, where the transaction moves nothing: its block has to be final."""
        sender, signer = self.workers()
        for _ in range(2 * BLOCKS + 2):
            await self.round(sender, signer)
        assert (await self.refund(refund_id)).status == "broadcast"
        await self.chain.rpc("anvil_mine", hex(FINAL_BLOCKS))
        (ended,) = await self.finish(refund_id)
        return ended

    # ------------------------------------------------------------ how things stand

    async def refund(self, refund_id: UUID) -> Refund:
        refund = await self.handler.load(REFUND, refund_id)
        assert refund is not None
        return refund

    async def session(self, session_id: UUID | None) -> PaymentSession:
        assert session_id is not None, "it is the refund of a session"
        session = await self.handler.load(PAYMENT, session_id)
        assert session is not None
        return session

    async def transfer(self, transfer_id: str) -> OnchainTransfer:
        transfer = await self.handler.load(TRANSFER, transfer_stream_id(transfer_id))
        assert transfer is not None
        return transfer

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
        """Debits equal credits in each asset, and the books say of the float what its stream says."""
        books = MemoryReads(self.store, self.networks).books
        totals = {line.asset: line.difference for line in await books.trial_balance()}
        assert set(totals.values()) == {0}
        assert totals.keys() <= {self.asset, self.network.coin_asset}
        held = await self.float_()
        assert await self.balance("refund_float") == -held.available_units
        reserved = sum(amount.units for amount in held.reserved.values())
        assert await self.balance("refunds_pending") == -reserved

    async def balance(self, account: str) -> int:
        """Debits less credits of the merchant's account of this kind."""
        books = MemoryReads(self.store, self.networks).books
        return sum(
            line.debits - line.credits
            for line in await books.balances()
            if line.account.split(":")[0] == account
        )

    async def gas_spent(self) -> int:
        """What is gone from the wallet's own coin on chain, in wei."""
        return GAS_WEI - await self.client.native_balance(self.wallet)

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
                pay_by="deposit_address",
                tolerance=Amount(units=0, asset=self.asset),
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
                rule=RULE,
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
                rule=RULE,
            )
            await unit.decide(PAYMENT, session_id, confirm)

        await self.handler.execute(CONTEXT, work)

    async def inbox_transfer(self) -> str:
        """PAID_UNITS that belong to no session, confirmed; its transfer id."""
        sighting = self._sighting(next(_numbers))
        await self._report(sighting, c.ReportConfirmed, confirmations=BLOCKS, rule=RULE)
        return sighting.transfer_id

    async def reverse_an_inbox_transfer(self, transfer_id: str) -> None:
        sighting = (await self.transfer(transfer_id)).sighting
        await self._report(sighting, c.ReportRetracted)

    async def _report(
        self,
        sighting: Sighting,
        kind: type[c.ReportConfirmed] | type[c.ReportRetracted],
        **more: Any,
    ) -> None:
        whose = c.Attribution(
            purpose="unmatched",
            subject_id=None,
            merchant_id=MERCHANT_ID,
            verdict="unknown_payer",
            reason="nobody has said that this wallet pays",
        )
        if kind is c.ReportConfirmed:
            more |= {"policy_version": 1}

        async def work(unit: UnitOfWork) -> None:
            command = kind(
                at=unit.now,
                report_number=next(_numbers),
                sighting=sighting,
                attribution=whose,
                **more,
            )
            stream_id = transfer_stream_id(sighting.transfer_id)
            await unit.decide(TRANSFER, stream_id, command, mode="test")

        await self.handler.execute(CONTEXT, work)

    async def reverse_a_transfer(self, session_id: UUID | None) -> None:
        """A reorg deeper than the policy takes the first confirmed transfer away."""
        transfers_ = (await self.session(session_id)).transfers.values()
        gone = next(transfer for transfer in transfers_ if transfer.status == "confirmed")

        assert session_id is not None
        stream_id = session_id

        async def work(unit: UnitOfWork) -> None:
            command = c.RetractTransfer(
                at=unit.now, transfer_id=gone.transfer_id, block_hash=gone.block_hash
            )
            await unit.decide(PAYMENT, stream_id, command)

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
        paid = session_id or await self.paid_session()

        async def reserve(unit: UnitOfWork, refund_id: UUID, amount: Amount) -> None:
            command = c.ReserveRefund(at=unit.now, refund_id=refund_id, amount=amount)
            await unit.decide(PAYMENT, paid, command)

        return await self._request(reserve, units, destination, session_id=paid)

    async def request_for_transfer(
        self, transfer_id: str | None = None, destination: str | None = None
    ) -> Refund:
        """The whole of a transfer in the inbox goes back."""
        arrived = transfer_id or await self.inbox_transfer()

        async def reserve(unit: UnitOfWork, refund_id: UUID, amount: Amount) -> None:
            del amount  # always all of it
            command = c.ReserveTransferRefund(at=unit.now, refund_id=refund_id, reason="by hand")
            await unit.decide(TRANSFER, transfer_stream_id(arrived), command, mode="test")

        return await self._request(reserve, PAID_UNITS, destination, transfer_id=arrived)

    async def _request(
        self,
        reserve: Callable[[UnitOfWork, UUID, Amount], Awaitable[None]],
        units: int,
        destination: str | None,
        *,
        session_id: UUID | None = None,
        transfer_id: str | None = None,
    ) -> Refund:
        number = next(_numbers)
        refund_id = UUID(int=0x4EF000000 + number)
        amount = Amount(units=units, asset=self.asset)

        async def work(unit: UnitOfWork) -> Refund:
            await reserve(unit, refund_id, amount)
            hold = c.ReserveFloat(at=unit.now, refund_id=refund_id, amount=amount)
            stream_id = float_id(MERCHANT_ID, "test", self.asset)
            await unit.decide(REFUND_FLOAT, stream_id, hold, merchant_id=MERCHANT_ID, mode="test")
            command = c.RequestRefund(
                at=unit.now,
                refund_id=refund_id,
                session_id=session_id,
                transfer_id=transfer_id,
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
