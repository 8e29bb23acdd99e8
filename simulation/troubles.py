"""What goes wrong beside the plots: machines that die, wires that lose, providers that lie.

Shapes  A trouble is a function of the Cast to one step. Times and numbers are chosen so that
        most troubles end while the history still goes on, and some outlast it.
"""

from collections.abc import Callable

from simulation import steps as s
from simulation.cast import Cast

Trouble = Callable[[Cast], s.Step]

SKEW_SECONDS_MAX = 600
PROVIDERS = 3
PROCESSES: tuple[s.Process, ...] = (
    "ingest",
    "settlement",
    "dispatcher",
    "webhooks",
    "refunds",
    "signer",
    "expiry",
    "projections",
    "api",
)
# Which processes pass which named points.
POINTS: tuple[tuple[tuple[s.Point, ...], tuple[s.Process, ...]], ...] = (
    (
        ("before_append", "after_append"),
        ("settlement", "dispatcher", "webhooks", "refunds", "expiry", "api"),
    ),
    (("before_publish", "after_publish"), ("ingest",)),
    (("before_ack", "after_ack"), ("settlement",)),
    (("before_ingest_write", "after_ingest_write"), ("ingest",)),
    (("before_outgoing", "after_outgoing"), ("refunds", "signer")),
    (("before_broadcast", "after_broadcast"), ("refunds",)),
    (("before_post", "after_post"), ("webhooks",)),
)


def anywhere(cast: Cast) -> s.Step:
    """Dead at whatever await comes."""
    draw = cast.draw
    return s.Crash(
        process=draw.choice(PROCESSES),
        network=cast.network(),
        after=draw.choice((1, 2, 3, 5, 8, 13, 21, 34, 55, 89)),
        down_seconds=_down(cast),
    )


def at_a_write(cast: Cast) -> s.Step:
    draw = cast.draw
    points, processes = draw.choice(POINTS)
    return s.Crash(
        process=draw.choice(processes),
        network=cast.network(),
        point=draw.choice(points),
        after=draw.choice((1, 1, 1, 2, 3)),
        down_seconds=_down(cast),
    )


def _down(cast: Cast) -> int:
    return cast.draw.choice((0, 1, 1, 5, 30, 120))


def provider(cast: Cast) -> s.Step:
    """Two of three agree, whatever one of them does; two at once may only delay."""
    draw = cast.draw
    kinds: tuple[s.ProviderTrouble, ...] = (
        "down",
        "slow",
        "lag",
        "empty",
        "duplicates",
        "duplicates",
        "range_refused",
        "flapping",
        "tags_refused",
        "tags_lag",
    )
    return s.ProviderFault(
        network=cast.network(),
        provider=draw.randrange(PROVIDERS),
        trouble=draw.choice(kinds),
        seconds=draw.choice((1, 5, 30, 120)),
        amount=draw.choice((1, 1, 2, 3, 10)),
        salt=cast.salt(),
    )


def liar(cast: Cast) -> s.Step:
    """One provider of a network at a time (spoiling.py): two liars that agree are the truth.

    Logs are asked of the first two, so one of these lies more often.
    """
    draw = cast.draw
    kinds: tuple[s.ProviderTrouble, ...] = (
        "forged_logs",
        "forged_receipts",
        "forged_headers",
        "fork",
        "forged_logs",
        "empty",
        "tags_lie",
    )
    return s.ProviderFault(
        network=cast.network(),
        provider=draw.choice((0, 0, 1, PROVIDERS - 1, PROVIDERS - 1)),
        trouble=draw.choice(kinds),
        seconds=draw.choice((5, 30, 120, 600)),
        amount=draw.randint(1, 4),
        salt=cast.salt(),
    )


def node(cast: Cast) -> s.Step:
    draw = cast.draw
    kinds: tuple[s.NodeTrouble, ...] = (
        "down",
        "slow",
        "lag",
        "lost_answer",
        "high_fees",
        "drops_mempool",
    )
    return s.NodeFault(
        network=cast.network(),
        trouble=draw.choice(kinds),
        seconds=draw.choice((1, 5, 30, 120)),
        amount=draw.choice((1, 2, 3)),
        salt=cast.salt(),
    )


def bus(cast: Cast) -> s.Step:
    draw = cast.draw
    kinds: tuple[s.BusTrouble, ...] = (
        "outage",
        "lost_deliveries",
        "lost_acks",
        "repeats",
        "reorders",
        "delays",
        "lost_publish_answer",
        "lost_hints",
    )
    seconds = draw.choice((1, 5, 30, 120))
    return s.BusFault(draw.choice(kinds), seconds, cast.salt())


def wiped(cast: Cast) -> s.Step:
    return s.BusFault("wiped", 0, cast.salt())


def store(cast: Cast) -> s.Step:
    draw = cast.draw
    kinds: tuple[s.StoreTrouble, ...] = (
        "outage",
        "lost_answer",
        "lost_answer",
        "busy",
        "conflicts",
        "ingest_outage",
    )
    return s.StoreFault(
        trouble=draw.choice(kinds),
        seconds=draw.choice((1, 3, 10, 30)),
        count=draw.choice((1, 1, 2, 5)),
        salt=cast.salt(),
    )


def receiver(cast: Cast) -> s.Step:
    draw = cast.draw
    kinds: tuple[s.Manner, ...] = (
        "slow",
        "error",
        "lost_answer",
        "gone",
        "hanging",
        "asks_to_wait",
        "fine",
    )
    manner = draw.choices(kinds, (3, 5, 4, 1, 3, 2, 1))[0]
    return s.ReceiverFault(
        endpoint=draw.randrange(max(1, cast.endpoints)),
        manner=manner,
        posts=draw.choice((1, 2, 3, 4, 5, 20)),
    )


def skew(cast: Cast) -> s.Step:
    draw = cast.draw
    most = draw.choice((2, 60, SKEW_SECONDS_MAX))
    return s.Skew(draw.choice(PROCESSES), draw.randint(-most, most), cast.network())


def stop_signing(cast: Cast) -> s.Step:
    return s.StopSigning(cast.draw.choice((1, 10, 60)))


def reorg(cast: Cast) -> s.Step:
    return cast.reorg(cast.network())


TROUBLES: tuple[tuple[int, Trouble], ...] = (
    (6, anywhere),
    (6, at_a_write),
    (3, provider),
    (3, liar),
    (3, node),
    (4, bus),
    (1, wiped),
    (4, store),
    (3, receiver),
    (2, skew),
    (1, stop_signing),
    (4, reorg),
)
