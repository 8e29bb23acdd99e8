"""`gateway providers`: what each provider was asked, how it answered, and what that costs.

Shapes  From what the leading ingester keeps (application/figures.py): rates over this hour and
        the one before it, errors and calls of today in UTC. A day is projected from the rate.
        The price is one for all methods, though providers weigh them: an estimate.
Units   milliseconds for people, microseconds in JSON; dollars as decimal strings.
Errors  as gateway/cli.py; status 1 unless every provider answers.
"""
# ruff: noqa: T201 - it speaks to a person at a terminal

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import orjson

from application.figures import (
    ANSWERED,
    CallFigures,
    FiguresStore,
    ProviderState,
    ReadingFigures,
    total,
)
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings
from gateway.tables import Listing, console

STALE_SECONDS = 180  # a state older than this is nobody's: no ingester leads
WINDOW = timedelta(hours=1)
MINUTES_A_DAY = 1_440


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """None: nothing is known yet, or no price is set."""

    network: str
    provider: str
    condition: str
    head: int | None
    blocks_behind: int | None
    calls_per_minute: Decimal | None
    calls_per_block: Decimal | None
    failures: Mapping[str, int]
    micros_half: int | None
    micros_max: int | None
    calls_today: int
    calls_per_day: int | None
    usd_per_day: Decimal | None

    @property
    def well(self) -> bool:
        return self.condition == "answers"

    @property
    def state(self) -> str:
        """In a word or two; `condition` says the rest."""
        state, _, more = self.condition.partition(":")
        return state.partition(" since ")[0] if more else state


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one network."""

    network: str
    calls: Sequence[CallFigures]
    readings: Sequence[ReadingFigures]
    states: Sequence[ProviderState]


async def kept_of(figures: FiguresStore, network: str, now: datetime) -> Kept:
    hour = now.replace(minute=0, second=0, microsecond=0)
    since = min(hour - WINDOW, hour.replace(hour=0))
    return Kept(
        network,
        await figures.calls(network, since),
        await figures.readings(network, since),
        await figures.states(network),
    )


def lines(
    kept: Kept, configured: Sequence[str], prices: Mapping[str, Decimal], now: datetime
) -> list[ProviderLine]:
    """One a configured provider; with none configured, one for each there is something of."""
    known = {state.provider: state for state in kept.states}
    seen = {each.provider for each in kept.calls}
    names = configured or sorted(known.keys() | seen)
    heads = [state.head for state in known.values() if state.head is not None]
    best = max(heads, default=None)
    return [_line(kept, name, known.get(name), best, prices.get(name), now) for name in names]


def _line(
    kept: Kept,
    name: str,
    state: ProviderState | None,
    best: int | None,
    price: Decimal | None,
    now: datetime,
) -> ProviderLine:
    hour = now.replace(minute=0, second=0, microsecond=0)
    of_it = [each for each in kept.calls if each.provider == name]
    recent = [each for each in of_it if each.hour >= hour - WINDOW]
    today = [each for each in of_it if each.hour >= hour.replace(hour=0)]
    answered = total(each.count for each in recent if each.outcome == ANSWERED)
    rate = _per_minute(recent)
    head = None if state is None else state.head
    per_day = None if rate is None else int(rate * MINUTES_A_DAY)
    return ProviderLine(
        network=kept.network,
        provider=name,
        condition=_condition(state, now),
        head=head,
        blocks_behind=None if head is None or best is None else best - head,
        calls_per_minute=None if rate is None else round(rate, 1),
        calls_per_block=_per_block(recent, kept.readings, hour - WINDOW),
        failures=_failures(today),
        micros_half=answered.micros_at(0.5),
        micros_max=answered.micros_max if answered.calls else None,
        calls_today=_calls(today),
        calls_per_day=per_day,
        usd_per_day=None if price is None or per_day is None else per_day * price / 10**6,
    )


def _condition(state: ProviderState | None, now: datetime) -> str:
    if state is None:
        return "never asked"
    if (now - state.at).total_seconds() > STALE_SECONDS:
        return f"unknown since {state.at:%d %B %H:%M} UTC: no ingester leads"
    if state.condition == "fails" and state.failure is not None:
        return f"fails: {state.failure}"
    return state.condition.replace("_", " ")


def _calls(figures: Iterable[CallFigures]) -> int:
    return sum(each.count.calls for each in figures)


def _per_minute(recent: Sequence[CallFigures]) -> Decimal | None:
    if not recent:
        return None
    took = max(each.last_at for each in recent) - min(each.first_at for each in recent)
    seconds = max(int(took.total_seconds()), 1)
    return Decimal(_calls(recent)) * 60 / seconds


def _per_block(
    recent: Sequence[CallFigures], readings: Sequence[ReadingFigures], since: datetime
) -> Decimal | None:
    blocks = sum(each.count.blocks for each in readings if each.hour >= since)
    return round(Decimal(_calls(recent)) / blocks, 2) if blocks else None


def _failures(figures: Iterable[CallFigures]) -> Mapping[str, int]:
    kinds: Counter[str] = Counter()
    for each in figures:
        if each.outcome != ANSWERED:
            kinds[each.outcome] += each.count.calls
    return dict(kinds.most_common())


# ---------------------------------------------------------------- the command


async def providers(settings: Settings, network: str | None, *, as_json: bool) -> int:
    """Print one line a provider; the exit status."""
    if network is not None and network not in settings.networks:
        served = ", ".join(settings.networks)
        raise GatewayError(f"{network!r} is not among NETWORKS, which has: {served}")
    found: list[ProviderLine] = []
    async with bootstrap.core(settings, "providers") as core:
        now = core.clock.now()
        for each in core.networks.networks:
            if network in {None, each.name}:
                urls = settings.rpc_urls.get(each.name)
                names = [c.name for c in bootstrap.providers(core, each)] if urls else []
                prices = settings.rpc_usd_per_million_calls.get(each.name, ())
                priced = {name: Decimal(price) for name, price in zip(names, prices, strict=False)}
                kept = await kept_of(bootstrap.figures(core), each.name, now)
                found += lines(kept, names, priced, now)
    if as_json:
        for line in found:
            print(orjson.dumps(_as_json(line)).decode())
    else:
        console().print(table_of(found))
        if any(line.calls_today for line in found):
            print(f"Calls of today since 00:00 UTC; it is {now:%H:%M} UTC.", file=sys.stderr)
    return 0 if found and all(line.well for line in found) else 1


def table_of(found: Sequence[ProviderLine]) -> Listing:
    columns = ("provider", "state", "head", "behind", "calls/min", "per day", "USD/day")
    table = Listing("Providers", *columns, left=frozenset({"provider", "state"}))
    for line in found:
        table.add_row(
            line.provider,
            line.state,
            _shown(line.head),
            _shown(line.blocks_behind),
            _shown(line.calls_per_minute),
            "-" if line.calls_per_day is None else f"{line.calls_per_day:,}",
            "-" if line.usd_per_day is None else f"{line.usd_per_day:.2f}",
            notes=_notes(line),
        )
    return table


def _notes(line: ProviderLine) -> tuple[str, ...]:
    """What is wrong with it first."""
    errors = ", ".join(f"{kind} {count}" for kind, count in line.failures.items())
    notes = (line.condition,) if line.state != line.condition else ()
    if line.micros_half is None and not line.calls_today:
        return notes
    asked = f"{line.calls_today:,} calls today"
    if line.calls_per_block is not None:
        asked += f", {line.calls_per_block} per block"
    took = f"half within {_milliseconds(line.micros_half)}"
    took += f", slowest {_milliseconds(line.micros_max)}"
    return (*notes, f"{asked}; {took}; errors today: {errors or 'none'}")


def _shown(figure: object) -> str:
    return "-" if figure is None else str(figure)


def _milliseconds(micros: int | None) -> str:
    return "-" if micros is None else f"{Decimal(micros) / 1_000:.0f} ms"


def _as_json(line: ProviderLine) -> dict[str, object]:
    def text(figure: Decimal | None) -> str | None:
        return None if figure is None else f"{figure:f}"

    return {
        "network": line.network,
        "provider": line.provider,
        "condition": line.condition,
        "head": line.head,
        "blocks_behind": line.blocks_behind,
        "calls_per_minute": text(line.calls_per_minute),
        "calls_per_block": text(line.calls_per_block),
        "failures_today": dict(line.failures),
        "latency_half_micros": line.micros_half,
        "latency_max_micros": line.micros_max,
        "calls_today": line.calls_today,
        "calls_per_day": line.calls_per_day,
        "usd_per_day": text(line.usd_per_day),
    }
