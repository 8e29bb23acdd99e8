"""Plots about one wallet that many sessions share: who paid, as it is proven or announced.

Shapes  Two or three sessions of one merchant over the same amount, on the same network and in the
        same token, so that only evidence tells whose a transfer is. Claims come before, while
        and after a transfer is seen, once or for two sessions.
"""

from collections.abc import Iterator
from dataclasses import replace

from simulation import steps as s
from simulation.cast import BLOCKS_ENOUGH, Cast, Plot

WALLETS = 3
ANOTHER_SALT = 1


def _wallet(cast: Cast) -> tuple[s.Step, int]:
    merchant = cast.merchant()
    wallet = cast.draw.choices((0, 1, WALLETS - 1), (8, 3, 1))[0]
    step = cast.asked(s.SetReceivingAddress(merchant, wallet, lost=cast.chance(5)))
    return step, merchant


def _shared(cast: Cast, merchant: int, **terms: int) -> s.OpenSession:
    return cast.opened(merchant=merchant, pay_by="merchant_wallet", **terms)


def _like(cast: Cast, first: s.OpenSession) -> s.OpenSession:
    """Another session that the same money would fit."""
    step = replace(first, salt=first.salt + ANOTHER_SALT, lost=False)
    cast.sessions.append(step.network)
    cast.requests += 1
    return step


def _prove(cast: Cast, session: int, payer: int) -> s.Step:
    signer: s.Signer = cast.draw.choices(("payer", "stranger", "session_before"), (8, 1, 1))[0]
    return cast.asked(
        s.ProvePayer(session, payer, signer, customer=cast.chance(60), lost=cast.chance(10))
    )


def _announce(cast: Cast, session: int, whose: s.Whose = "own") -> s.Step:
    return cast.asked(
        s.AnnounceTransaction(
            session, whose, customer=cast.chance(60), lost=cast.chance(10), salt=cast.salt()
        )
    )


def _share(cast: Cast) -> s.Share:
    share: s.Share = cast.draw.choices(("exact", "short", "over", "odd"), (7, 2, 1, 1))[0]
    return share


def proven(cast: Cast) -> Iterator[s.Step]:
    """Signed before, while or after the money comes."""
    setting, merchant = _wallet(cast)
    yield setting
    yield _shared(cast, merchant)
    session, payer = cast.newest(), cast.payer()
    when = cast.draw.choice(("before", "waits", "seen", "confirmed"))
    if when == "before":
        yield _prove(cast, session, payer)
    yield cast.pay(session, _share(cast), payer=payer)
    if when == "waits":
        yield _prove(cast, session, payer)
    yield cast.mine(session, cast.draw.choice((1, 1, 2)))
    if when == "seen":
        yield _prove(cast, session, payer)
    if cast.chance(30):
        yield cast.reorg(cast.sessions[session])
    yield cast.bury(session)
    if when == "confirmed":
        yield _prove(cast, session, payer)
    if cast.chance(30):
        yield cast.pay(session, "exact", payer=payer)
        yield cast.bury(session)


def proven_for_two(cast: Cast) -> Iterator[s.Step]:
    """One wallet signs for two sessions, and pays once or twice."""
    setting, merchant = _wallet(cast)
    yield setting
    first = _shared(cast, merchant)
    yield first
    one, payer = cast.newest(), cast.payer()
    yield _like(cast, first)
    other = cast.newest()
    early = cast.chance(50)
    yield _prove(cast, one, payer)
    if early:
        yield _prove(cast, other, payer)
    yield cast.pay(one, _share(cast), payer=payer)
    yield cast.mine(one, cast.draw.choice((1, 2, BLOCKS_ENOUGH)))
    if not early:
        yield _prove(cast, other, payer)
    if cast.chance(50):
        yield cast.pay(other, "exact", payer=payer)
        yield cast.mine(other, 1)
    if cast.chance(30):
        yield cast.asked(s.CancelSession(other, lost=cast.chance(15)))
    if cast.chance(30):
        yield cast.reorg(cast.sessions[one])
    yield cast.bury(one)
    if cast.chance(50):
        yield decided(cast, session=other)


def announced(cast: Cast) -> Iterator[s.Step]:
    """Said to be his by the one who paid; sometimes by somebody else as well, or first."""
    setting, merchant = _wallet(cast)
    yield setting
    first = _shared(cast, merchant)
    yield first
    one, payer = cast.newest(), cast.payer()
    rival = cast.chance(50)
    if rival:
        yield _like(cast, first)
    other = cast.newest()
    yield cast.pay(one, _share(cast), payer=payer)
    claims = [_announce(cast, one)]
    if rival:
        claims.append(_announce(cast, other, "other"))
        cast.draw.shuffle(claims)
    if cast.chance(15):
        claims.append(_announce(cast, one, "nobodys"))
    for claim in claims:
        if cast.chance(60):
            yield cast.mine(one, cast.draw.choice((1, 1, 2, BLOCKS_ENOUGH)))
        yield claim
    yield cast.mine(one, 1)
    if cast.chance(30):
        yield cast.reorg(cast.sessions[one])
    if cast.chance(25):
        yield _prove(cast, one, payer)
    yield cast.bury(one)
    if cast.chance(30):
        yield decided(cast, session=one)


def unknown_sender(cast: Cast) -> Iterator[s.Step]:
    """Nobody says whose it is, until a person or a late claim does."""
    setting, merchant = _wallet(cast)
    yield setting
    yield _shared(cast, merchant)
    session, payer = cast.newest(), cast.payer()
    yield cast.pay(session, _share(cast), payer=payer)
    yield cast.mine(session)
    if cast.chance(50):
        yield cast.bury(session)
    together: list[s.Step] = [decided(cast, session=session)]
    if cast.chance(60):
        together.append(_prove(cast, session, payer))
    if cast.chance(40):
        together.append(_announce(cast, session))
    cast.draw.shuffle(together)
    yield from together
    if cast.chance(40):
        yield cast.reorg(cast.sessions[session])
    yield cast.bury(session)
    if cast.chance(40):
        yield decided(cast, session=session)


def decided(cast: Cast, session: int | None = None, decision: s.Decision | None = None) -> s.Step:
    draw = cast.draw
    decisions: tuple[s.Decision, ...] = ("accept", "assign", "dismiss", "refund")
    to: tuple[s.Destination, ...] = ("payer", "other", "zero", "token", "own", "deposit")
    if session is None:
        session = cast.any_session()
    return cast.asked(
        s.DecideTransfer(
            transfer=draw.choice((0, 0, 0, 1, 2, 5)),
            decision=decision or draw.choices(decisions, (3, 4, 2, 4))[0],
            session=session,
            to=draw.choices(to, (10, 8, 1, 1, 1, 1))[0],
            waiting=cast.chance(85),
            meddling=cast.chance(5),
            copies=draw.choices((1, 2, 3), (7, 2, 1))[0],
            keyed=cast.chance(70),
            lost=cast.chance(10),
            salt=cast.salt(),
        )
    )


CLAIM_PLOTS: tuple[tuple[int, Plot], ...] = (
    (6, proven),
    (5, proven_for_two),
    (6, announced),
    (5, unknown_sender),
)
