"""Twins of the wallets: real derivation, counters in memory."""

from collections import Counter
from uuid import UUID

from adapters.addresses import ExtendedKey
from domain.values import Mode


class MemoryDepositAddresses:
    def __init__(self) -> None:
        self._used: Counter[bytes] = Counter()

    async def allocate(
        self, merchant_id: UUID, mode: Mode, extended_public_key: str
    ) -> tuple[int, str]:
        del merchant_id, mode
        key = ExtendedKey.parse(extended_public_key)
        index = self._used[key.identity]
        self._used[key.identity] += 1
        return index, key.address(index)

    def check(self, extended_public_key: str) -> str:
        return ExtendedKey.parse(extended_public_key).address(0)


class MemoryRefundWallets:
    def __init__(self, extended_public_key: str) -> None:
        self._key = ExtendedKey.parse(extended_public_key)
        self._used = 0

    async def allocate(self) -> tuple[int, str]:
        index, self._used = self._used, self._used + 1
        return index, self._key.address(index)
