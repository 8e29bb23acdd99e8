"""Short tales about one session each; story.py lets several of them run at once.

Shapes  A plot is a generator of steps over a Cast, which counts what was opened so far, so that
        later steps name it by ordinal. What a plot expects of the world (that a payment is
        confirmed by now) others may spoil: that is the point.
"""

from collections.abc import Iterator

from simulation import steps as s
from simulation.cast import BLOCKS_ENOUGH, OFFSETS_SECONDS, Cast, Plot, refund_of
from simulation.plots_claims import CLAIM_PLOTS
from simulation.plots_inbox import INBOX_PLOTS
from simulation.plots_refunds import REFUND_PLOTS

# ---------------------------------------------------------------- one payment


def plain(cast: Cast) -> Iterator[s.Step]:
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, "exact")
    yield cast.mine(session)
    yield cast.bury(session)


def in_parts(cast: Cast) -> Iterator[s.Step]:
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, "short")
    yield cast.mine(session)
    if cast.chance(30):
        yield cast.pay(session, "short")
        yield cast.mine(session)
    yield cast.pay(session, cast.draw.choice(("rest", "rest", "exact", "dust", "odd")))
    yield cast.bury(session)


def too_much(cast: Cast) -> Iterator[s.Step]:
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, cast.draw.choice(("over", "odd")))
    yield cast.bury(session)
    yield cast.pay(session, cast.draw.choice(("exact", "dust", "odd")))
    yield cast.mine(session)
    yield cast.bury(session)


def one_transaction(cast: Cast) -> Iterator[s.Step]:
    """Several transfers in one transaction, some of them for another session."""
    yield cast.opened()
    session = cast.newest()
    beside = cast.any_session() if cast.chance(50) else None
    share: s.Share = cast.draw.choice(("exact", "short", "odd"))
    yield cast.pay(session, share, pieces=cast.draw.randint(2, 4), beside=beside)
    yield cast.mine(session)
    if cast.chance(40):
        yield cast.reorg(cast.sessions[session])
    yield cast.bury(session)


def two_payers(cast: Cast) -> Iterator[s.Step]:
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, "exact", payer=0)
    if cast.chance(50):
        yield cast.mine(session, 1)
    yield cast.pay(session, cast.draw.choice(("exact", "short")), payer=1)
    yield cast.bury(session)
    yield cast.asked(refund_of(cast, session))


# ---------------------------------------------------------------- time


def last_second(cast: Cast) -> Iterator[s.Step]:
    """Around the very second of expiry, as the block has it."""
    yield cast.opened(window_seconds=cast.draw.choice((60, 61, 90, 600)))
    session = cast.newest()
    parts = cast.chance(30)
    yield cast.pay(session, "short" if parts else "exact")
    yield s.MineAt(session, "expiry", cast.draw.choice(OFFSETS_SECONDS))
    if parts:
        yield cast.pay(session, "rest")
    yield cast.mine(session, 1)
    if cast.chance(40):
        yield cast.reorg(cast.sessions[session])
    yield cast.bury(session)


def late(cast: Cast) -> Iterator[s.Step]:
    """After expiry, within the grace, at its edge, or after it."""
    yield cast.opened(window_seconds=cast.draw.choice((60, 90)))
    session = cast.newest()
    if cast.chance(30):
        yield cast.pay(session, "short")
        yield cast.mine(session, 1)
    yield s.MineAt(session, "expiry", cast.draw.choice((1, 5, 30)))
    yield cast.mine(session, 2)
    yield cast.pay(session, cast.draw.choice(("exact", "rest", "odd")))
    if cast.chance(40):
        yield s.MineAt(session, "grace", cast.draw.choice(OFFSETS_SECONDS))
    else:
        yield cast.mine(session, 1)
    yield cast.bury(session)


def forgotten(cast: Cast) -> Iterator[s.Step]:
    """Nobody pays; or somebody does, and a reorg takes it out after the window has closed."""
    yield cast.opened(window_seconds=60)
    session = cast.newest()
    if cast.chance(60):
        yield cast.pay(session, "exact")
        yield s.MineAt(session, "expiry", -1)
        yield cast.mine(session, 1)
        yield s.Reorg(
            cast.sessions[session],
            depth=cast.draw.randint(1, 3),
            fate=cast.draw.choice(("delay", "drop", "replace")),
            regrow=3,
            salt=cast.salt(),
        )
    yield s.Wait(90)
    yield cast.bury(session)


