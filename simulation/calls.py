"""The routes of what merchants set and decide, and of what payers claim, without HTTP.

Shapes  As api/settings.py, api/payment_sessions.py and api/transfers.py; clients.py has the rest.
        A request of a customer is what the checkout page asks: no merchant's key is in it.
"""

from collections.abc import Awaitable, Callable
from uuid import UUID

from starlette.responses import Response

from api.idempotency import Answering
from api.routing import json_response
from application.callers import Caller, Claim
from application.merchant_settings import NewSettings
from domain.merchant import Tolerance
from domain.refund import Refund
from domain.transfer import OnchainTransfer
from simulation.evidence import Request
from simulation.processes import Api
from simulation.wallets import signed

MICROS_PER_CENT = 10_000
Once = Callable[[Callable[[], Awaitable[Response]]], Awaitable[Response]]


async def call(
    api: Api, caller: Caller, request: Request, claim: Claim | None, once: Once
) -> Response:
    match request.what:
        case "set_tolerance":
            return await set_tolerance(api, caller, request)
        case "set_receiving_address":
            return await set_receiving_address(api, caller, request)
        case "prove_payer":
            return await prove_payer(api, _or_customer(caller, request), request)
        case "announce":
            return await announce(api, _or_customer(caller, request), request)
        case "accept" | "dismiss" | "assign":
            return await decide(api, caller, request, claim, once)
        case "refund_transfer":
            return await give_back(api, caller, request, claim, once)
        case _:
            raise AssertionError(f"no client asks for {request.what}")


def _or_customer(caller: Caller, request: Request) -> Caller | None:
    return None if request.body["customer"] else caller


async def set_tolerance(api: Api, caller: Caller, request: Request) -> Response:
    body = request.body
    tolerance = Tolerance(
        absolute_micros=body["cents"] * MICROS_PER_CENT, basis_points=body["basis_points"]
    )
    merchant = await api.settings.change(NewSettings(tolerance=tolerance), caller)
    return json_response(api.views.settings(merchant, caller.mode).encoded())


async def set_receiving_address(api: Api, caller: Caller, request: Request) -> Response:
    new = NewSettings(receiving_address=request.body["address"])
    merchant = await api.settings.change(new, caller)
    return json_response(api.views.settings(merchant, caller.mode).encoded())


async def prove_payer(api: Api, caller: Caller | None, request: Request) -> Response:
    """The words come from the gateway, for the session that the wallet believes to pay."""
    body = request.body
    words = await api.claims.words_for(UUID(hex=body["signed_for"]), caller)
    signature = signed(body["signed_by"], words)
    session = await api.claims.prove_payer(
        UUID(hex=body["session_id"]), body["address"], signature, caller
    )
    return json_response(api.views.session(session).encoded())


async def announce(api: Api, caller: Caller | None, request: Request) -> Response:
    body = request.body
    session = await api.claims.announce(UUID(hex=body["session_id"]), body["tx_hash"], caller)
    return json_response(api.views.session(session).encoded())


async def decide(
    api: Api, caller: Caller, request: Request, claim: Claim | None, once: Once
) -> Response:
    body = request.body
    stream_id, reason = UUID(hex=body["transfer"]), body["reason"]
    answer = Answering[OnchainTransfer](200, lambda one: api.views.onchain_transfer(one).encoded())

    async def work() -> Response:
        match request.what:
            case "accept":
                after = await api.inbox.accept(stream_id, reason, caller, claim, answer)
            case "dismiss":
                after = await api.inbox.dismiss(stream_id, reason, caller, claim, answer)
            case _:
                session_id = UUID(hex=body["session_id"])
                after = await api.inbox.assign(
                    stream_id, session_id, reason, caller, claim, answer
                )
        return answer.response(after)

    return await once(work)


async def give_back(
    api: Api, caller: Caller, request: Request, claim: Claim | None, once: Once
) -> Response:
    body = request.body
    answer = Answering[Refund](201, lambda one: api.views.refund(one).encoded())

    async def work() -> Response:
        refund = await api.refunds.request_for_transfer(
            UUID(hex=body["transfer"]), body["reason"], body["to_address"], caller, claim, answer
        )
        return answer.response(refund)

    return await once(work)
