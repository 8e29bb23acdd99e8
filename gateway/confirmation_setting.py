"""A confirmation policy as an operator writes it: "3, 1000:12, 10000:finalized".

Shapes  First the rule for every amount, then FROM_USD:RULE for amounts from so many whole dollars
        on, the smallest first. A rule is a number of blocks, `safe` or `finalized`.
        A larger amount never asks for less: after a tag no number of blocks may follow, as
        nobody can say how many make a safe one.
        A transfer is judged by all that its address has received of the same token.
Errors  ValueError in words for the operator; gateway/settings.py names the variable.
"""

import re
from itertools import combinations, pairwise
from typing import get_args

from domain.networks import TIERS_MAX, AmountTier, ConfirmationPolicy, ConfirmationRule, Finality
from domain.values import Value

BLOCKS_MAX = 10_000
EXAMPLE = '"3, 1000:12, 10000:finalized"'
_WHOLE = re.compile(r"[1-9][0-9]{0,11}")


class WrittenPolicy(Value):
    rule: ConfirmationRule
    tiers: tuple[AmountTier, ...] = ()

    def applied_to(self, policy: ConfirmationPolicy) -> ConfirmationPolicy:
        """The network's own number of blocks stays beside a tag, for whoever needs a depth."""
        blocks = policy.blocks if self.rule.tag is not None else self.rule.blocks
        changes = {"blocks": blocks, "tag": self.rule.tag, "tiers": self.tiers}
        return policy.model_copy(update=changes)


def written_policy(raw: object) -> object:
    """For pydantic, before validation: text becomes a policy, anything else stays."""
    if not isinstance(raw, str):
        return raw
    first, *others = [part.strip() for part in raw.split(",")]
    if ":" in first:
        raise ValueError(f"begin with the rule for every amount, such as {EXAMPLE}")
    policy = WrittenPolicy(rule=_rule(first), tiers=tuple(_tier(part) for part in others))
    if len(policy.tiers) > TIERS_MAX:
        raise ValueError(f"give at most {TIERS_MAX} amounts")
    for before, after in pairwise(policy.tiers):
        if after.from_usd <= before.from_usd:
            raise ValueError(f"{after.from_usd} comes after {before.from_usd}: smallest first")
    _refuse_easier(policy)
    return policy


def _refuse_easier(policy: WrittenPolicy) -> None:
    """Each rule beside all before it: what stands between two must not hide which is easier."""
    steps = [AmountTier(from_usd=1, rule=policy.rule), *policy.tiers]
    for before, after in combinations(steps, 2):
        easier, harder = before.rule, after.rule
        if easier.tag is not None and harder.tag is None:
            raise ValueError(
                f"{after.from_usd}:{harder.blocks} counts blocks, after a smaller amount asks for "
                f"{easier.text}: give a tag"
            )
        if _is_easier(harder, easier):
            raise ValueError(f"a larger amount asks for {harder.text}, a smaller {easier.text}")


def _tier(part: str) -> AmountTier:
    amount, colon, rule = (piece.strip() for piece in part.partition(":"))
    if not colon or _WHOLE.fullmatch(amount) is None:
        raise ValueError(f"{part!r} is not FROM_USD:RULE in whole dollars, such as {EXAMPLE}")
    return AmountTier(from_usd=int(amount), rule=_rule(rule))


def _rule(text: str) -> ConfirmationRule:
    for tag in get_args(Finality):
        if text == tag:
            return ConfirmationRule(tag=tag)
    if _WHOLE.fullmatch(text) is None or int(text) > BLOCKS_MAX:
        tags = " or ".join(get_args(Finality))
        raise ValueError(f"{text!r} is no rule: give 1 to {BLOCKS_MAX} blocks, or {tags}")
    return ConfirmationRule(blocks=int(text))


def _is_easier(one: ConfirmationRule, other: ConfirmationRule) -> bool:
    """Certainly so: how many blocks make a safe one, nobody can say."""
    if one.tag is None and other.tag is None:
        return one.blocks < other.blocks
    return other.tag == "finalized" and one.tag != "finalized"
