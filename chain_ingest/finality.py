"""How far the chain itself calls its blocks safe or final, by quorum.

Shapes  A tag has reached the highest block that two providers have passed with it, and whose hash
        is that of the block we hold canonical there. One provider is enough where only one is
        configured, or where the network's policy takes one provider's word.
        A tag is asked for while a sighting waits for it, at most once a block time. `finalized`
        is asked for besides every FINAL_SECONDS, whoever waits: what two providers call final
        is never given up again (chain_ingest/halting.py).
        A tag that goes backwards, or is not served, confirms nothing and takes nothing back;
        it is logged once, and its return too.
Units   block numbers; seconds by the Clock port.
Errors  ports.Unavailable of the store. A provider's silence is no error here.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from application.chain_source import Header
from application.ingest import BlockRef, IngestStore, PassedHeader
from application.ports import Clock
from chain_ingest.halting import Halting
from chain_ingest.providers import QUORUM, Providers
from domain.networks import Finality, Network

log = structlog.get_logger(__name__)

ASK_SECONDS_MIN = 1.0
FINAL_SECONDS = 60.0


class Tags:
    def __init__(
        self,
        network: Network,
        providers: Providers,
        store: IngestStore,
        halting: Halting,
        clock: Clock,
    ) -> None:
        self._network = network
        self._providers = providers
        self._store = store
        self._halting = halting
        self._clock = clock
        self._not_before: datetime | None = None
        self._final_not_before: datetime | None = None
        self._highest: dict[Finality, int] = {}
        self._trouble: dict[Finality, str] = {}

    async def reached(self, *, awaited: bool) -> Mapping[Finality, int]:
        """The newest block of each tag that a sighting waits for, where that helps one.

        `awaited` says whether any rule asks for a tag at all.
        """
        now = self._clock.now()
        lowest = await self._awaited(now) if awaited else {}
        asked = set(lowest)
        if self._final_not_before is None or now >= self._final_not_before:
            asked.add("finalized")
        found: dict[Finality, int] = {}
        for tag in sorted(asked):
            told = await self._providers.tagged(tag)
            if tag == "finalized":
                self._final_not_before = now + timedelta(seconds=FINAL_SECONDS)
                await self._keep_final(told)
            number = await self._reached(tag, told, lowest[tag]) if tag in lowest else None
            if number is not None:
                found[tag] = number
        return found

    async def _awaited(self, now: datetime) -> Mapping[Finality, int]:
        if self._not_before is not None and now < self._not_before:
            return {}
        awaited = await self._store.awaited_tags(
            self._network.name, attested_only=not self._network.policy.allow_unattested
        )
        seconds = max(float(self._network.block_seconds), ASK_SECONDS_MIN)
        self._not_before = now + timedelta(seconds=seconds)
        return awaited

    # ------------------------------------------------------------ what is final for ever

    async def _keep_final(self, told: Mapping[str, Header]) -> None:
        """Remember the newest block of ours that two call final; one provider proves nothing."""
        await self._contradicted(told)
        numbers = sorted((header.number for header in told.values()), reverse=True)
        wanted = 1 if self._providers.single else QUORUM
        await self._halting.told(numbers[wanted - 1] if len(numbers) >= wanted else None)
        known = self._halting.final
        for number in dict.fromkeys(numbers[QUORUM - 1 :]):
            held = await self._store.newest_header(self._network.name, number)
            if held is None or (known is not None and held.ref.number <= known.number):
                return
            if await self._vouched(held, told) >= QUORUM:
                await self._halting.keep(held.ref)
                return

    async def _contradicted(self, told: Mapping[str, Header]) -> None:
        """Two who call another block final, where we know the final one, contradict it."""
        known = self._halting.final
        if known is None:
            return
        votes = Counter((header.number, header.hash) for header in told.values())
        for (number, block_hash), count in votes.items():
            if count < QUORUM or number > known.number:
                continue
            held = await self._store.header_at(self._network.name, number)
            if held is not None and held.ref.hash != block_hash:
                await self._halting.violated(held.ref, BlockRef(number, block_hash, ""))

    # ------------------------------------------------------------ what a sighting waits for

    async def _reached(self, tag: Finality, told: Mapping[str, Header], lowest: int) -> int | None:
        """How far the tag has come; None while no sighting would be the safer for it."""
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
