"""Who asks, and under which idempotency key."""

from dataclasses import dataclass
from uuid import UUID

from application.ports import Context
from domain.values import Mode


@dataclass(frozen=True, slots=True)
class Caller:
    """A merchant's API key at work, or the operator acting for the merchant."""

    merchant_id: UUID
    mode: Mode
    key_id: UUID
    scopes: tuple[str, ...]
    request_id: str
    acting: str | None = None  # who, where it is no API key

    @property
    def actor(self) -> str:
        return self.acting or f"api_key:{self.key_id.hex}"

    def context(self) -> Context:
        return Context(
            actor=self.actor,
            merchant_id=self.merchant_id,
            mode=self.mode,
            correlation_id=self.request_id,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """An Idempotency-Key, with the fingerprint of the request it came with."""

    key: str
    fingerprint: str
