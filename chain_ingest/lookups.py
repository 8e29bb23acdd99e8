"""Questions outside the daily round: where a transaction is, and what addresses hold.

Shapes  A place is a hint where to look, whoever gives it. A balance counts when two providers
        give the same one; on a network with a single provider its word is taken.
        Nobody is taken out of service for not answering these: many a node keeps no old state.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from application.chain_source import Header, Holding, TxPlace
from chain_ingest.providers import QUORUM, NoQuorum, Providers
from domain.matching import BIRTH_SLACK_SECONDS


async def places_of(providers: Providers, tx_hash: str) -> tuple[tuple[TxPlace, ...], int]:
    """The blocks it is said to be in, the most often named first, and how many answered."""
    told = await providers.everybody(lambda source: source.transaction_place(tx_hash))
    if not told:
        raise NoQuorum("no provider answers")
    votes = Counter(place for place in told.values() if place is not None)
    return tuple(place for place, _ in votes.most_common()), len(told)


async def balances_at(
    providers: Providers, header: Header, holdings: Sequence[Holding]
) -> Sequence[int | None]:
    """At the end of a block; None where no two providers agree, or nobody knows."""
    told = await providers.everybody(lambda source: source.balances(header.hash, holdings))
    wanted = 1 if providers.single else QUORUM
    found: list[int | None] = []
    for place in range(len(holdings)):
        votes = Counter(units[place] for units in told.values() if len(units) == len(holdings))
        best = votes.most_common(1)
        found.append(best[0][0] if best and best[0][1] >= wanted else None)
    return found


async def last_before(providers: Providers, since: datetime, low: int, high: int) -> int:
    """The newest block of this range that no payment to a session of then can be in."""
    before = since.timestamp() - BIRTH_SLACK_SECONDS
    while high - low > 1:
        middle = (low + high) // 2
        block = await providers.agreed(middle)
        low, high = (middle, high) if block.header.timestamp < before else (low, middle)
    return low
