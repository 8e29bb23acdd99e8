"""What happens to payments, and how often: each story is told by the use cases of production.

Shapes  STORIES   a share of all sessions each; together 1,000
        TOP_UP    told when a merchant's refund wallet runs low
        A Scene is where and for how much: the same story is told once for each.
Units   seconds; cents of a dollar
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from uuid import UUID

from application.callers import Caller
from application.deciders import PAYMENT, REFUND
from application.handling import Answer, UnitOfWork
from application.outside import Receipt
from application.sessions import NewSession
from bench.load_world import MODE, NONCE, ReportKind, Shop, World
from domain import commands as c
from domain.events import Sighting
from domain.matching import AddressOwner
from domain.networks import ConfirmationRule, Network
from domain.payment import PaymentSession
from domain.refund import Refund
from workers.expiry import CONTEXT as EXPIRY

WINDOW_SECONDS = 1_800
TOP_UP_CENTS = 50_000_000
CENT = 10_000  # base units, of six decimals
GAS_USED, GAS_PRICE_WEI = 61_000, 35 * 10**9


@dataclass(slots=True)
class Scene:
    world: World
    shop: Shop
    network: Network
    asset: str
    symbol: str
    cents: int
    random: Random  # the pace of this telling

    @property
    def units(self) -> int:
        return self.cents * CENT

    @property
    def rule(self) -> str:
        return ConfirmationRule(blocks=self.network.policy.blocks).text

    def pause(self, least: float, most: float) -> None:
        self.world.wait(round(self.random.uniform(least, most), 3))

    def caller(self) -> Caller:
        request_id = self.world.ids.new().hex
        return Caller(self.shop.merchant_id, MODE, self.shop.key_id, ("read", "write"), request_id)

    # ------------------------------------------------------------ steps

    async def session(self) -> PaymentSession:
        new = NewSession(
            amount=f"{self.cents // 100}.{self.cents % 100:02d}",
            currency="USD",
            network=self.network.name,
            token=self.symbol,
            description="An order of the shop",
            merchant_reference=f"order-{self.world.ids.new().hex[:32]}",
            success_url="https://shop.example/thanks",
            cancel_url="https://shop.example/cart",
            metadata={"channel": "web"},
            expires_in=WINDOW_SECONDS,
        )
        made = await self.world.sessions.create(new, self.caller(), None, _no_answer)
        owner = AddressOwner(
            purpose="payment_session",
            subject_id=made.session_id,
            merchant_id=self.shop.merchant_id,
        )
        self.world.addresses.owners[made.deposit_address] = owner
        await self.world.deliver()
        return made

    async def seen(self, address: str, units: int, branch: str = "") -> Sighting:
        found = self.world.sighting(self.network, self.asset, units, address, branch)
        await self._told("observed", found, 1)
        return found

    async def confirmed(self, found: Sighting, failures: int = 0) -> None:
        blocks = self.network.policy.blocks
        self.world.wait(blocks * self.network.block_seconds + 0.21)
        await self._told("confirmed", found, blocks, failures)

    async def _told(
        self, kind: ReportKind, found: Sighting, confirmations: int, failures: int = 0
    ) -> None:
        self.world.wait(0.35)
        report = self.world.report(kind, found, confirmations, self.rule)
        await self.world.settlement.apply(report)
        await self.world.deliver(failures)

    async def retracted(self, found: Sighting) -> None:
        await self._told("retracted", found, 0)

    async def again(self, found: Sighting) -> Sighting:
        moved = self.world.moved(self.network, found)
        await self._told("observed", moved, 1)
        return moved

    async def expired(self, session: PaymentSession) -> None:
        self.world.wait((session.expires_at - self.world.clock.now()).total_seconds() + 1.5)

        async def work(unit: UnitOfWork) -> None:
            await unit.decide(PAYMENT, session.session_id, c.ExpireSession(at=unit.now))

        await self.world.handler.execute(EXPIRY, work)
        await self.world.deliver()

    async def refunded(self, session: PaymentSession, cents: int) -> None:
        """Asked for, signed, broadcast, mined, final."""
        world = self.world
        text = f"{cents // 100}.{cents % 100:02d}"
        refund = await world.refunds.request(
            session.session_id, text, "returned", None, self.caller(), None, _no_answer
        )
        await world.deliver()
        world.wait(0.4)
        tx_hash = world.hash()
        await world.facts.signed(refund, tx_hash, world.number("nonce", NONCE))
        world.wait(0.1)
        await world.facts.broadcast(refund, tx_hash)
        world.wait(9.0)
        block = world.block(self.network)
        receipt = Receipt(
            tx_hash=tx_hash,
            block_number=block.number,
            block_hash=block.hash,
            succeeded=True,
            transfers=(),
            gas_used=GAS_USED,
            effective_gas_price=GAS_PRICE_WEI,
        )
        world.wait(self.network.policy.blocks * self.network.block_seconds + 0.3)
        signed = await self._refund(refund.refund_id)
        await world.facts.mined(signed, receipt, self.network.policy.blocks, 1)
        await world.deliver()
        self.pause(300, 900)
        completed = await self._refund(refund.refund_id)
        await world.facts.final(completed, receipt.block_number, receipt.block_hash)

    async def _refund(self, refund_id: UUID) -> Refund:
        found = await self.world.handler.load(REFUND, refund_id)
        assert found is not None
        return found


def _no_answer(_: object) -> Answer:
    return 201, b""


# ---------------------------------------------------------------- stories


async def paid(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(20, 400)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units))


async def paid_and_told_late(scene: Scene) -> None:
    """The shop's server is down for a while."""
    session = await scene.session()
    scene.pause(20, 400)
    found = await scene.seen(session.deposit_address, scene.units)
    await scene.confirmed(found, failures=3)


