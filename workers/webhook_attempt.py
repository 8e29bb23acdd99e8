"""One attempt of one webhook delivery, from its stream and back to it.

Shapes  The attempt happens outside any transaction, then it is recorded. Whoever dies between
        the two has delivered without a trace: the attempt is made again when the lease is over
        (at least once). Attempts recorded by somebody else in the meantime count once: a
        failure is recorded only where the stream has not moved on, a success wherever the
        delivery is still due.
Units   an endpoint that failed every attempt of FAILING_SECONDS_MAX is disabled; a pause of
        QUIET_SECONDS without any attempt starts the count anew.
Errors  Unavailable: nothing is recorded, the delivery stays due.
"""

from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from application.deciders import DELIVERY, MERCHANT
from application.handling import Handler, UnitOfWork
from application.outside import Attempted, EndpointHealth, WebhookPoster
from application.ports import Clock, Context, SecretUnknown, Unavailable, Vault
from application.reads import DeliveryQueue
from domain import commands as c
from domain.delivery import WebhookDelivery
from domain.merchant import Endpoint, Merchant

T = TypeVar("T")

log = structlog.get_logger(__name__)

RECORD_TRIES_MAX = 6
RECORD_PAUSE_SECONDS = 0.5
SECRETS_KEPT_MAX = 1_000
FAILING_SECONDS_MAX = 5 * 86_400
QUIET_SECONDS = 86_400
FAILING_ATTEMPTS_MIN = 20
HEALTHY_KEPT_SECONDS = 3_600
MERCHANT_KEPT_SECONDS = 1  # how long a deleted endpoint may still get what is due
MERCHANTS_KEPT_MAX = 1_000
HEALTHY_KEPT_MAX = 10_000

ENDPOINT_GONE = "the endpoint is disabled or deleted"
SECRET_GONE = "the endpoint's secret cannot be read"  # noqa: S105 - not one
GONE_STATUS = 410


