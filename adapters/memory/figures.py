"""The figures' twin. `outage` makes every call fail."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from adapters.memory.ingest_store import MemoryIngestStore
from application.figures import Backlog, CallFigures, ProviderState, ReadingFigures
from application.ports import StoreUnavailable


class MemoryFigures:
    def __init__(self, store: MemoryIngestStore) -> None:
        self.outage = False
        self._store = store
        self._calls: dict[tuple[object, ...], CallFigures] = {}
        self._readings: dict[tuple[object, ...], ReadingFigures] = {}
        self._states: dict[tuple[str, str], ProviderState] = {}

    async def add(
        self,
        calls: Sequence[CallFigures],
        readings: Sequence[ReadingFigures],
        states: Sequence[ProviderState],
    ) -> None:
        self._insist_on_service()
        for call in calls:
            key = (call.hour, call.network, call.provider, call.method, call.outcome)
            before = self._calls.get(key)
            self._calls[key] = call if before is None else _both(before, call)
        for reading in readings:
            place = (reading.hour, reading.network)
            known = self._readings.get(place)
            self._readings[place] = reading if known is None else _both_readings(known, reading)
        self._states |= {(state.network, state.provider): state for state in states}

    async def forget(self, before: datetime) -> None:
        self._insist_on_service()
        self._calls = {key: each for key, each in self._calls.items() if each.hour >= before}
        self._readings = {key: one for key, one in self._readings.items() if one.hour >= before}

    async def calls(self, network: str, since: datetime) -> Sequence[CallFigures]:
        self._insist_on_service()
        found = [
            each for each in self._calls.values() if each.network == network and each.hour >= since
        ]
        return sorted(
            found, key=lambda each: (each.hour, each.provider, each.method, each.outcome)
        )

    async def readings(self, network: str, since: datetime) -> Sequence[ReadingFigures]:
        self._insist_on_service()
        found = [
            one for one in self._readings.values() if one.network == network and one.hour >= since
        ]
        return sorted(found, key=lambda one: one.hour)

    async def states(self, network: str) -> Sequence[ProviderState]:
        self._insist_on_service()
        found = [state for state in self._states.values() if state.network == network]
        return sorted(found, key=lambda state: state.provider)

    async def backlog(self, network: str) -> Backlog:
        self._insist_on_service()
        return self._store.backlog(network)

    def _insist_on_service(self) -> None:
        if self.outage:
            raise StoreUnavailable("switched off by a test")


def _both(old: CallFigures, new: CallFigures) -> CallFigures:
    return replace(
        old,
        count=old.count + new.count,
        first_at=min(old.first_at, new.first_at),
        last_at=max(old.last_at, new.last_at),
    )


def _both_readings(old: ReadingFigures, new: ReadingFigures) -> ReadingFigures:
    return replace(
        old,
        count=old.count + new.count,
        first_at=min(old.first_at, new.first_at),
        last_at=max(old.last_at, new.last_at),
    )
