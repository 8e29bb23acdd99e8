"""Who misbehaves when, by seed.

Shapes  P0 is a pool of nodes up to four blocks behind each other, which clamps ranges silently.
        P1 drops 3 % of logs for good, and in a fifth of the run, while P0 is down, forges logs or
        serves a fork of its own that proves itself. P2 is honest, one answer in ten never comes.
        Now and then: P0 answers with nothing, P0 or P2 serves another chain, P0 and P2 are both
        down. 429, 503 and truncated JSON come from everybody.
        At most one provider is untruthful at any time, P1's dropped logs included: two liars who
        agree are a quorum, and win by design. Between two of them there is a truce.
Units   steps of the campaign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Lie = Literal["none", "drop", "forge", "fork", "empty", "wrong_chain"]

LYING_SHARE = 0.20
WINDOW_STEPS_MIN, WINDOW_STEPS_MAX = 10, 40
TRUCE_STEPS = 2
DEPTHS = (1, 1, 1, 2, 2, 3, 4, 6, 8, 11, 14, 20, 32, 48, 64)
FORK_SHARE = 0.06
RESTART_SHARE = 0.01
ABSENCE_STEPS_MIN = 400  # shorter campaigns leave the long absence out
ABSENCE_BLOCKS = 400  # more than it takes to catch up by ranges


@dataclass(frozen=True, slots=True)
class Mood:
    """How the three providers are at one step."""

    liar: int | None
    lie: Lie
    down: frozenset[int] = frozenset()


TRUTHFUL = Mood(None, "none")
USUAL = Mood(1, "drop")


@dataclass(frozen=True, slots=True)
class Step:
    mood: Mood
    blocks: int
    payments_max: int
    fork_depth: int = 0
    restart: bool = False
    absence: bool = False


def plan(seed: int, steps: int) -> list[Step]:
    rng = Random(f"faults {seed}")
    moods = _moods(rng, steps)
    absent = rng.randrange(steps // 2, steps) if steps >= ABSENCE_STEPS_MIN else -1
    return [
        Step(
            mood=mood,
            blocks=rng.choice((1, 1, 1, 2, 3)),
            payments_max=rng.choice((0, 2, 4, 8)),
            fork_depth=rng.choice(DEPTHS) if rng.random() < FORK_SHARE else 0,
            restart=rng.random() < RESTART_SHARE,
            absence=number == absent,
        )
        for number, mood in enumerate(moods)
    ]


def _moods(rng: Random, steps: int) -> Sequence[Mood]:
    moods = [USUAL] * steps
    for mood in _windows(rng, steps):
        length = min(rng.randint(WINDOW_STEPS_MIN, WINDOW_STEPS_MAX), steps // 5)
        room = length + 2 * TRUCE_STEPS
        for _ in range(50):  # a free place; when there is none the campaign is too short for it
            start = rng.randrange(max(steps - room, 1))
            if all(each is USUAL for each in moods[start : start + room]):
                moods[start : start + room] = [
                    *[TRUTHFUL] * TRUCE_STEPS,
                    *[mood] * length,
                    *[TRUTHFUL] * TRUCE_STEPS,
                ][: steps - start]
                break
    return moods


def _windows(rng: Random, steps: int) -> list[Mood]:
    mean = min((WINDOW_STEPS_MIN + WINDOW_STEPS_MAX) / 2, steps / 5)
    lying = max(round(steps * LYING_SHARE / mean), 2)
    rare = max(lying // 4, 1)
    alone = frozenset((0,))
    windows = [Mood(1, ("forge", "fork")[n % 2], alone) for n in range(lying)]
    windows += [Mood(0, "empty") for _ in range(rare)]
    windows += [Mood(rng.choice((0, 2)), "wrong_chain") for _ in range(rare)]
    windows += [Mood(1, "drop", frozenset((0, 2))) for _ in range(rare)]
    return windows
