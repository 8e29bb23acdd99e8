"""Transfers over HTTP: what belongs to no session, and what the merchant decides about it."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import Assignment, Decision, TransferRefund, TransfersQuery, id_in
from api.filters import address_in, assets_of
from api.idempotency import Answering, claim_of, once
from api.lookup import transfer_id_of
from api.routing import gateway_router, json_response, needs
from api.services import ApiServices, Gateway, Who
from api.views import SESSION, ListView, OnchainTransferView, RefundView
from application.callers import Caller, Claim
from application.reads import TransferQuery
from domain.refund import Refund
from domain.transfer import OnchainTransfer

router = gateway_router("/v1/transfers", "Transfers")
Answer = Answering[OnchainTransfer]
_FROM = "from_address"


@router.get(
    "",
    responses={200: {"model": ListView[OnchainTransferView]}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def list_transfers(
    query: Annotated[TransfersQuery, Query()], who: Who, gateway: Gateway
) -> Response:
    """What waits for your decision; or all of them. Newest first, a page at a time."""
    wanted = TransferQuery(
        merchant_id=who.merchant_id,
        mode=who.mode,
        limit=query.limit,
        cursor=query.cursor,
        resolution=query.resolution,
        everything=query.show == "all",
        network=query.network,
        assets=(
            assets_of(query.token, who.mode, gateway.networks, served_only=True)
            if query.token
            else None
        ),
        tx_hash=query.tx_hash,
        sender=address_in(_FROM, query.from_address, gateway) if query.from_address else None,
    )
    page = await gateway.inbox_reads.page(wanted)
    listed = ListView[OnchainTransferView](
        data=tuple(gateway.views.onchain_transfer(row.transfer) for row in page.items),
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )
    return json_response(listed.encoded())


@router.get(
    "/{transfer_id}",
    responses={200: {"model": OnchainTransferView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def get_transfer(transfer_id: str, who: Who, gateway: Gateway) -> Response:
    """Whose a transfer is, why, and what was decided about it."""
    transfer = await gateway.inbox.find(transfer_id_of(transfer_id), who)
    return json_response(gateway.views.onchain_transfer(transfer).encoded())


@router.post(
    "/{transfer_id}/accept",
    responses={200: {"model": OnchainTransferView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def accept_transfer(
    transfer_id: str, body: Decision, who: Who, gateway: Gateway, request: Request
) -> Response:
    """Keep the money, for no session."""
    wanted = transfer_id_of(transfer_id)

    async def decide(claim: Claim | None, answer: Answer) -> OnchainTransfer:
        return await gateway.inbox.accept(wanted, body.reason, who, claim, answer)

    return await _decided(gateway, who, request, decide)


@router.post(
    "/{transfer_id}/dismiss",
    responses={200: {"model": OnchainTransferView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def dismiss_transfer(
    transfer_id: str, body: Decision, who: Who, gateway: Gateway, request: Request
) -> Response:
    """It is no customer's money, such as your own: it leaves the inbox and the books."""
    wanted = transfer_id_of(transfer_id)

    async def decide(claim: Claim | None, answer: Answer) -> OnchainTransfer:
        return await gateway.inbox.dismiss(wanted, body.reason, who, claim, answer)

    return await _decided(gateway, who, request, decide)


@router.post(
    "/{transfer_id}/assign",
    responses={200: {"model": OnchainTransferView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def assign_transfer(
    transfer_id: str, body: Assignment, who: Who, gateway: Gateway, request: Request
) -> Response:
    """Credit it to a session of the same network and token, also to one that is closed."""
    wanted = transfer_id_of(transfer_id)
    session_id = id_in("payment_session_id", SESSION, body.payment_session_id)

    async def decide(claim: Claim | None, answer: Answer) -> OnchainTransfer:
        return await gateway.inbox.assign(wanted, session_id, body.reason, who, claim, answer)

    return await _decided(gateway, who, request, decide)


async def _decided(
    gateway: ApiServices,
    who: Caller,
    request: Request,
    decide: Callable[[Claim | None, Answer], Awaitable[OnchainTransfer]],
) -> Response:
    claim = await claim_of(request)
    answer = Answer(200, lambda one: gateway.views.onchain_transfer(one).encoded())

    async def work() -> Response:
        return answer.response(await decide(claim, answer))

    return await once(gateway.handler.store, who, claim, work)


@router.post(
    "/{transfer_id}/refund",
    status_code=201,
    responses={201: {"model": RefundView}},
    response_model=None,
    openapi_extra=needs("refund", idempotency="required"),
)
async def refund_transfer(
    transfer_id: str, body: TransferRefund, who: Who, gateway: Gateway, request: Request
) -> Response:
    """Give all of it back, to where it came from or to another address.

    It is paid from the refund wallet, as every refund is.
    """
    claim = await claim_of(request, required=True)
    wanted = transfer_id_of(transfer_id)
    answer = Answering[Refund](201, lambda one: gateway.views.refund(one).encoded())

    async def work() -> Response:
        refund = await gateway.refunds.request_for_transfer(
            wanted, body.reason, body.to_address, who, claim, answer
        )
        return answer.response(refund)

    return await once(gateway.handler.store, who, claim, work)
