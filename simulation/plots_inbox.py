"""Plots about what waits for a person, about tolerance, and about terms that change."""

from collections.abc import Generator, Iterator

from simulation import steps as s
from simulation.cast import BLOCKS_ENOUGH, Cast, Plot, refund_of, top_up_for
from simulation.plots_claims import decided

POLICIES = 3
TOLERANCES = ((0, 0), (5, 50), (100, 0), (0, 1_000), (3, 100), (10_001, 0), (0, 1_001))


def _waits(cast: Cast, opened: s.OpenSession) -> Iterator[s.Step]:
    """A payment that fits no session: another token, or after a cancellation."""
    yield opened
    session = cast.newest()
    kind = cast.draw.choice(("other", "other", "bridged", "cancelled", "elsewhere"))
    if kind == "cancelled":
        yield cast.asked(s.CancelSession(session))
        yield cast.pay(session, cast.draw.choice(("exact", "short")))
    elif kind == "elsewhere":
        yield cast.pay(session, "exact", elsewhere=True)
        yield s.Mine((opened.network + 1) % 2, cast.draw.choice((1, BLOCKS_ENOUGH)))
    else:
        yield cast.pay(session, "exact", asset=kind)
    yield cast.mine(session, 1)


def resolved(cast: Cast) -> Iterator[s.Step]:
    opened = cast.opened()
    yield from _waits(cast, opened)
    session = cast.newest()
    if cast.chance(50):
        yield s.TopUp(opened.merchant, opened.network, opened.token, 10_000_000)
    if cast.chance(60):
        yield cast.bury(session)
    for _ in range(cast.draw.randint(1, 3)):
        yield decided(cast, session=session if cast.chance(70) else None)
        if cast.chance(30):
            yield cast.reorg(opened.network)
        if cast.chance(40):
            yield cast.mine(session, cast.draw.choice((1, 3)))
    yield cast.bury(session)
    if cast.chance(40):
        yield decided(cast)


def given_back(cast: Cast) -> Iterator[s.Step]:
    """Refunded out of the inbox, with a reorg of either transaction."""
    opened = yield from _cancelled_and_paid(cast)
    session = cast.newest()
    yield s.TopUp(opened.merchant, opened.network, opened.token, 10_000_000)
    yield cast.bury(session)
    yield _refund(cast)
    yield s.Wait(cast.draw.choice((1, 3, 10)))
    yield cast.mine(session, cast.draw.choice((1, 3, BLOCKS_ENOUGH, BLOCKS_ENOUGH)))
    if cast.chance(60):
        yield s.Reorg(
            opened.network,
            depth=cast.draw.choice((1, 3, BLOCKS_ENOUGH, BLOCKS_ENOUGH + 1, 12, 20)),
            fate=cast.draw.choice(("keep", "delay", "drop", "mixed", "revert")),
            regrow=cast.draw.choice((1, 4, 21)),
            salt=cast.salt(),
        )
    yield cast.bury(session)
    yield s.Wait(cast.draw.choice((1, 20)))
    yield cast.bury(session)
    if cast.chance(40):
        yield decided(cast, session=session)


def given_back_and_lost(cast: Cast) -> Iterator[s.Step]:
    """Paid and safe, and then a reorg takes out the refund's own transaction."""
    opened = yield from _cancelled_and_paid(cast)
    session = cast.newest()
    yield s.TopUp(opened.merchant, opened.network, opened.token, 10_000_000)
    yield cast.bury(session)
    yield cast.bury(session)
    yield _refund(cast)
    yield s.Wait(5)
    yield cast.bury(session)
    yield s.Wait(10)
    yield s.Reorg(
        opened.network,
        depth=BLOCKS_ENOUGH + cast.draw.randint(0, 2),
        fate=cast.draw.choice(("delay", "drop", "keep", "mixed")),
        regrow=BLOCKS_ENOUGH + 3,
        salt=cast.salt(),
    )
    yield s.Wait(10)
    yield cast.bury(session)


def given_back_in_vain(cast: Cast) -> Iterator[s.Step]:
    """The wallet's money leaves the chain before the refund does: the transfer waits again."""
    opened = yield from _cancelled_and_paid(cast)
    session = cast.newest()
    yield s.TopUp(opened.merchant, opened.network, opened.token, opened.cents)
    yield cast.bury(session)
    asleep = cast.chance(70)
    if asleep:
        yield s.Crash("refunds", after=1, down_seconds=60)
        yield s.Wait(1)
    yield _refund(cast)
    if not asleep:
        yield s.Wait(2)
    yield s.Reorg(
        opened.network,
        depth=BLOCKS_ENOUGH,
        fate="drop",
        regrow=BLOCKS_ENOUGH + 1,
        salt=cast.salt(),
    )
    yield s.Wait(70)
    yield cast.bury(session)
    if cast.chance(60):
        yield decided(cast, session=session)


