"""Twins of the wallets: real derivation, counters in memory."""

from collections import Counter
from functools import lru_cache
from uuid import UUID

from adapters.addresses import ExtendedKey
from domain.values import Mode

KEYS_KEPT_MAX = 256
ADDRESSES_KEPT_MAX = 65_536


@lru_cache(maxsize=KEYS_KEPT_MAX)
def _parsed(extended_public_key: str) -> ExtendedKey:
    return ExtendedKey.parse(extended_public_key)


@lru_cache(maxsize=ADDRESSES_KEPT_MAX)
def _address(extended_public_key: str, index: int) -> str:
    """Derived once: the derivation costs more than all else a twin does."""
    return _parsed(extended_public_key).address(index)


class MemoryDepositAddresses:
    def __init__(self) -> None:
        self._used: Counter[bytes] = Counter()

    async def allocate(
        self, merchant_id: UUID, mode: Mode, extended_public_key: str
    ) -> tuple[int, str]:
        del merchant_id, mode
        key = _parsed(extended_public_key)
        index = self._used[key.identity]
        self._used[key.identity] += 1
        return index, _address(extended_public_key, index)

    def check(self, extended_public_key: str) -> str:
        return _address(extended_public_key, 0)


class MemoryRefundWallets:
    def __init__(self, extended_public_key: str) -> None:
        self._key = extended_public_key
        self._used = 0

    async def allocate(self) -> tuple[int, str]:
        index, self._used = self._used, self._used + 1
        return index, _address(self._key, index)
