"""The confirmation policies a network has had: one stream a network, a version each.

Shapes  The configuration says what shall hold now; where that differs from the newest version,
        it becomes the next one. A sighting keeps the version that held when it was first seen.
"""

from domain import commands as c
from domain import events as e
from domain.networks import ConfirmationPolicy
from domain.values import Value


class PolicyHistory(Value):
    policies: tuple[ConfirmationPolicy, ...] = ()  # in order of their versions

    @property
    def newest(self) -> ConfirmationPolicy | None:
        return self.policies[-1] if self.policies else None


def decide(command: c.SetConfirmationPolicy, history: PolicyHistory | None) -> tuple[e.Event, ...]:
    newest = history.newest if history is not None else None
    if newest is not None and newest.same_terms(command.policy):
        return ()
    version = newest.version + 1 if newest is not None else 1
    policy = command.policy.changed(version=version)
    return (e.ConfirmationPolicySet(at=command.at, network=command.network, policy=policy),)


def evolve(history: PolicyHistory | None, event: e.Event) -> PolicyHistory:
    assert isinstance(event, e.ConfirmationPolicySet), f"{event.name} is no event of a policy"
    known = history.policies if history is not None else ()
    return PolicyHistory(policies=(*known, event.policy))