def cancelled(cast: Cast) -> Iterator[s.Step]:
    """Cancelled then paid, paid then cancelled, and both at once."""
    yield cast.opened()
    session = cast.newest()
    cancel = s.CancelSession(session, lost=cast.chance(15))
    early = cast.chance(50)
    if early:
        yield cast.asked(cancel)
    yield cast.pay(session, cast.draw.choice(("exact", "short")))
    yield cast.mine(session, cast.draw.choice((1, 1, 4)))
    if not early:
        yield cast.asked(cancel)
    yield cast.bury(session)


def paid_again(cast: Cast) -> Iterator[s.Step]:
    """Completed, and the customer pays once more, maybe long after."""
    yield cast.opened(window_seconds=cast.draw.choice((60, 600)))
    session = cast.newest()
    yield cast.pay(session, "exact")
    yield cast.bury(session)
    if cast.chance(40):
        yield s.MineAt(session, "expiry", cast.draw.choice((0, 10)))
    yield cast.pay(session, cast.draw.choice(("exact", "short")))
    yield cast.bury(session)
    if cast.chance(50):
        yield cast.asked(refund_of(cast, session))
        yield cast.bury(session)


# ---------------------------------------------------------------- the chain changes its mind


def retracted(cast: Cast) -> Iterator[s.Step]:
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, cast.draw.choice(("exact", "short", "odd")))
    yield cast.mine(session)
    yield cast.reorg(cast.sessions[session])
    if cast.chance(30):
        yield s.Restore(cast.sessions[session])
    if cast.chance(40):
        yield cast.pay(session, "rest")
    yield cast.bury(session)


def reversed_(cast: Cast) -> Iterator[s.Step]:
    """Confirmed, and then a reorg deeper than the confirmations."""
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(
        session, cast.draw.choice(("exact", "over", "odd")), pieces=cast.draw.randint(1, 2)
    )
    if cast.chance(40):
        yield cast.mine(session, 1)
        yield cast.pay(session, cast.draw.choice(("short", "exact")))
    yield cast.bury(session)
    yield s.Reorg(
        cast.sessions[session],
        depth=cast.draw.randint(BLOCKS_ENOUGH - 2, BLOCKS_ENOUGH + 3),
        fate=cast.draw.choice(("keep", "drop", "delay", "mixed", "replace")),
        regrow=cast.draw.choice((1, BLOCKS_ENOUGH, BLOCKS_ENOUGH + 4)),
        salt=cast.salt(),
    )
    if cast.chance(25):
        yield s.Restore(cast.sessions[session])
    if cast.chance(40):
        yield cast.pay(session, "rest")
    yield cast.bury(session)


def at_the_depth(cast: Cast) -> Iterator[s.Step]:
    """Reorgs that begin right at the block that is confirmed with the next one."""
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, "exact")
    for _ in range(cast.draw.randint(1, 4)):
        yield cast.mine(session, 1)
        if cast.chance(50):
            network = cast.sessions[session]
            depth = cast.draw.randint(0, 1)
            fate: s.Fate = cast.draw.choice(("keep", "delay", "mixed"))
            yield s.Reorg(network, depth, fate, 1, at_confirmation=True, salt=cast.salt())
    yield cast.bury(session)


def overtaken(cast: Cast) -> Iterator[s.Step]:
    """Reports of a sighting and of its loss reach us in another order than they were made."""
    yield cast.opened()
    session = cast.newest()
    yield cast.pay(session, cast.draw.choice(("exact", "over")))
    kinds: tuple[s.BusTrouble, ...] = ("lost_deliveries", "lost_deliveries", "delays", "reorders")
    yield s.BusFault(cast.draw.choice(kinds), cast.draw.choice((10, 30, 60)), cast.salt())
    yield cast.mine(session, cast.draw.choice((1, 2, 3, BLOCKS_ENOUGH)))
    for _ in range(cast.draw.randint(1, 2)):
        yield cast.reorg(cast.sessions[session])
        yield cast.mine(session, cast.draw.choice((1, 2, BLOCKS_ENOUGH)))
    yield s.Wait(cast.draw.choice((5, 35, 60)))
    yield cast.bury(session)


