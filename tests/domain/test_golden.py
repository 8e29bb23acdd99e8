"""Stored bytes are a promise: today's code reads every version there ever was."""

import json
from pathlib import Path

import pytest

from domain.events import EVENTS, Event, EventUnknown, decode
from tests.examples import EXAMPLES

GOLDEN = Path(__file__).parent.parent / "golden"


def _file(name: str, version: int) -> Path:
    return GOLDEN / f"{name}.v{version}.json"


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.name)
def test_an_event_is_stored_as_its_golden_file_says(event: Event) -> None:
    golden = _file(event.name, event.version).read_text(encoding="utf-8").strip()
    assert event.encoded().decode() == golden
    assert decode(event.name, event.version, golden.encode()) == event


def test_every_version_of_every_event_has_a_golden_file() -> None:
    wanted = {
        _file(name, version).name
        for name, kind in EVENTS.items()
        for version in range(1, kind.version + 1)
    }
    assert {path.name for path in GOLDEN.glob("*.json")} == wanted


def test_every_golden_file_of_an_old_version_still_reads() -> None:
    for path in GOLDEN.glob("*.json"):
        name, _, version = path.stem.rpartition(".v")
        assert decode(name, int(version), path.read_bytes()).name == name


def test_an_event_of_the_future_is_refused_and_not_misread() -> None:
    with pytest.raises(EventUnknown):
        decode("payment.completed", 99, b"{}")
    with pytest.raises(EventUnknown):
        decode("payment.teleported", 1, b"{}")


def test_an_unknown_field_is_an_error() -> None:
    stored = json.loads(_file("refund.failed", 1).read_bytes())
    with pytest.raises(ValueError, match="extra_forbidden"):
        decode("refund.failed", 1, json.dumps({**stored, "surprise": 1}).encode())
