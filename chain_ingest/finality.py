"""How far the chain itself calls its blocks safe or final, by quorum.

Shapes  A tag has reached the highest block that two providers have passed with it, and whose hash
        is that of the block we hold canonical there. One provider is enough where only one is
        configured, or where the network's policy takes one provider's word.
        It is asked for only while a sighting waits for it, and at most once a block time.
        A tag that goes backwards, or is not served, confirms nothing and takes nothing back;
        it is logged once, and its return too.
Units   block numbers; seconds by the Clock port.
Errors  ports.Unavailable of the store. A provider's silence is no error here.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from application.chain_source import Header
from application.ingest import IngestStore, PassedHeader
from application.ports import Clock
from chain_ingest.providers import QUORUM, Providers
from domain.networks import Finality, Network

log = structlog.get_logger(__name__)

ASK_SECONDS_MIN = 1.0


class Tags:
    def __init__(
        self, network: Network, providers: Providers, store: IngestStore, clock: Clock
    ) -> None:
        self._network = network
        self._providers = providers
        self._store = store
        self._clock = clock
        self._not_before: datetime | None = None
        self._highest: dict[Finality, int] = {}
        self._trouble: dict[Finality, str] = {}

    async def reached(self) -> Mapping[Finality, int]:
        """The newest block of each tag that a sighting waits for, where that helps one."""
        now = self._clock.now()
        if self._not_before is not None and now < self._not_before:
            return {}
        awaited = await self._store.awaited_tags(
            self._network.name, attested_only=not self._network.policy.allow_unattested
        )
        seconds = max(float(self._network.block_seconds), ASK_SECONDS_MIN)
        self._not_before = now + timedelta(seconds=seconds)
        found = {tag: await self._reached(tag, lowest) for tag, lowest in awaited.items()}
        return {tag: number for tag, number in found.items() if number is not None}

    async def _reached(self, tag: Finality, lowest: int) -> int | None:
        """How far the tag has come; None while no sighting would be the safer for it."""
        told = await self._providers.tagged(tag)
        alone = self._providers.single or self._network.policy.allow_unattested
        wanted = 1 if alone else QUORUM
        numbers = sorted((header.number for header in told.values()), reverse=True)
        if len(numbers) < wanted:
            self._waits(tag, f"{len(numbers)} of {wanted} providers tell of it")
            return None
        for number in dict.fromkeys(numbers[wanted - 1 :]):
            held = await self._store.newest_header(self._network.name, number)
            if held is None or held.ref.number < lowest:
                self._goes_on(tag, number)
                return None
            if await self._vouched(held, told) >= wanted:
                self._goes_on(tag, number)
                return held.ref.number
        self._waits(tag, "the providers call other blocks so than those we hold")
        return None

    async def _vouched(self, held: PassedHeader, told: Mapping[str, Header]) -> int:
        """How many have come so far with the tag, and have our block there."""
        ref = held.ref
        here = sum(header.hash == ref.hash for header in told.values())
        beyond = {name for name, header in told.items() if header.number > ref.number}
        if beyond:
            here += await self._providers.holders(ref.number, ref.hash, beyond)
        return here

    def _goes_on(self, tag: Finality, number: int) -> None:
        highest = self._highest.get(tag, number)
        if number < highest:
            self._waits(tag, f"it has gone back from block {highest} to {number}")
            return
        self._highest[tag] = number
        if self._trouble.pop(tag, None) is not None:
            log.info("tag_goes_on", network=self._network.name, tag=tag, block=number)

    def _waits(self, tag: Finality, reason: str) -> None:
        if tag not in self._trouble:
            log.warning("tag_waits", network=self._network.name, tag=tag, reason=reason)
        self._trouble[tag] = reason
