"""How each network stands, and a person's word that one may go on, or must stop.

Shapes  For machines a line of JSON a network. `trouble` is what keeps payments waiting, or what
        an operator should know of; None for a network that is followed.
Units   block numbers; lag in blocks behind what the providers tell, and in seconds of the chain.
Errors  GatewayError for a network that is not served; the refusals of application/halts.py.
"""
# ruff: noqa: T201 - it speaks to a person at a terminal

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from adapters.chain_heads import PostgresChainHeads
from application.deciders import HALTS, halts_stream_id
from application.halts import Halts
from application.ports import Recorded, Stream
from application.reads import Passed
from application.standing import TROUBLE_WORDS, Finality, Standing
from domain.events import Event, NetworkHalted, NetworkResumed
from domain.halts import NetworkHalts
from domain.networks import Network
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings
from gateway.tables import Listing, console

COLUMNS = ("network", "state", "head", "lag", "attested", "final")
FIGURES = frozenset({"head", "lag", "attested", "final"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one network at a moment; the halt is the log's word, not the ingester's."""

    network: Network
    now: datetime
    standing: Standing | None
    finality: Finality
    passed: Passed | None
    halts: NetworkHalts

    @property
    def stands(self) -> Standing | None:
        return None if self.standing is None else self.standing.seen_at(self.now)

    @property
    def trouble(self) -> str | None:
        if self.halts.halt is not None:
            return "halted"
        return "not_begun" if self.stands is None else self.stands.trouble

    @property
    def since(self) -> datetime | None:
        if self.halts.halt is not None:
            return self.halts.halt.at
        return None if self.stands is None else self.stands.since

    @property
    def why(self) -> str:
        if self.halts.halt is not None:
            return f"{self.halts.halt.cause}: {self.halts.halt.detail}"
        if self.stands is None:
            return "no ingester has run yet"
        if self.stands.trouble is not None:
            return f"{TROUBLE_WORDS[self.stands.trouble]}: {self.stands.detail}"
        return "one provider: unattested" if self.stands.single else ""

    @property
    def state(self) -> str:
        if self.trouble is None:
            return "following"
        if self.trouble in {"halted", "not_begun"}:
            return self.trouble.replace("_", " ")
        return "pending" if self.stands is not None and self.stands.pending else "following"

    @property
    def lag_blocks(self) -> int | None:
        """Unknown while no ingester runs: the head it told last is an old one."""
        if self.stands is None or self.stands.trouble == "unattended":
            return None
        tip = self.stands.tip
        return None if tip is None or self.passed is None else max(tip - self.passed.number, 0)

    @property
    def lag_seconds(self) -> int | None:
        if self.passed is None:
            return None
        return max(int((self.now - self.passed.time).total_seconds()), 0)

    def as_json(self) -> bytes:
        final = self.finality.block
        return orjson.dumps(
            {
                "network": self.network.name,
                "mode": self.network.mode,
                "state": self.state,
                "trouble": self.trouble,
                "since": _iso(self.since),
                "why": self.why,
                "head": None if self.passed is None else self.passed.number,
                "tip": None if self.standing is None else self.standing.tip,
                "lag_blocks": self.lag_blocks,
                "lag_seconds": self.lag_seconds,
                "attested": None if self.standing is None else self.standing.attested,
                "single_provider": None if self.standing is None else self.standing.single,
                "final": None if final is None else final.number,
                "final_hash": None if final is None else final.hash,
                "final_at": _iso(self.finality.block_at),
                "final_told": self.finality.told,
                "final_told_at": _iso(self.finality.told_at),
                "resumed": self.halts.resumed,
            }
        )

    def row(self) -> tuple[str, ...]:
        lag = _figure(self.lag_blocks)
        if self.lag_seconds is not None:
            lag += f" ({self.lag_seconds} s)"
        final = self.finality.block
        return (
            self.network.name,
            self.state,
            _figure(None if self.passed is None else self.passed.number),
            lag,
            _figure(None if self.standing is None else self.standing.attested),
            _figure(None if final is None else final.number),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Why it stands so, and since when."""
        since = "" if self.since is None else f"since {self.since:%Y-%m-%d %H:%M:%S} UTC: "
        return (since + self.why,) if self.why else ()


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _figure(number: int | None) -> str:
    return "-" if number is None else str(number)


async def networks(settings: Settings, *, as_json: bool) -> int:
    """Each network that is served; 1 unless all are followed."""
    async with bootstrap.core(settings, "networks") as core:
        seen = [await _seen(core, network) for network in core.networks.networks]
    if as_json:
        for each in seen:
            print(each.as_json().decode())
    else:
        console().print(table_of(seen))
    return 0 if all(each.trouble is None for each in seen) else 1


def table_of(seen: list[Seen]) -> Listing:
    table = Listing("Networks", *COLUMNS, left=frozenset(COLUMNS) - FIGURES)
    for each in seen:
        table.add_row(*each.row(), notes=each.notes)
    return table


async def _seen(core: bootstrap.Core, network: Network) -> Seen:
    heads = PostgresChainHeads(core.postgres)
    return Seen(
        network=network,
        now=core.clock.now(),
        standing=await heads.standing(network.name),
        finality=await heads.finality(network.name),
        passed=await heads.passed(network.name),
        halts=await Halts(core.handler).of(network.name),
    )


async def history(settings: Settings, name: str, *, as_json: bool) -> None:
    """Every halt of a network and every decision about one, with who and why."""
    async with bootstrap.core(settings, "networks") as core:
        network = _served(core, name)
        stream = Stream(HALTS.stream_type, halts_stream_id(network.name))
        facts = await core.store.read_stream(stream)
    decisions = [_decision(fact) for fact in facts]
    if as_json:
        for each in decisions:
            print(orjson.dumps(each).decode())
        return
    console().print(history_of(name, decisions) if decisions else f"{name} was never halted.")


def history_of(name: str, decisions: Sequence[Mapping[str, str]]) -> Listing:
    columns = ("at", "what", "by")
    table = Listing(f"Halts of {name}", *columns, left=frozenset(columns))
    for each in decisions:
        table.add_row(*(each[column] for column in columns), notes=[each["why"]])
    return table


def _decision(fact: Recorded[Event]) -> dict[str, str]:
    event = fact.event
    why = event.reason if isinstance(event, NetworkResumed) else ""
    if isinstance(event, NetworkHalted):
        why = f"{event.cause}: {event.detail}"
    return {"at": event.at.isoformat(), "what": event.name, "by": fact.context.actor, "why": why}


async def resume(settings: Settings, name: str, reason: str, actor: str) -> None:
    async with bootstrap.core(settings, "networks") as core:
        network = _served(core, name)
        await Halts(core.handler).resume(network, reason, f"operator:{actor}")
    print(f"{name} goes on: its ingester follows the chain as it is, and tells what that undoes")


async def halt(settings: Settings, name: str, reason: str, actor: str) -> None:
    async with bootstrap.core(settings, "networks") as core:
        network = _served(core, name)
        known = await Halts(core.handler).halt(
            network, "operator", reason, actor=f"operator:{actor}"
        )
    assert known.halt is not None
    print(f"{name} is halted since {known.halt.at:%Y-%m-%d %H:%M:%S} UTC: {known.halt.detail}")


def _served(core: bootstrap.Core, name: str) -> Network:
    for network in core.networks.networks:
        if network.name == name:
            return network
    served = ", ".join(each.name for each in core.networks.networks)
    raise GatewayError(f"{name!r} is not among NETWORKS, which has: {served}")
