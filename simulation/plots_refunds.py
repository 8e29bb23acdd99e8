"""Plots about money that goes back, and about the float it is paid from."""

from collections.abc import Iterator

from simulation import steps as s
from simulation.cast import BLOCKS_ENOUGH, Cast, Plot, refund_of, top_up_for


def refunded(cast: Cast) -> Iterator[s.Step]:
    opened = cast.opened()
    yield opened
    session = cast.newest()
    yield top_up_for(cast, opened)
    yield cast.pay(session, cast.draw.choice(("exact", "over", "odd")))
    yield cast.bury(session)
    for _ in range(cast.draw.randint(1, 3)):
        yield cast.asked(refund_of(cast, session))
        if cast.chance(60):
            yield s.Wait(cast.draw.choice((1, 3, 10)))
        yield cast.mine(session, cast.draw.randint(1, 3))
        if cast.chance(35):
            yield cast.reorg(cast.sessions[session])
    yield cast.bury(session)


def refund_in_a_reorg(cast: Cast) -> Iterator[s.Step]:
    """The payment goes while its refund is under way, or the refund's own transaction does."""
    opened = cast.opened()
    yield opened
    session = cast.newest()
    yield top_up_for(cast, opened)
    yield cast.mine(session, 1)
    yield cast.pay(session, "exact")
    yield cast.bury(session)
    yield cast.asked(refund_of(cast, session, cast.draw.choice(("all", "half"))))
    yield s.Wait(cast.draw.choice((0, 1, 2, 5)))
    yield cast.mine(session, cast.draw.randint(0, 4) or 1)
    yield s.Reorg(
        cast.sessions[session],
        depth=cast.draw.choice((1, 2, 3, BLOCKS_ENOUGH, BLOCKS_ENOUGH + 2, BLOCKS_ENOUGH + 5)),
        fate=cast.draw.choice(("keep", "delay", "drop", "mixed")),
        regrow=cast.draw.choice((1, 2, BLOCKS_ENOUGH)),
        salt=cast.salt(),
    )
    yield s.Wait(cast.draw.choice((1, 12, 20)))
    yield cast.bury(session)
    yield s.Wait(20)
    yield cast.bury(session)


def early_refund(cast: Cast) -> Iterator[s.Step]:
    """Asked for before enough had arrived; then the rest comes."""
    opened = cast.opened(cents=cast.draw.choice((999, 1001, 12345)))
    yield opened
    session = cast.newest()
    yield top_up_for(cast, opened)
    yield cast.pay(session, "short")
    yield cast.bury(session)
    yield cast.asked(refund_of(cast, session))
    yield cast.pay(session, cast.draw.choice(("rest", "exact")))
    yield cast.mine(session)
    yield s.Wait(5)
    yield cast.bury(session)
    yield cast.bury(session)


def lost_top_up(cast: Cast) -> Iterator[s.Step]:
    """A top-up is spent, and then a reorg takes it back."""
    opened = cast.opened()
    yield opened
    session = cast.newest()
    yield cast.pay(session, "exact")
    yield cast.bury(session)
    yield top_up_for(cast, opened)
    yield cast.bury(session)
    yield cast.asked(refund_of(cast, session))
    if cast.chance(60):
        yield s.Wait(3)
        yield cast.mine(session, 1)
    yield s.Reorg(
        cast.sessions[session],
        depth=BLOCKS_ENOUGH + cast.draw.randint(0, 3),
        fate=cast.draw.choice(("drop", "delay", "mixed", "keep")),
        regrow=BLOCKS_ENOUGH,
        salt=cast.salt(),
    )
    yield s.Wait(15)
    if cast.chance(60):
        yield top_up_for(cast, opened)
    yield cast.bury(session)
    yield s.Wait(15)
    yield cast.bury(session)


def by_a_bad_node(cast: Cast) -> Iterator[s.Step]:
    """The node through which a refund goes out is late, forgetful, dear or silent."""
    opened = cast.opened(cents=cast.draw.choice((1000, 3000)))
    yield opened
    session = cast.newest()
    network = opened.network
    yield s.TopUp(opened.merchant, network, opened.token, 10_000_000)
    yield cast.pay(session, "exact")
    yield cast.bury(session)
    troubles: tuple[s.NodeTrouble, ...] = (
        "down",
        "slow",
        "lag",
        "lost_answer",
        "high_fees",
        "drops_mempool",
    )
    seconds = cast.draw.choice((5, 30, 120))
    yield s.NodeFault(
        network, cast.draw.choice(troubles), seconds, cast.draw.randint(1, 3), cast.salt()
    )
    yield cast.asked(refund_of(cast, session, cast.draw.choice(("all", "half"))))
    yield s.Wait(cast.draw.choice((1, 3, 10)))
    yield cast.mine(session, cast.draw.randint(1, 3))
    if cast.chance(40):
        yield s.NodeFault(network, cast.draw.choice(troubles), seconds, 1, cast.salt())
    if cast.chance(30):
        yield cast.reorg(network)
    yield cast.bury(session)


REFUND_PLOTS: tuple[tuple[int, Plot], ...] = (
    (7, refunded),
    (7, refund_in_a_reorg),
    (3, early_refund),
    (4, lost_top_up),
    (4, by_a_bad_node),
)
