"""Whether a network stands still: one stream a network, a fact for each stop and each going on.

Shapes  A network that is halted is halted once, whoever notices; the first reason stays.
        `resumed` counts how often a person let it go on: the ingester forgets what it took for
        final once for each.
Errors  NetworkNotHalted for letting go on what goes on already.
"""

from typing import assert_never

from domain import commands as c
from domain import events as e
from domain.errors import NetworkNotHalted
from domain.values import Moment, Value


class Halt(Value):
    at: Moment
    cause: e.HaltCause
    detail: str
    block_number: int | None
    our_hash: str | None
    their_hash: str | None


class NetworkHalts(Value):
    halt: Halt | None = None  # the one that stands
    resumed: int = 0


def decide(command: c.HaltCommand, halts: NetworkHalts | None) -> tuple[e.Event, ...]:
    halted = halts is not None and halts.halt is not None
    match command:
        case c.HaltNetwork():
            if halted:
                return ()
            values = {name: getattr(command, name) for name in c.HaltNetwork.model_fields}
            return (e.NetworkHalted(**values),)
        case c.ResumeNetwork():
            if not halted:
                raise NetworkNotHalted(f"{command.network} is not halted: it goes on already")
            return (
                e.NetworkResumed(at=command.at, network=command.network, reason=command.reason),
            )
        case _:
            assert_never(command)


def evolve(halts: NetworkHalts | None, event: e.Event) -> NetworkHalts:
    before = halts or NetworkHalts()
    match event:
        case e.NetworkHalted():
            halt = Halt(
                at=event.at,
                cause=event.cause,
                detail=event.detail,
                block_number=event.block_number,
                our_hash=event.our_hash,
                their_hash=event.their_hash,
            )
            return before.changed(halt=halt)
        case e.NetworkResumed():
            return NetworkHalts(resumed=before.resumed + 1)
        case _:
            raise AssertionError(f"{event.name} is no event of a network's halts")
