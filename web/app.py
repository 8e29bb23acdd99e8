"""Pages for people: the hosted checkout and a small front page.

Shapes  `create_web` gives a router that gateway/bootstrap.py includes in the application.
        Pages are rendered here and readable without JavaScript; the script only keeps them
        fresh. No inline script or style, nothing from elsewhere: a strict policy says so.
        Where customers share the merchant's wallet, web/claiming.py lets them say what is theirs.
Errors  an unknown session is a friendly 404 page, an outage a 503 page that tries again.
"""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from application.ports import Unavailable
from web.assets import PREFIX, Assets
from web.checkout import Checkout
from web.claiming import Claiming
from web.live import STREAMS_MAX, LiveResponse, Streams, Wakeups
from web.loading import Loader
from web.services import WebServices

_FOLDER = Path(__file__).parent / "templates"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Where a form is; and with a referrer at home, so that its origin is said and not "null".
_FORM_POLICY = _POLICY.replace("form-action 'none'", "form-action 'self'")
_FORM_HEADERS = {"Content-Security-Policy": _FORM_POLICY, "Referrer-Policy": "same-origin"}
_PAGE_METHODS = ["GET", "HEAD"]
REFRESH_SECONDS = 5


class Pages:
    def __init__(self, services: WebServices, *, streams_max: int = STREAMS_MAX) -> None:
        self.assets = Assets()
        self._base = services.public_base_url
        self.stopping = services.stopping
        self._loader = Loader(services)
        self.wakeups = Wakeups(services.hints)
        self._streams = Streams(
            self._loader, self.wakeups, services.stopping, streams_max=streams_max
        )
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["asset"] = self.assets.url
        self._templates.globals["refresh_seconds"] = REFRESH_SECONDS
        self.claiming = Claiming(services, self._loader, self._page)

    async def landing(self) -> Response:
        return self._page("landing.html", base=self._base)

    async def checkout(self, session_id: str) -> Response:
        try:
            found = await self._loader.load(session_id)
        except Unavailable:
            response = self._page("unavailable.html", status=503)
            response.headers["Retry-After"] = str(REFRESH_SECONDS)
            return response
        if found is None:
            return self._page("not_found.html", status=404)
        return self._page("checkout.html", checkout=found)

    async def live(self, session_id: str) -> Response:
        try:
            found = await self._loader.load(session_id)
        except Unavailable:
            return _later()
        if found is None:
            return Response(status_code=404)
        if self._streams.full:
            return _later()
        return LiveResponse(self._streams, self._streams.follow(session_id, self._panel))

    async def asset(self, name: str) -> Response:
        return self.assets.response(name)

    def _panel(self, checkout: Checkout) -> str:
        return self._templates.get_template("_panel.html").render(checkout=checkout)

    def _page(
        self, template: str, *, status: int = 200, forms: bool = False, **values: Any
    ) -> HTMLResponse:
        html = self._templates.get_template(template).render(**values)
        headers = _FORM_HEADERS if forms else {"Content-Security-Policy": _POLICY}
        return HTMLResponse(html, status, headers=headers)


def _later() -> Response:
    return Response(status_code=503, headers={"Retry-After": str(REFRESH_SECONDS)})


def create_web(services: WebServices) -> APIRouter:
    """The router, to be included in the application that runs it."""
    return router_of(Pages(services))


def router_of(pages: Pages) -> APIRouter:
    router = APIRouter(include_in_schema=False, on_shutdown=[pages.wakeups.close])
    router.add_api_route("/", pages.landing, methods=_PAGE_METHODS, response_model=None)
    router.add_api_route(
        "/c/{session_id}", pages.checkout, methods=_PAGE_METHODS, response_model=None
    )
    paid = "/c/{session_id}/paid"
    router.add_api_route(
        paid, pages.claiming.paid_form, methods=_PAGE_METHODS, response_model=None
    )
    router.add_api_route(paid, pages.claiming.paid, methods=["POST"], response_model=None)
    router.add_api_route(
        "/c/{session_id}/payers", pages.claiming.payers, methods=["POST"], response_model=None
    )
    router.add_api_route("/c/{session_id}/live", pages.live, response_model=None)
    router.add_api_route(PREFIX + "{name}", pages.asset, response_model=None)
    return router
