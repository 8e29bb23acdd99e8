"""Makes a history from a seed: plots that collide, and trouble beside them.

Shapes  A plot is a short tale about one session (a payment in the last second, a refund during
        a reorg); several run interleaved, so that their steps meet. Between them trouble strikes.
        Each history has a mood, a subset of all plots and troubles: a history in which
        everything goes wrong at once finds less than many in which two things do.
"""

from collections.abc import Iterator, Sequence
from random import Random  # noqa: TID251 - seeded: the same history on every machine
from typing import TypeVar

from simulation.cast import Cast
from simulation.plots import PLOTS
from simulation.steps import CreateEndpoint, History, Step
from simulation.troubles import TROUBLES

T = TypeVar("T")

PLOTS_AT_ONCE_MAX = 5
MOOD_SHARE = 0.5
TROUBLE_SHARE_MAX = 0.35  # of the steps, in the worst of moods
CALM_SHARE = 0.1  # of the histories have no trouble at all: they show the rules alone
STEPS_BEFORE_TROUBLE = 4


def story(seed: int, steps_max: int) -> History:
    draw = Random(seed)  # noqa: S311 - no secret comes from it
    cast = Cast(draw)
    plots = _some(draw, PLOTS, least=3)
    troubles = _some(draw, TROUBLES, least=1)
    share = 0.0 if draw.random() < CALM_SHARE else draw.random() * TROUBLE_SHARE_MAX
    at_once = draw.randint(1, PLOTS_AT_ONCE_MAX)
    running: list[Iterator[Step]] = []
    steps = list(_listeners(cast))[:steps_max]
    while len(steps) < steps_max:
        if len(steps) >= STEPS_BEFORE_TROUBLE and draw.random() < share:
            steps.append(_choose(draw, troubles)(cast))
            continue
        while len(running) < at_once:
            running.append(_choose(draw, plots)(cast))
        plot = draw.choice(running)
        step = next(plot, None)
        if step is None:
            running.remove(plot)
        else:
            steps.append(step)
    return History(seed, tuple(steps))


def _listeners(cast: Cast) -> Iterator[Step]:
    """Most merchants have somebody listening before anything happens."""
    for merchant in range(3):
        if cast.chance(70):
            yield CreateEndpoint(merchant)
            cast.endpoints += 1
            cast.requests += 1


def _some(draw: Random, offered: Sequence[tuple[int, T]], *, least: int) -> list[tuple[int, T]]:
    """This history's mood: each of them with even chances, and never too few."""
    kept = [each for each in offered if draw.random() < MOOD_SHARE]
    missing = [each for each in offered if each not in kept]
    while len(kept) < least:
        kept.append(missing.pop(draw.randrange(len(missing))))
    return kept


def _choose(draw: Random, weighed: Sequence[tuple[int, T]]) -> T:
    return draw.choices([each for _, each in weighed], [weight for weight, _ in weighed])[0]
