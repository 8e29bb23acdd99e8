"""Merchants' clients: what they ask of the API, and what they come to know of the answers.

Shapes  A call runs inside the API's process; its client waits outside. The client knows an answer,
        a refusal, or nothing at all: the process died, the database was away, the answer was
        lost, or PATIENCE_SECONDS were over. Bodies and answers are those of evidence.Request.
        Calls go the way of api/: once, Answering and the views, without HTTP around them.
Units   microseconds of virtual time since 1970 in requests.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from starlette.responses import Response

from api.idempotency import REPLAYED, Answering, once
from api.problems import Problem
from api.routing import json_response
from api.views import DELIVERY, ENDPOINT, SESSION
from api.webhook_views import (
    EndpointView,
    NewEndpointView,
    delivery_view,
    endpoint_view,
    new_endpoint_view,
)
from api.wire import canonical
from application.callers import Caller, Claim
from application.ports import Unavailable
from application.sessions import NewSession
from domain.errors import Refusal
from domain.merchant import Endpoint
from domain.payment import PaymentSession
from domain.refund import Refund
from domain.values import Mode, parse_public_id
from simulation import calls, setting
from simulation.answers import answer_of
from simulation.evidence import Json, Request
from simulation.loop import Life
from simulation.processes import Api, Process
from simulation.servers import Servers

PATIENCE_SECONDS = 60
KEY_ID = UUID(int=0x6B)
SCOPES = ("read", "write", "refund")
EPOCH_US = int(setting.BEGINS_AT.timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True)
class Merchant:
    merchant_id: UUID
    mode: Mode
    refund_wallet: str


@dataclass(eq=False, slots=True)
class Asked:
    """A request on its way, and what became of it."""

    request: Request
    merchant: Merchant
    lost: bool
    life: Life | None = None
    done: bool = False


@dataclass(eq=False)
class Clients:
    servers: Servers
    api: Process
    broke: Callable[[str, str], None]  # process, error: a mistake of ours behind the API
    asked: list[Asked] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        return [each.request for each in self.asked]

    def now_us(self) -> int:
        return EPOCH_US + self.servers.loop.now_us

    def ask(
        self,
        what: str,
        merchant: Merchant,
        body: Json,
        *,
        key: str | None = None,
        lost: bool = False,
        repeats: int | None = None,
        delay_seconds: float = 0.0,
    ) -> Asked:
        """With a delay the request comes when the workers are at work too."""
        now_us = self.now_us()
        request = Request(
            number=len(self.asked),
            what=what,
            merchant_id=merchant.merchant_id.hex,
            mode=merchant.mode,
            asked_at_us=now_us,
            answered_at_us=now_us,
            outcome="unknown",
            body=body,
            key=key,
            repeats=repeats,
        )
        asked = Asked(request, merchant, lost)
        self.asked.append(asked)
        if delay_seconds:
            self.servers.loop.call_later(delay_seconds, self._send, asked)
        else:
            self._send(asked)
        return asked

    def repeat(self, earlier: Asked, *, altered: bool, lost: bool, delay_seconds: float) -> Asked:
        body = dict(earlier.request.body)
        if altered:
            body["amount"] = "7.77" if body.get("amount") != "7.77" else "7.78"
        return self.ask(
            earlier.request.what,
            earlier.merchant,
            body,
            key=earlier.request.key,
            lost=lost,
            repeats=earlier.request.number,
            delay_seconds=delay_seconds,
        )

    def _send(self, asked: Asked) -> None:
        process, loop = self.api, self.servers.loop
        asked.request = replace(asked.request, asked_at_us=self.now_us())
        life, api = process.life, process.api
        if life is None or api is None or not life.alive:
            self._finish(asked, replace(asked.request))
            return
        asked.life = life
        life.when_over.append(lambda: self._finish(asked, asked.request))
        loop.spawn(life, self._served(api, asked))
        loop.outside(loop.call_later, PATIENCE_SECONDS, self._finish, asked, asked.request)

    def _finish(self, asked: Asked, known: Request) -> None:
        """The first thing a client comes to know is what it knows."""
        if asked.done:
            return
        asked.done = True
        if asked.lost:
            self.servers.faults.count("client.lost_answer")
            known = asked.request
        asked.request = replace(known, answered_at_us=self.now_us())
        self.servers.trace.add("request", known.number, known.what, known.outcome)

    async def _served(self, api: Api, asked: Asked) -> None:
        request = asked.request
        try:
            response = await _call(api, asked)
        except Refusal as refusal:
            known = replace(request, outcome="refused", code=refusal.code)
        except Problem as problem:
            known = replace(request, outcome="refused", code=problem.code)
        except Unavailable:
            known = request  # 503: whether it happened is for the repeat to find out
        except Exception as error:  # noqa: BLE001 - 500: our mistake
            self.broke("api", f"{type(error).__name__}: {error}")
            known = request
        else:
            text = bytes(response.body).decode()
            answer = answer_of(request.what, json.loads(text)) if text else None
            known = replace(request, outcome="ok", answer=answer, raw=text or None)
        self._finish(asked, known)


# ---------------------------------------------------------------- the routes, without HTTP


async def _call(api: Api, asked: Asked) -> Response:
    request = asked.request
    caller = Caller(
        asked.merchant.merchant_id,
        asked.merchant.mode,
        KEY_ID,
        SCOPES,
        f"req_{request.number}",
    )
    match request.what:
        case "create_session":
            return await _create_session(api, caller, request)
        case "cancel_session":
            session_id = parse_public_id(SESSION, f"{SESSION}_{request.body['session_id']}")
            session = await api.sessions.cancel(session_id, caller)
            return json_response(api.views.session(session).encoded())
        case "refund":
            return await _refund(api, caller, request)
        case "create_endpoint":
            return await _create_endpoint(api, caller, request)
        case "delete_endpoint":
            endpoint_id = parse_public_id(ENDPOINT, f"{ENDPOINT}_{request.body['endpoint_id']}")
            await api.webhooks.delete_endpoint(endpoint_id, caller)
            return Response(status_code=204)
        case "replay":
            delivery_id = parse_public_id(DELIVERY, f"{DELIVERY}_{request.body['delivery_id']}")
            delivery = await api.webhooks.replay(delivery_id, caller)
            return json_response(delivery_view(delivery).encoded())
        case _:
            once_ = partial(_once, api, caller, _claim(request))
            return await calls.call(api, caller, request, _claim(request), once_)


def _claim(request: Request) -> Claim | None:
    if request.key is None:
        return None
    said = canonical({"what": request.what, "body": request.body})
    return Claim(request.key, hashlib.sha256(said).hexdigest())


async def _once(
    api: Api,
    caller: Caller,
    claim: Claim | None,
    work: Callable[[], Awaitable[Response]],
    **how: Any,
) -> Response:
    return await once(api.desk.store, caller, claim, work, **how)


async def _create_session(api: Api, caller: Caller, request: Request) -> Response:
    body, claim = request.body, _claim(request)
    answer = Answering[PaymentSession](201, lambda one: api.views.session(one).encoded())
    new = NewSession(
        amount=body["amount"],
        currency="USD",
        network=body["network"],
        token=body["token"],
        expires_in=body["expires_in"],
        pay_by=body["pay_by"],
    )

    async def work() -> Response:
        return answer.response(await api.sessions.create(new, caller, claim, answer))

    return await _once(api, caller, claim, work)


async def _refund(api: Api, caller: Caller, request: Request) -> Response:
    body, claim = request.body, _claim(request)
    answer = Answering[Refund](201, lambda one: api.views.refund(one).encoded())
    session_id = UUID(hex=body["session_id"])

    async def work() -> Response:
        refund = await api.refunds.request(
            session_id, body["amount"], None, body["to_address"], caller, claim, answer
        )
        return answer.response(refund)

    return await _once(api, caller, claim, work)


async def _create_endpoint(api: Api, caller: Caller, request: Request) -> Response:
    body, claim = request.body, _claim(request)

    def respond(endpoint: Endpoint) -> tuple[int, bytes]:
        return 201, endpoint_view(endpoint).encoded()

    async def work() -> Response:
        endpoint, secret = await api.webhooks.create_endpoint(
            body["url"], tuple(body["event_types"]), caller, claim, respond
        )
        return json_response(new_endpoint_view(endpoint, secret).encoded(), 201)

    response = await _once(api, caller, claim, work, look_first=True)
    if REPLAYED not in response.headers:
        return response
    # Stored answers hold no secret, and the route adds it.
    view = EndpointView.model_validate_json(bytes(response.body))
    secret = await api.webhooks.secret_of(parse_public_id(ENDPOINT, view.id), caller)
    return json_response(NewEndpointView(**dict(view), secret=secret).encoded(), 201)
