"""What the state machines of the aggregates share.

Shapes  `do` decides a command on the state so far and applies its facts. On the way it holds what
        is true of every aggregate: a report of the chain is never refused, told twice is done
        once, a refusal changes nothing, a fact survives its stored bytes, books balance after
        each fact.
"""

from typing import Any, ClassVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant

from application.deciders import Decider
from domain.errors import Refusal
from domain.events import Event, Posting, decode
from tests.domain.steps import Books

STEPS = 40


def histories(times: int = 2) -> settings:
    """So many times as many examples as the profile asks for, and no clock."""
    default = settings.default
    assert default is not None
    return settings(
        max_examples=times * default.max_examples, stateful_step_count=STEPS, deadline=None
    )


class AnyHistory(RuleBasedStateMachine):
    """Whatever the chain and people do, in whatever order."""

    decider: ClassVar[Decider[Any, Any]]
    reports: ClassVar[tuple[type, ...]] = ()  # commands that may not be refused
    repeatable: ClassVar[tuple[type, ...]] = ()  # a second time means something new

    def __init__(self) -> None:
        super().__init__()
        self.past: tuple[Event, ...] = ()
        self.state: Any = None
        self.books = Books()

    def postings(self, event: Event, state: Any) -> tuple[Posting, ...]:
        return ()

    def seen(self, before: Any, event: Event) -> None:
        """What a machine wants to check of one fact, `self.state` being the state after it."""

    def do(self, command: Any) -> tuple[Event, ...]:
        try:
            events = self.decider.decide(command, self.state)
        except Refusal:
            assert not isinstance(command, self.reports), "the chain was refused"
            return ()
        for event in events:
            assert decode(event.name, event.version, event.encoded()) == event
            before = self.state
            self.state = self.decider.evolve(before, event)
            self.books.post(self.postings(event, self.state))
            self.past += (event,)
            self.seen(before, event)
        if not isinstance(command, self.repeatable):
            self.nothing_new(command)
        return events

    def nothing_new(self, command: Any) -> None:
        try:
            assert self.decider.decide(command, self.state) == (), "told twice, done twice"
        except Refusal:
            assert not isinstance(command, self.reports), "the chain was refused"

    @invariant()
    def the_books_balance(self) -> None:
        assert self.books.balance()

    def teardown(self) -> None:
        state: Any = None
        for event in self.past:
            state = self.decider.evolve(state, event)
        assert state == self.state, "the log tells another story"
