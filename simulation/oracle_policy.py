"""When a transfer counts as safe: under which version of the terms, by which rule, and truly so.

Rules   The terms of a network have versions, each a fact of the log. A transfer keeps the version
        that held when it was first seen. The rule follows from what its address had lately
        received of that asset, so that small parts are held to the rule of the whole; a rule
        asks for blocks on top, or for a block that the chain itself calls safe or final, as
        two providers must have said.
"""

from collections.abc import Iterator

from simulation.evidence import LogRow, Violation
from simulation.oracle_truth import (
    Case,
    Moved,
    Rule,
    recent_sum,
    rules_of,
    tier_of,
)

QUORUM = 2
POLICY_SET = "network.confirmation_policy_set"


def believable(case: Case, row: LogRow) -> bool:
    return case.networks[row.data["sighting"]["network"]].believes_one


def check(case: Case, transfer_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    confirmed = [row for row in rows if row.name == "onchain_transfer.confirmed"]
    if len({row.data["policy_version"] for row in confirmed}) > 1:
        yield Violation("policy_wrong", f"{transfer_id} was confirmed under two versions")
    for row in confirmed:
        real = case.ever.get((transfer_id, row.data["block_hash"]))
        if real is None:
            if not believable(case, rows[0]):
                yield Violation("confirmed_nowhere", f"{transfer_id} in {row.data['block_hash']}")
            continue
        yield from _version(case, real, rows, row)
        yield from _rule(case, real, row)


def _version(case: Case, real: Moved, rows: list[LogRow], row: LogRow) -> Iterator[Violation]:
    """No older than what held when it was first mined, no newer than when it was first told."""
    facts = [
        (fact.position, fact.written_at_us, int(fact.data["policy"]["version"]))
        for fact in case.evidence.log
        if fact.name == POLICY_SET and fact.data["network"] == real.network
    ]
    if not facts:
        return
    mined = [
        case.blocks[block].mined_at_us or 0 for (known, block) in case.ever if known == real.id
    ]
    # Of what happened in the same microsecond only the log knows the order.
    before = [version for _, at_us, version in facts if (at_us or 0) < min(mined)]
    known = [version for position, _, version in facts if position < rows[0].position]
    version = int(row.data["policy_version"])
    if not max(before, default=1) <= version <= max(known, default=0):
        what = f"{real.id}: version {version}, of {before} to {known}"
        yield Violation("policy_wrong", what)


def _rule(case: Case, real: Moved, row: LogRow) -> Iterator[Violation]:
    version = int(row.data["policy_version"])
    rules = [rule for _, rule in rules_of(case, real.network, version)]
    least = tier_of(case, real, version, recent_sum(case, real, version))
    most = tier_of(case, real, version, _ever_received(case, real))
    named = _named(row.data["rule"])
    if named not in rules[least : most + 1]:
        wanted = rules[least : most + 1]
        yield Violation("rule_wrong", f"{real.id}: {row.data['rule']!r}, rightly of {wanted}")
        return
    said = int(row.data["confirmations"])
    by_us = row.written_at_us
    if named.tag is None:
        if said < named.blocks:
            how = f"{said} of {named.blocks} confirmations"
            yield Violation("confirmed_too_early", f"{real.id}: {how}")
        elif not _buried(case, real, said, by_us):
            yield Violation("confirmed_too_early", f"{real.id}: the chain was not that deep")
        return
    yield from _tagged(case, real, named.tag, by_us)


def final_by(case: Case, network: str, number: int, by_us: int | None) -> bool:
    """Whether the chain itself had called a block of this height final by that moment."""
    blocks = (
        block
        for chain in case.evidence.chains
        if chain.network == network
        for block in (*chain.canonical, *chain.orphaned)
    )
    top = max((each.number for each in blocks if _by(each.mined_at_us, by_us)), default=0)
    return number <= top - case.networks[network].below_head["finalized"]


def _tagged(case: Case, real: Moved, tag: str, by_us: int | None) -> Iterator[Violation]:
    network = case.networks[real.network]
    final = final_by(case, real.network, real.number, by_us)
    buried = tag == "safe" and _buried(case, real, network.below_head["safe"] + 1, by_us)
    if not (final or buried):
        yield Violation("confirmed_too_early", f"{real.id}: no {tag} block held it")
    told = {
        each.provider
        for each in case.evidence.tags
        if (each.network, each.tag) == (real.network, tag)
        and each.number >= real.number
        and _by(each.at_us, by_us)
    }
    wanted = 1 if network.believes_one else min(QUORUM, network.providers)
    if len(told) < wanted:
        yield Violation("tag_unheard", f"{real.id}: {len(told)} of {wanted} said {tag}")


def _by(at_us: int | None, by_us: int | None) -> bool:
    return at_us is None or by_us is None or at_us <= by_us


def _named(words: str) -> Rule:
    """As in: 8 confirmations, 1 confirmation, a safe block."""
    first, second, *_ = words.split()
    return Rule(1, second) if first == "a" else Rule(int(first))


def _ever_received(case: Case, real: Moved) -> int:
    """All that the address got of that asset, in any branch, each transfer once."""
    found = {
        moved.id: moved.units
        for moved in case.ever.values()
        if (moved.recipient, moved.asset) == (real.recipient, real.asset)
    }
    return sum(found.values())


def _buried(case: Case, real: Moved, confirmations: int, by_us: int | None) -> bool:
    """Whether some branch had so many blocks from this one on, by that moment."""
    level = [real.block_hash]
    for _ in range(confirmations - 1):
        level = [child for block in level for child in case.children.get(block, ())]
    return any(_by(case.blocks[block].mined_at_us, by_us) for block in level)
