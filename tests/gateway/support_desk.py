"""A support desk over a gateway of twins: what a test explains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from adapters.addresses import checksum_address
from application.ingest import Terms
from domain.networks import ConfirmationRule
from domain.payment import PaymentSession
from gateway.explain import Explainer, Explanation
from tests.api.world import Tenant, World


@dataclass
class Desk:
    """SupportReads a test fills by hand."""

    blocks: int = 3
    tag: str | None = None
    stray_ids: list[UUID] = field(default_factory=list)
    elsewhere_ids: list[UUID] = field(default_factory=list)

    async def terms(self, network: str, block_hash: str, transfer_id: str) -> Terms | None:
        del network, block_hash, transfer_id
        rule = ConfirmationRule(blocks=self.blocks, tag=self.tag)  # type: ignore[arg-type]  # or None
        return Terms(2, rule)

    async def strays(self, merchant_id: UUID, network: str, address: str) -> Sequence[UUID]:
        del merchant_id, network, address
        return self.stray_ids

    async def elsewhere(self, session: PaymentSession, after: int) -> Sequence[UUID]:
        del session
        assert after > 0
        return self.elsewhere_ids


@dataclass
class Case:
    world: World
    shop: Tenant
    desk: Desk
    explainer: Explainer

    async def of(self, text: str) -> Explanation:
        return await self.explainer.explain(text, self.world.clock.now())

    async def session(self, session: PaymentSession) -> Explanation:
        return await self.of(f"ps_{session.session_id.hex}")


async def new_case() -> Case:
    world, desk = World(), Desk()
    shop = await world.tenant("Corner Coffee", 1)
    explainer = Explainer(world.store, world.reads.heads, desk, world.networks, checksum_address)
    return Case(world, shop, desk, explainer)


def lines(found: Explanation) -> list[str]:
    return [entry.told.what for entry in found.entries]
