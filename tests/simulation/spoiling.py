"""Ways to spoil a history that was right: each changes one thing.

A Spoil takes evidence and gives other evidence; the right one is never touched.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulation import evidence as ev
from simulation.oracle import judge
from tests.simulation.right_evidence import right

RIGHT = right()
Spoil = Callable[[ev.Evidence], ev.Evidence]


def invariants(evidence: ev.Evidence) -> set[str]:
    return {violation.invariant for violation in judge(evidence)}


def data_of(name: str, which: int = 0, **changed: Any) -> Spoil:
    """The data of the n-th fact of a name."""

    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        place = [i for i, row in enumerate(evidence.log) if row.name == name][which]
        row = evidence.log[place]
        told = replace(row, data={**row.data, **changed})
        return replace(evidence, log=(*evidence.log[:place], told, *evidence.log[place + 1 :]))

    return spoil


def without(name: str, which: int = 0) -> Spoil:
    """As if the n-th fact of a name had never been written; all after it moves up."""

    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        place = [i for i, row in enumerate(evidence.log) if row.name == name][which]
        return replace(evidence, log=renumbered(evidence.log[:place] + evidence.log[place + 1 :]))

    return spoil


def again(name: str, which: int = 0, *, stream: str | None = None, **changed: Any) -> Spoil:
    """The n-th fact of a name once more, right after it, or on a stream of its own."""

    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        place = [i for i, row in enumerate(evidence.log) if row.name == name][which]
        row = evidence.log[place]
        told = {**row.data, **changed}
        twice = replace(row, event_id="ff" * 16, data=told, stream_id=stream or row.stream_id)
        log = (*evidence.log[: place + 1], twice, *evidence.log[place + 1 :])
        return replace(evidence, log=renumbered(log))

    return spoil


def renumbered(log: tuple[ev.LogRow, ...]) -> tuple[ev.LogRow, ...]:
    versions: dict[str, int] = {}
    rows = []
    for position, row in enumerate(log, 1):
        versions[row.stream_id] = versions.get(row.stream_id, 0) + 1
        rows.append(replace(row, position=position, version=versions[row.stream_id]))
    return tuple(rows)


def on_chain(change: Callable[[ev.ChainFacts], ev.ChainFacts]) -> Spoil:
    return lambda evidence: replace(evidence, chains=(change(evidence.chains[0]),))


def block_is(number: int, *txs: ev.TxFacts) -> Spoil:
    """That block of the final chain holds these transactions, under the same hash."""

    def change(facts: ev.ChainFacts) -> ev.ChainFacts:
        blocks = list(facts.canonical)
        blocks[number] = replace(blocks[number], txs=txs)
        return replace(facts, canonical=tuple(blocks))

    return on_chain(change)


def reorganised(facts: ev.ChainFacts) -> ev.ChainFacts:
    """From block 2 on the chain is another one, and the payment is not in it."""
    kept, left = facts.canonical[:2], facts.canonical[2:]
    others = [replace(each, hash=f"0xcd{each.hash[4:]}", txs=()) for each in left]
    parents = [kept[-1].hash, *(each.hash for each in others[:-1])]
    branch = [replace(one, parent=parent) for one, parent in zip(others, parents, strict=True)]
    return replace(facts, canonical=(*kept, *branch), orphaned=left)


def request_is(number: int, **changed: Any) -> Spoil:
    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        asked = list(evidence.requests)
        asked[number] = replace(asked[number], **changed)
        return replace(evidence, requests=tuple(asked))

    return spoil


def one_more_request(like: int, **changed: Any) -> Spoil:
    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        more = replace(evidence.requests[like], number=len(evidence.requests), **changed)
        return replace(evidence, requests=(*evidence.requests, more))

    return spoil


def post_is(number: int, **changed: Any) -> Spoil:
    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        posts = list(evidence.posts)
        posts[number] = replace(posts[number], **changed)
        return replace(evidence, posts=tuple(posts))

    return spoil


def header_is(name: str, value: str) -> Spoil:
    return lambda evidence: post_is(0, headers={**evidence.posts[0].headers, name: value})(
        evidence
    )


def account_is(account: str, debits: int) -> Spoil:
    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        rows = tuple(
            replace(row, debits=debits) if row.account.startswith(account) else row
            for row in evidence.accounts
        )
        return replace(evidence, accounts=rows)

    return spoil


def evidence_is(**changed: Any) -> Spoil:
    return lambda evidence: replace(evidence, **changed)


def row_is(table: str, **changed: Any) -> Spoil:
    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        rows = [{**evidence.live[table][0], **changed}, *evidence.live[table][1:]]
        return replace(evidence, live={**evidence.live, table: rows})

    return spoil


def outgoing_is(**changed: Any) -> Spoil:
    return lambda e: replace(e, outgoing=(replace(e.outgoing[0], **changed),))


def said(which: int, **changed: Any) -> Spoil:
    """What the n-th delivery's body says; sent just so."""

    def spoil(evidence: ev.Evidence) -> ev.Evidence:
        opened = [row for row in evidence.log if row.name == "delivery.opened"][which]
        body = opened.data["body"]
        for before, after in changed["words"].items():
            assert before in body
            body = body.replace(before, after)
        return data_of("delivery.opened", which, body=body)(evidence)

    return spoil
