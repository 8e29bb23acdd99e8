"""given(...).when(...).then(...): a decision as a sentence.

`then` names the facts, `gives` says them in full; both give the story so far, to go on from.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from application.deciders import Decider
from domain.errors import Refusal
from domain.events import Event
from domain.values import Value


@dataclass(frozen=True)
class Given:
    decider: Decider[Any, Any]
    past: tuple[Event, ...]

    @property
    def state(self) -> Any:
        state = None
        for event in self.past:
            state = self.decider.evolve(state, event)
        return state

    def when(self, command: Any) -> "When":
        return When(self, command)


@dataclass(frozen=True)
class When:
    given: Given
    command: Any

    def events(self) -> tuple[Event, ...]:
        return self.given.decider.decide(self.command, self.given.state)

    def then(self, *names: str) -> Given:
        """The decision's facts by name; gives the story so far, to go on from."""
        events = self.events()
        assert tuple(event.name for event in events) == names
        return Given(self.given.decider, (*self.given.past, *events))

    def gives(self, *facts: Event) -> Given:
        """The decision's facts, field by field; none for a repeat."""
        events = self.events()
        assert events == facts
        return Given(self.given.decider, (*self.given.past, *events))

    def refused(self, refusal: type[Refusal], message: str | None = None) -> Refusal:
        with pytest.raises(refusal) as caught:
            self.events()
        if message is not None:
            assert caught.value.message == message
        return caught.value


def given(decider: Decider[Any, Any], *past: Event) -> Given:
    return Given(decider, past)


def changes(before: Value | None, after: Value) -> dict[str, Any]:
    """The fields a fact has changed, with what they are now."""
    old = dict(before) if before is not None else {}
    return {name: new for name, new in dict(after).items() if name not in old or old[name] != new}