def cornered(cast: Cast) -> Iterator[s.Step]:
    """Two of three providers are away, and the third one lies."""
    yield cast.opened()
    session = cast.newest()
    network = cast.sessions[session]
    if cast.chance(60):
        yield cast.pay(session, "exact")
        yield cast.mine(session, 1)
    seconds = cast.draw.choice((30, 120, 300))
    for honest in (0, 1):
        yield s.ProviderFault(network, honest, "down", seconds, 1, cast.salt())
    lies: tuple[s.ProviderTrouble, ...] = ("fork", "fork", "forged_receipts", "empty")
    yield s.ProviderFault(network, 2, cast.draw.choice(lies), seconds, 2, cast.salt())
    yield cast.bury(session)
    yield s.Wait(cast.draw.choice((1, 30, 300)))
    yield cast.bury(session)


# ---------------------------------------------------------------- what is nobody's


def astray(cast: Cast) -> Iterator[s.Step]:
    """Wrong token, wrong network, a contract nobody knows, a transaction that fails."""
    yield cast.opened()
    session = cast.newest()
    kind = cast.draw.choice(("other", "bridged", "fake", "elsewhere", "failed"))
    if kind == "elsewhere":
        yield cast.pay(session, "exact", elsewhere=True)
        yield s.Mine((cast.sessions[session] + 1) % 2, BLOCKS_ENOUGH)
    elif kind == "failed":
        yield cast.pay(session, "exact", failed=True)
    else:
        yield cast.pay(session, "exact", asset=kind)
    yield cast.bury(session)
    if cast.chance(40):
        yield cast.reorg(cast.sessions[session])
        yield cast.bury(session)
    if cast.chance(50):
        yield cast.pay(session, "exact")
        yield cast.bury(session)


def strangers(cast: Cast) -> Iterator[s.Step]:
    shapes: tuple[s.StrangeShape, ...] = (
        "stranger",
        "four_topics",
        "short_data",
        "dirty",
        "no_value",
        "to_itself",
    )
    for _ in range(cast.draw.randint(1, 3)):
        network, session = cast.network(), cast.any_session()
        yield s.PayStranger(network, cast.draw.choice(shapes), session, cast.salt())
    yield s.Mine(cast.network(), cast.draw.randint(1, BLOCKS_ENOUGH))


# ---------------------------------------------------------------- merchants' machines


def listening(cast: Cast) -> Iterator[s.Step]:
    types = 0 if cast.chance(60) else cast.draw.randrange(1, 2**14)
    yield cast.asked(s.CreateEndpoint(cast.draw.randrange(3), types, lost=cast.chance(10)))
    cast.endpoints += 1
    if cast.chance(25):
        yield s.Wait(cast.draw.choice((1, 30, 700)))
        if cast.chance(60):
            yield cast.asked(s.DeleteEndpoint(cast.draw.randrange(cast.endpoints)))


def asked_again(cast: Cast) -> Iterator[s.Step]:
    """A client whose answer was lost asks again, sometimes twice at once, sometimes changed."""
    for _ in range(cast.draw.randint(1, 3)):
        request = max(0, cast.requests - 1 - cast.draw.randrange(3))
        yield s.Repeat(
            request,
            altered=cast.chance(15),
            copies=cast.draw.choice((1, 1, 2)),
            lost=cast.chance(10),
        )


def replayed(cast: Cast) -> Iterator[s.Step]:
    yield s.Wait(cast.draw.choice((1, 60, 700)))
    yield cast.asked(s.ReplayDelivery(cast.draw.randrange(40), lost=cast.chance(10)))


def quiet(cast: Cast) -> Iterator[s.Step]:
    yield s.Wait(cast.draw.choice((1, 5, 30, 120, 700)))
    yield s.Mine(cast.network(), cast.draw.choice((1, 1, 3, 20, 70)))


PLOTS: tuple[tuple[int, Plot], ...] = (
    (4, plain),
    (5, in_parts),
    (4, too_much),
    (4, one_transaction),
    (3, two_payers),
    (6, last_second),
    (5, late),
    (4, forgotten),
    (4, cancelled),
    (4, paid_again),
    (6, retracted),
    (6, reversed_),
    (5, at_the_depth),
    (5, overtaken),
    (3, cornered),
    *REFUND_PLOTS,
    *CLAIM_PLOTS,
    *INBOX_PLOTS,
    (4, astray),
    (2, strangers),
    (6, listening),
    (4, asked_again),
    (2, replayed),
    (2, quiet),
)
