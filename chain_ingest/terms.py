"""Under which version of the network's policy a sighting counts, and which rule that gives it.

Shapes  The configured policy is adopted once a lease, and gets its version in the log. A transfer
        keeps the version it was first seen under, in whatever block it is mined again; its tier
        is chosen anew with each sighting, by what the address has lately received of that asset,
        the sighting's own block included: a payment in small parts cannot slip under one.
        Lately is as far back as the deepest rule looks. What is older is as safe as any rule
        asks, so an address that receives for years does not climb to the highest tier.
        A version that the log does not know is from before it knew any: such a transfer keeps
        the rule of its first sighting.
Units   base units; TAG_BLOCKS is how deep a rule that asks for a tag is taken to look.
Errors  ports.Unavailable: the caller waits and asks again.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import structlog

from application.halts import Halts
from application.ingest import IngestStore, Purse, Sighted, Terms
from application.policies import Policies
from domain.events import Sighting
from domain.networks import ConfirmationPolicy, ConfirmationRule, Network
from domain.policy import PolicyHistory

log = structlog.get_logger(__name__)

TAG_BLOCKS = 256


class Policy:
    """The policy of one network, as the leading ingester applies it."""

    def __init__(self, network: Network, policies: Policies, store: IngestStore) -> None:
        self._network = network
        self._policies = policies
        self._store = store
        self._history: PolicyHistory | None = None

    async def adopt(self) -> None:
        """Make what is configured the newest version; nothing to do the second time."""
        if self._history is not None:
            return
        history = await self._policies.adopt(self._network)
        newest = history.newest
        assert newest is not None, "the configured one at least"
        log.info("confirmation_policy", network=self._network.name, version=newest.version)
        self._history = history

    @property
    def halts(self) -> Halts:
        return self._policies.halts

    def forget(self) -> None:
        """Another one may have led meanwhile, with another configuration."""
        self._history = None

    @property
    def has_tags(self) -> bool:
        """Whether any version asks for a tag; if not, no provider need be asked for one."""
        return any(rule.tag is not None for policy in self._all for rule in _rules_of(policy))

    @property
    def tags_count(self) -> bool:
        """The same of the configured one alone, which is known before it is adopted."""
        return any(rule.tag is not None for rule in _rules_of(self._network.policy))

    @property
    def _all(self) -> tuple[ConfirmationPolicy, ...]:
        assert self._history is not None, "adopted before the first block"
        return self._history.policies

    async def terms_for(
        self, sightings: Sequence[Sighting], *, gone: Sequence[Sighted] = ()
    ) -> tuple[Sighted, ...]:
        """Of sightings that are not stored yet, or not canonical now; in the order given.

        `gone` are stored of the same block, and leave the chain with the same write.
        """
        if not sightings:
            return ()
        name = self._network.name
        first = await self._store.first_terms(name, {each.transfer_id for each in sightings})
        received = dict(await self._received(sightings))
        for left in gone:
            if _purse(left.sighting) in received:
                received[_purse(left.sighting)] -= left.sighting.amount.units
        terms: dict[str, Terms] = {}
        by_block = sorted(sightings, key=lambda each: each.block_number)
        for _, block in groupby(by_block, key=lambda each: each.block_number):
            together = tuple(block)
            for each in together:
                if _purse(each) in received:
                    received[_purse(each)] += each.amount.units
            for each in together:
                units = received.get(_purse(each), each.amount.units)
                terms[each.transfer_id] = self._terms(each, first.get(each.transfer_id), units)
        return tuple(Sighted(each, terms[each.transfer_id]) for each in sightings)

    async def _received(self, sightings: Sequence[Sighting]) -> Iterable[tuple[Purse, int]]:
        if not any(policy.tiers for policy in self._all):
            return ()
        purses = {_purse(each) for each in sightings}
        above = min(each.block_number for each in sightings) - self._window
        recent = await self._store.received(self._network.name, purses, above=above)
        return recent.items()

    @property
    def _window(self) -> int:
        rules = (rule for policy in self._all for rule in _rules_of(policy))
        return max(TAG_BLOCKS if rule.tag is not None else rule.blocks for rule in rules)

    def _terms(self, sighting: Sighting, first: Terms | None, units: int) -> Terms:
        policy = self._all[-1]
        if first is not None:
            kept = (each for each in self._all if each.version == first.policy_version)
            known = next(kept, None)
            if known is None:
                return first
            policy = known
        token = self._network.token_at(sighting.token)
        assert token is not None, "only configured tokens are sighted"
        return Terms(policy.version, policy.rule_for(units, token.decimals))


def _purse(sighting: Sighting) -> Purse:
    return sighting.recipient, sighting.amount.asset


def _rules_of(policy: ConfirmationPolicy) -> tuple[ConfirmationRule, ...]:
    default = ConfirmationRule(blocks=policy.blocks, tag=policy.tag)
    return (default, *(tier.rule for tier in policy.tiers))