class Attempts:
    """Makes and records attempts for the webhook worker."""

    def __init__(
        self,
        handler: Handler,
        poster: WebhookPoster,
        vault: Vault,
        queue: DeliveryQueue,
        health: EndpointHealth,
        clock: Clock,
    ) -> None:
        self._handler = handler
        self._poster = poster
        self._vault = vault
        self._queue = queue
        self._health = health
        self._clock = clock
        self._secrets: dict[UUID, bytes] = {}  # a secret's id never gets another secret
        self._merchants: dict[UUID, tuple[datetime, Merchant | None]] = {}
        self._healthy: dict[UUID, float] = {}  # endpoint, until when we need not say so again

    async def due(self, delivery_id: UUID) -> WebhookDelivery | None:
        """The delivery if it is due by its own stream: the claim's view of it may be old."""
        delivery = await self._handler.load(DELIVERY, delivery_id)
        if delivery is None or delivery.status != "due":
            return None
        at = delivery.next_attempt_at
        return delivery if at is not None and at <= self._clock.now() else None

    async def make(self, delivery: WebhookDelivery) -> Attempted:
        """Attempt, record, keep the answer. Gives what came back."""
        attempted = await self._posted(delivery)
        recorded = await self._recorded(delivery, attempted)
        if recorded is not None and recorded.attempts > delivery.attempts:
            await self._keep(recorded, attempted)
        await self._judge(delivery, attempted)
        return attempted

    async def _posted(self, delivery: WebhookDelivery) -> Attempted:
        merchant = await self._merchant(delivery.merchant_id)
        endpoint = merchant.endpoints.get(delivery.endpoint_id) if merchant else None
        if endpoint is None or not endpoint.enabled:
            return _not_made(ENDPOINT_GONE)
        try:
            secret = await self._secret(endpoint)
        except SecretUnknown:
            log.exception("webhook_secret_missing", endpoint_id=str(endpoint.endpoint_id))
            return _not_made(SECRET_GONE)
        return await self._poster.post(
            url=endpoint.url,
            secrets=(secret,),
            message_id=delivery.message_id,
            body=delivery.body.encode(),
        )

    async def _merchant(self, merchant_id: UUID) -> Merchant | None:
        now = self._clock.now()
        known = self._merchants.get(merchant_id)
        if known is not None and now - known[0] < timedelta(seconds=MERCHANT_KEPT_SECONDS):
            return known[1]
        merchant = await self._handler.load(MERCHANT, merchant_id)
        _make_room(self._merchants, MERCHANTS_KEPT_MAX)
        self._merchants[merchant_id] = now, merchant
        return merchant

    async def _secret(self, endpoint: Endpoint) -> bytes:
        secret = self._secrets.get(endpoint.secret_id)
        if secret is None:
            secret = await self._vault.get_secret(endpoint.secret_id)
            _make_room(self._secrets, SECRETS_KEPT_MAX)
            self._secrets[endpoint.secret_id] = secret
        return secret

    async def _recorded(
        self, delivery: WebhookDelivery, attempted: Attempted
    ) -> WebhookDelivery | None:
        """Record, through an outage of some seconds: what was sent cannot be unsent."""
        tries = 0
        while True:
            try:
                return await self._record(delivery, attempted)
            except Unavailable:
                tries += 1
                if tries >= RECORD_TRIES_MAX:
                    raise
            await self._clock.sleep(RECORD_PAUSE_SECONDS)

    async def _record(
        self, delivery: WebhookDelivery, attempted: Attempted
    ) -> WebhookDelivery | None:
        async def work(unit: UnitOfWork) -> WebhookDelivery | None:
            current = await unit.load(DELIVERY, delivery.delivery_id)
            assert current is not None
            if attempted.error is not None and current.attempts != delivery.attempts:
                return None  # recorded before, by us or by who took over after our lease
            command = c.RecordAttempt(
                at=unit.now,
                status_code=attempted.status_code,
                latency_ms=attempted.latency_ms,
                error=attempted.error,
                retry_after_seconds=attempted.retry_after_seconds,
            )
            after = await unit.decide(DELIVERY, delivery.delivery_id, command)
            if attempted.status_code == GONE_STATUS:
                await _disable(unit, delivery, "the receiver answered 410 Gone")
            return after

        return await self._handler.execute(_context(delivery), work)

    async def _keep(self, recorded: WebhookDelivery, attempted: Attempted) -> None:
        """The answer is for the delivery log only: without it the attempt still counts."""
        if not attempted.response_excerpt:
            return
        try:
            await self._queue.keep_response(
                recorded.delivery_id, recorded.attempts, attempted.response_excerpt
            )
        except Unavailable as outage:
            log.warning("webhook_answer_lost", service=outage.service, reason=outage.reason)

    async def _judge(self, delivery: WebhookDelivery, attempted: Attempted) -> None:
        """Disable an endpoint that has failed for days; nothing is lost if we cannot say now."""
        endpoint_id, now = delivery.endpoint_id, self._clock.now()
        try:
            if attempted.error is None:
                await self._succeeded(endpoint_id, now.timestamp())
                return
            self._healthy.pop(endpoint_id, None)
            failing = await self._health.failed(endpoint_id, now, quiet_seconds=QUIET_SECONDS)
            long_enough = now - failing.since >= timedelta(seconds=FAILING_SECONDS_MAX)
            if long_enough and failing.attempts >= FAILING_ATTEMPTS_MIN:
                await self._give_up_on(delivery)
        except Unavailable as outage:
            log.warning("endpoint_not_judged", service=outage.service, reason=outage.reason)

    async def _succeeded(self, endpoint_id: UUID, now: float) -> None:
        """Reset the count; once an hour is enough for an endpoint we have not seen failing."""
        if self._healthy.get(endpoint_id, 0.0) > now:
            return
        await self._health.succeeded(endpoint_id)
        _make_room(self._healthy, HEALTHY_KEPT_MAX)
        self._healthy[endpoint_id] = now + HEALTHY_KEPT_SECONDS

    async def _give_up_on(self, delivery: WebhookDelivery) -> None:
        async def work(unit: UnitOfWork) -> None:
            await _disable(unit, delivery, "every attempt of five days failed")

        await self._handler.execute(_context(delivery), work)
        log.warning("webhook_endpoint_disabled", endpoint_id=str(delivery.endpoint_id))


def _make_room(kept: dict[UUID, T], size_max: int) -> None:
    """Forget the oldest entry of a full cache."""
    if len(kept) >= size_max:
        kept.pop(next(iter(kept)))


async def _disable(unit: UnitOfWork, delivery: WebhookDelivery, reason: str) -> None:
    command = c.DisableEndpoint(at=unit.now, endpoint_id=delivery.endpoint_id, reason=reason)
    await unit.decide(MERCHANT, delivery.merchant_id, command)


def _context(delivery: WebhookDelivery) -> Context:
    return Context(
        actor="system",
        merchant_id=delivery.merchant_id,
        mode=delivery.mode,
        correlation_id=delivery.message_id,
    )


def _not_made(error: str) -> Attempted:
    return Attempted(
        status_code=None,
        latency_ms=0,
        error=error,
        response_excerpt=b"",
        retry_after_seconds=None,
    )
