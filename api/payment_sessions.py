"""Payment sessions over HTTP: create, read, list, cancel, and the history with its reasons."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import (
    NewAnnouncement,
    NewPayer,
    NewPaymentSession,
    SessionsQuery,
    TimelineQuery,
)
from api.filters import session_query
from api.history_views import HistoryView, fact_view
from api.idempotency import Answering, claim_of, once
from api.lookup import find_session, head_for, pending_of, session_id_of
from api.routing import gateway_router, json_response, needs
from api.services import ApiServices, Gateway, Who
from api.views import ListView, PayerWordsView, SessionView
from domain.payment import PaymentSession

router = gateway_router("/v1/payment-sessions", "Payment sessions")


@router.post(
    "",
    status_code=201,
    responses={201: {"model": SessionView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def create_payment_session(
    body: NewPaymentSession, who: Who, gateway: Gateway, request: Request
) -> Response:
    """Open a session. Send the customer to its `checkout_url`, or show `payment` yourself."""
    claim = await claim_of(request)
    answer = Answering[PaymentSession](201, lambda one: gateway.views.session(one).encoded())

    async def work() -> Response:
        new = body.asked(who.mode)
        return answer.response(await gateway.sessions.create(new, who, claim, answer))

    return await once(gateway.handler.store, who, claim, work)


@router.get(
    "",
    responses={200: {"model": ListView[SessionView]}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def list_payment_sessions(
    query: Annotated[SessionsQuery, Query()], who: Who, gateway: Gateway
) -> Response:
    """Newest first, a page at a time; everything asked for must be so.

    A page may hold fewer than `limit`, even none, while `has_more` is true: a page looks at a
    bounded number of sessions. Go on with `next_cursor` until it is null.
    """
    page = await gateway.session_reads.page(session_query(query, who, gateway))
    sessions = [row.session for row in page.items]
    heads = await _heads(gateway, sessions)
    pending = await pending_of(gateway, *(one.network for one in sessions))
    listed = ListView[SessionView](
        data=tuple(
            gateway.views.session(one, heads.get(one.network), pending=one.network in pending)
            for one in sessions
        ),
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )
    return json_response(listed.encoded())


async def _heads(gateway: ApiServices, sessions: list[PaymentSession]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for session in sessions:
        if session.network not in found:
            head = await head_for(gateway, session)
            if head is not None:
                found[session.network] = head
    return found


@router.get(
    "/{session_id}",
    responses={200: {"model": SessionView}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def get_payment_session(session_id: str, who: Who, gateway: Gateway) -> Response:
    """Where a session stands now."""
    session = await find_session(gateway, who, session_id)
    head = await head_for(gateway, session)
    pending = bool(await pending_of(gateway, session.network))
    return json_response(gateway.views.session(session, head, pending=pending).encoded())


@router.post(
    "/{session_id}/cancel",
    responses={200: {"model": SessionView}},
    response_model=None,
    openapi_extra=needs("write"),
)
async def cancel_payment_session(session_id: str, who: Who, gateway: Gateway) -> Response:
    """Close a session nobody has paid to. A second time changes nothing."""
    session = await gateway.sessions.cancel(session_id_of(session_id), who)
    return json_response(gateway.views.session(session).encoded())


@router.get(
    "/{session_id}/events",
    responses={200: {"model": HistoryView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def list_payment_session_events(
    session_id: str, query: Annotated[TimelineQuery, Query()], who: Who, gateway: Gateway
) -> Response:
    """Every fact of a session, oldest first: what happened, when, by whom, under which policy."""
    facts = await gateway.sessions.history(session_id_of(session_id), who)
    later = [fact for fact in facts if fact.version > query.after]
    shown = later[: query.limit]
    history = HistoryView(
        data=tuple(fact_view(fact) for fact in shown), has_more=len(later) > len(shown)
    )
    return json_response(history.encoded())


@router.get(
    "/{session_id}/payer-words",
    responses={200: {"model": PayerWordsView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def get_payer_words(session_id: str, who: Who, gateway: Gateway) -> Response:
    """What the payer's wallet signs to prove that its payment is for this session.

    They are the same for ever, and prove nothing for another session.
    """
    wanted = session_id_of(session_id)
    words = await gateway.claims.words_for(wanted, who)
    return json_response(gateway.views.words(wanted, words).encoded())


@router.post(
    "/{session_id}/payers",
    responses={200: {"model": SessionView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def add_payment_session_payer(
    session_id: str, body: NewPayer, who: Who, gateway: Gateway, request: Request
) -> Response:
    """What this wallet sends to your receiving address is for this session.

    Signed by a key (EIP-191 or EIP-712), or by a contract wallet (EIP-1271). What has arrived
    already and waits is credited now. A second time changes nothing.
    """
    wanted = session_id_of(session_id)
    key = await claim_of(request)
    answer = _claimed(gateway)

    async def work() -> Response:
        proven = await gateway.claims.prove_payer(
            wanted, body.address, body.signature, who, key, answer
        )
        return answer.response(proven)

    # A signature may cost a question on chain, so a repeat is found before it is looked at.
    return await once(gateway.handler.store, who, key, work, look_first=True)


@router.post(
    "/{session_id}/transactions",
    responses={200: {"model": SessionView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def announce_payment_session_transaction(
    session_id: str, body: NewAnnouncement, who: Who, gateway: Gateway, request: Request
) -> Response:
    """This transaction to your receiving address pays this session.

    It is credited if it is younger than the session, pays just what is missing, and nobody says
    the same for another session; else it waits for you. A second time changes nothing.
    """
    wanted = session_id_of(session_id)
    key = await claim_of(request)
    answer = _claimed(gateway)

    async def work() -> Response:
        return answer.response(
            await gateway.claims.announce(wanted, body.tx_hash, who, key, answer)
        )

    return await once(gateway.handler.store, who, key, work)


def _claimed(gateway: ApiServices) -> Answering[PaymentSession]:
    return Answering(200, lambda one: gateway.views.session(one).encoded())