async def abandoned(scene: Scene) -> None:
    await scene.expired(await scene.session())


async def cancelled(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(5, 200)
    await scene.world.sessions.cancel(session.session_id, scene.caller())
    await scene.world.deliver()


async def paid_in_two(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(20, 200)
    part = scene.units // 3
    first = await scene.seen(session.deposit_address, part)
    scene.pause(30, 120)
    second = await scene.seen(session.deposit_address, scene.units - part)
    await scene.confirmed(first)
    await scene.confirmed(second)


async def overpaid(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(20, 400)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units + 100 * CENT))


async def short(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(20, 400)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units // 2))
    await scene.expired(session)


async def late(scene: Scene) -> None:
    session = await scene.session()
    await scene.expired(session)
    scene.pause(60, 900)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units))


async def given_back(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(20, 300)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units))
    scene.pause(600, 2_400)
    await scene.refunded(session, scene.cents)


async def given_back_in_part(scene: Scene) -> None:
    session = await scene.session()
    scene.pause(20, 300)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units))
    scene.pause(600, 2_400)
    await scene.refunded(session, max(1, scene.cents // 4))


async def mined_again(scene: Scene) -> None:
    """A reorg takes the transfer out, and brings it back in another block."""
    session = await scene.session()
    scene.pause(20, 400)
    found = await scene.seen(session.deposit_address, scene.units, "orphaned")
    scene.pause(3, 6)
    await scene.retracted(found)
    scene.pause(20, 40)
    await scene.confirmed(await scene.again(found))


async def lost(scene: Scene) -> None:
    """A reorg takes the transfer out, and it never comes back."""
    session = await scene.session()
    scene.pause(20, 400)
    found = await scene.seen(session.deposit_address, scene.units, "orphaned")
    scene.pause(3, 6)
    await scene.retracted(found)
    await scene.expired(session)


async def paid_to_cancelled(scene: Scene) -> None:
    """Nobody's by itself: it waits in the inbox."""
    session = await scene.session()
    scene.pause(5, 100)
    await scene.world.sessions.cancel(session.session_id, scene.caller())
    await scene.world.deliver()
    scene.pause(10, 60)
    await scene.confirmed(await scene.seen(session.deposit_address, scene.units))


async def top_up(scene: Scene) -> None:
    """The merchant fills its refund wallet."""
    await scene.confirmed(await scene.seen(scene.shop.wallet, TOP_UP_CENTS * CENT))


Story = Callable[[Scene], Awaitable[None]]

# Roughly what card and crypto checkouts see: one in five is never paid, one in twenty goes back.
STORIES: dict[Story, int] = {
    paid: 660,
    abandoned: 150,
    given_back: 30,
    given_back_in_part: 20,
    paid_and_told_late: 30,
    cancelled: 25,
    paid_in_two: 25,
    overpaid: 15,
    short: 15,
    late: 15,
    mined_again: 5,
    lost: 5,
    paid_to_cancelled: 5,
}
REFUNDING: frozenset[Story] = frozenset({given_back, given_back_in_part})
TOP_UP: Story = top_up