def _cancelled_and_paid(cast: Cast) -> Generator[s.Step, None, s.OpenSession]:
    opened = cast.opened(cents=cast.draw.choice((199, 999, 1001, 3500)))
    yield opened
    session = cast.newest()
    yield cast.asked(s.CancelSession(session))
    yield cast.pay(session, cast.draw.choice(("exact", "exact", "odd")))
    yield cast.bury(session)
    return opened


def _refund(cast: Cast) -> s.Step:
    return cast.asked(
        s.DecideTransfer(
            transfer=0,
            decision="refund",
            to=cast.draw.choice(("payer", "other")),
            copies=cast.draw.choice((1, 1, 2)),
            lost=cast.chance(10),
            salt=cast.salt(),
        )
    )


def assigned_then(cast: Cast) -> Iterator[s.Step]:
    """Assigned by a person, to a session that is closed or open, and then the chain moves."""
    opened = cast.opened(window_seconds=cast.draw.choice((60, 600)))
    yield opened
    session = cast.newest()
    yield cast.asked(s.CancelSession(session))
    yield cast.pay(session, cast.draw.choice(("exact", "short", "over")))
    yield cast.mine(session, cast.draw.choice((1, BLOCKS_ENOUGH)))
    yield decided(cast, session=session, decision="assign")
    if cast.chance(70):
        yield cast.reorg(opened.network)
    yield cast.bury(session)
    if cast.chance(40):
        yield top_up_for(cast, opened)
        yield cast.asked(refund_of(cast, session))
        yield cast.bury(session)


def tolerated(cast: Cast) -> Iterator[s.Step]:
    """A little less than is due, under a tolerance that may change meanwhile."""
    merchant = cast.merchant()
    yield _tolerance(cast, merchant)
    yield cast.opened(merchant=merchant, cents=cast.draw.choice((3, 100, 999, 1001, 4999)))
    session = cast.newest()
    if cast.chance(30):
        yield _tolerance(cast, merchant)
    yield cast.pay(session, cast.draw.choice(("almost", "almost", "short", "exact", "odd")))
    yield cast.mine(session, 1)
    if cast.chance(30):
        yield cast.reorg(cast.sessions[session])
    if cast.chance(40):
        yield cast.pay(session, cast.draw.choice(("rest", "dust")))
    yield cast.bury(session)
    if cast.chance(30):
        yield cast.asked(refund_of(cast, session))
        yield cast.bury(session)


def _tolerance(cast: Cast, merchant: int) -> s.Step:
    cents, basis_points = cast.draw.choice(TOLERANCES)
    return cast.asked(s.SetTolerance(merchant, cents, basis_points, lost=cast.chance(10)))


def under_other_terms(cast: Cast) -> Iterator[s.Step]:
    """The policy changes while a transfer waits for its confirmations."""
    opened = cast.opened(cents=cast.draw.choice((100, 4999, 12345, 1_000_000)))
    yield opened
    session = cast.newest()
    yield cast.pay(session, cast.draw.choice(("exact", "short")), pieces=cast.draw.randint(1, 4))
    yield cast.mine(session, 1)
    yield s.ChangePolicy(opened.network, cast.draw.randrange(POLICIES))
    if cast.chance(50):
        yield cast.pay(session, cast.draw.choice(("rest", "exact", "dust")))
    yield cast.mine(session, cast.draw.randint(1, 4))
    if cast.chance(40):
        yield cast.reorg(opened.network)
    if cast.chance(50):
        yield s.ChangePolicy(opened.network, cast.draw.randrange(POLICIES))
    yield cast.bury(session)


def until_final(cast: Cast) -> Iterator[s.Step]:
    """So much that only a block the chain calls safe or final will do; in small pieces too."""
    yield cast.opened(merchant=cast.draw.randrange(2), cents=cast.draw.choice((4999, 1_000_000)))
    session = cast.newest()
    network = cast.sessions[session]
    yield cast.pay(session, cast.draw.choice(("exact", "odd")), pieces=cast.draw.randint(1, 4))
    yield cast.mine(session, 1)
    if cast.chance(60):
        troubles: tuple[s.ProviderTrouble, ...] = ("tags_refused", "tags_lag", "tags_lie")
        seconds = cast.draw.choice((30, 120, 600))
        yield s.ProviderFault(
            network, 2, cast.draw.choice(troubles), seconds, cast.draw.randint(1, 4), cast.salt()
        )
    yield cast.mine(session, cast.draw.randint(2, 5))
    if cast.chance(50):
        yield cast.reorg(network)
    yield cast.mine(session, cast.draw.choice((2, BLOCKS_ENOUGH, BLOCKS_ENOUGH, 70)))


INBOX_PLOTS: tuple[tuple[int, Plot], ...] = (
    (6, resolved),
    (6, given_back),
    (4, given_back_and_lost),
    (3, given_back_in_vain),
    (4, assigned_then),
    (4, tolerated),
    (4, under_other_terms),
    (4, until_final),
)
