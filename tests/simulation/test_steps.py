"""Histories are data: the same seed tells the same one, and JSON keeps it whole."""

import dataclasses
import subprocess
import sys
from collections import Counter
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from simulation import steps as s
from simulation.steps import KINDS, History, HistoryMalformed, decode, encode
from simulation.story import story

SEEDS = range(200)
STEPS = 100


def test_a_history_survives_json() -> None:
    for seed in SEEDS:
        history = story(seed, STEPS)
        assert decode(encode(history)) == history


def test_an_empty_history_survives_json() -> None:
    assert decode(encode(History(7, ()))) == History(7, ())


def test_a_story_has_so_many_steps_and_never_more() -> None:
    for steps_max in (0, 1, 3, 40):
        assert len(story(5, steps_max).steps) == steps_max


def test_a_longer_story_begins_like_a_shorter_one() -> None:
    assert story(11, 90).steps[:40] == story(11, 40).steps


def test_stories_hold_every_kind_of_step() -> None:
    told = Counter(step.kind for seed in SEEDS for step in story(seed, STEPS).steps)
    assert set(told) == set(KINDS)


def test_stories_use_every_value_a_step_may_have() -> None:
    """A trouble that no story ever brings is a trouble nobody is tested against."""
    told: Counter[tuple[str, str, object]] = Counter()
    for seed in range(1_500):
        for step in story(seed, STEPS).steps:
            for field in dataclasses.fields(step):
                told[step.kind, field.name, getattr(step, field.name)] += 1
    for made, name, literal in _choices():
        assert told[made.kind, name, literal], f"no {made.kind} with {name} {literal}"


def _choices() -> list[tuple[type[s.Step], str, object]]:
    return [
        (made, name, choice)
        for made in KINDS.values()
        for name, hint in get_type_hints(made).items()
        if get_origin(hint) is Literal
        for choice in get_args(hint)
    ]


def test_stories_differ_by_seed() -> None:
    assert len({encode(story(seed, 30)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_story_is_the_same_in_every_process(hash_seed: str) -> None:
    code = (
        "from simulation.steps import encode; from simulation.story import story;"
        "print(encode(story(3, 80)), end='')"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": hash_seed},
    )
    assert told.stdout == encode(story(3, 80))


def test_leaving_a_step_out_changes_no_other() -> None:
    history = story(2, 50)
    shorter = History(2, history.steps[:10] + history.steps[11:])
    assert decode(encode(shorter)).steps == history.steps[:10] + history.steps[11:]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"seed": "1", "steps": []}',
        '{"seed": 1}',
        '{"seed": 1, "steps": [7]}',
        '{"seed": 1, "steps": [{"kind": "fly"}]}',
        '{"seed": 1, "steps": [{"kind": "mine", "network": 0}]}',
        '{"seed": 1, "steps": [{"kind": "mine", "network": 0, "blocks": "2"}]}',
        '{"seed": 1, "steps": [{"kind": "mine", "network": 0, "blocks": true}]}',
        '{"seed": 1, "steps": [{"kind": "mine", "network": 0, "blocks": 1, "more": 1}]}',
        '{"seed": 1, "steps": [{"kind": "crash", "process": "nobody"}]}',
    ],
)
def test_what_is_no_history_is_refused(text: str) -> None:
    with pytest.raises(HistoryMalformed):
        decode(text)
