"""Webhook endpoints and deliveries as merchants manage them.

Shapes  a secret is "whsec_" and the standard base64 of 32 random bytes; it lives in the vault
        and only its id is in the log.
Errors  EndpointUrlRefused, EventTypeUnknown, EndpointUnknown, DeliveryUnknown.
"""

import base64
from collections.abc import Callable
from uuid import UUID

from application.callers import Caller, Claim
from application.deciders import DELIVERY, MERCHANT
from application.handling import Answer, Handler, UnitOfWork
from application.outside import WebhookPoster
from application.ports import Ids, Vault
from domain import commands as c
from domain.delivery import WebhookDelivery
from domain.errors import DeliveryUnknown, EndpointUnknown
from domain.merchant import Endpoint

SECRET_BYTES = 32


class Webhooks:
    def __init__(self, handler: Handler, vault: Vault, poster: WebhookPoster, ids: Ids) -> None:
        self._handler = handler
        self._vault = vault
        self._poster = poster
        self._ids = ids

    async def create_endpoint(
        self,
        url: str,
        event_types: tuple[str, ...],
        caller: Caller,
        claim: Claim | None,
        respond: Callable[[Endpoint], Answer],
    ) -> tuple[Endpoint, str]:
        """The endpoint and its secret. `respond` never sees the secret: answers are stored."""
        await self._poster.check_url(url)
        endpoint_id, secret_id = self._ids.new(), self._ids.new()
        secret = "whsec_" + base64.b64encode(self._ids.secret(SECRET_BYTES)).decode()
        await self._vault.put_secret(secret_id, secret.encode())

        async def work(unit: UnitOfWork) -> Endpoint:
            command = c.CreateEndpoint(
                at=unit.now,
                endpoint_id=endpoint_id,
                mode=caller.mode,
                url=url,
                event_types=event_types,
                secret_id=secret_id,
            )
            merchant = await unit.decide(MERCHANT, caller.merchant_id, command)
            assert merchant is not None
            return merchant.endpoints[endpoint_id]

        endpoint = await self._handler.execute(
            caller.context(), work, claim=claim, respond=respond
        )
        return endpoint, secret

    async def secret_of(self, endpoint_id: UUID, caller: Caller) -> str:
        """The secret again, for the repeat of a creation whose answer was lost."""
        endpoint = await self._endpoint(endpoint_id, caller)
        return (await self._vault.get_secret(endpoint.secret_id)).decode()

    async def list_endpoints(self, caller: Caller) -> tuple[Endpoint, ...]:
        merchant = await self._handler.load(MERCHANT, caller.merchant_id)
        endpoints = merchant.endpoints.values() if merchant else ()
        return tuple(endpoint for endpoint in endpoints if endpoint.mode == caller.mode)

    async def delete_endpoint(self, endpoint_id: UUID, caller: Caller) -> None:
        await self._endpoint(endpoint_id, caller)

        async def work(unit: UnitOfWork) -> None:
            command = c.DeleteEndpoint(at=unit.now, endpoint_id=endpoint_id)
            await unit.decide(MERCHANT, caller.merchant_id, command)

        await self._handler.execute(caller.context(), work)

    async def replay(self, delivery_id: UUID, caller: Caller) -> WebhookDelivery:
        """Another round of attempts for one delivery; nothing when it is due anyway."""

        async def work(unit: UnitOfWork) -> WebhookDelivery:
            known = await unit.load(DELIVERY, delivery_id)
            _owned(known, caller)
            delivery = await unit.decide(DELIVERY, delivery_id, c.ReplayDelivery(at=unit.now))
            return _owned(delivery, caller)

        return await self._handler.execute(caller.context(), work)

    async def _endpoint(self, endpoint_id: UUID, caller: Caller) -> Endpoint:
        for endpoint in await self.list_endpoints(caller):
            if endpoint.endpoint_id == endpoint_id:
                return endpoint
        raise EndpointUnknown("there is no such webhook endpoint")


def _owned(delivery: WebhookDelivery | None, caller: Caller) -> WebhookDelivery:
    mine = (caller.merchant_id, caller.mode)
    if delivery is None or (delivery.merchant_id, delivery.mode) != mine:
        raise DeliveryUnknown("there is no such webhook delivery")
    return delivery
