"""The twin of what is remembered of providers' ranges."""

from collections.abc import Mapping
from datetime import datetime


class MemoryProviderRanges:
    def __init__(self) -> None:
        self._widths: dict[str, dict[str, int]] = {}

    async def widths(self, network: str) -> Mapping[str, int]:
        return dict(self._widths.get(network, {}))

    async def keep(self, network: str, widths: Mapping[str, int], at: datetime) -> None:  # noqa: ARG002 - people read it, in the table
        self._widths.setdefault(network, {}).update(widths)
