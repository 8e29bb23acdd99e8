"""Telling us which payment is yours, where customers of a merchant share one wallet.

Shapes  GET /c/{id}/paid is a form for the transaction's hash, POST sends it and leads back to the
        checkout: it works without JavaScript. POST /c/{id}/payers takes a wallet's signature
        from the script, and answers JSON {message}.
Errors  refusals become words for the one who pays; an outage is 503; 429 where too many signatures
        of contract wallets were checked, for each costs questions on chain. What the forms do anybody
        may do who has the link: it rides on no cookie, and a session takes few claims.
"""

import re
from collections.abc import Callable
from math import ceil

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from application.claims import Claims
from application.ports import AskedTooOften, Unavailable
from domain.errors import (
    ClaimNotNeeded,
    Refusal,
    SessionNotOpen,
    SessionUnknown,
    TooManyClaims,
    TransactionHashMalformed,
)
from domain.values import parse_public_id
from web.checkout import Checkout
from web.forms import FormRefused, form_of
from web.loading import Loader
from web.services import WebServices

HASH_FORM_BYTES_MAX = 2_048
SIGNATURE_FORM_BYTES_MAX = 16 * 1024
RETRY_AFTER_SECONDS = 5
_HASH = re.compile(r"(?<![0-9a-fA-Fx])0x[0-9a-fA-F]{64}(?![0-9a-fA-F])")
_NOT_NOW = "We cannot check this right now. Please try again in a moment."
Page = Callable[..., HTMLResponse]


class Claiming:
    def __init__(self, services: WebServices, loader: Loader, page: Page) -> None:
        self._claims: Claims = services.claims
        self._base = services.public_base_url
        self._loader = loader
        self._page = page

    async def paid_form(self, session_id: str) -> Response:
        try:
            found = await self._loader.load(session_id)
        except Unavailable:
            return self._unavailable()
        if found is None:
            return self._page("not_found.html", status=404)
        if found.claiming is None:
            return _back(session_id)
        return self._paid_page(found)

    async def paid(self, session_id: str, request: Request) -> Response:
        """A hash, or an explorer's page about it, pasted by the one who paid."""
        try:
            form = await form_of(request, self._base, bytes_max=HASH_FORM_BYTES_MAX)
        except FormRefused as refused:
            return Response(status_code=refused.status)
        text = form.get("tx_hash", "").strip()
        try:
            found = await self._loader.load(session_id)
            if found is None:
                return self._page("not_found.html", status=404)
            problem = await self._announced(session_id, text, found.merchant)
        except Unavailable:
            return self._unavailable()
        if problem is not None:
            return self._paid_page(found, problem=problem, text=text)
        return _back(session_id)

    async def _announced(self, session_id: str, text: str, merchant: str) -> str | None:
        """What was wrong with it, if anything was."""
        hashes = set(_HASH.findall(text))
        try:
            tx_hash = hashes.pop() if len(hashes) == 1 else ""
            await self._claims.announce(parse_public_id("ps", session_id), tx_hash)
        except Refusal as refusal:
            return _said(refusal, merchant)
        return None

    async def payers(self, session_id: str, request: Request) -> Response:
        try:
            form = await form_of(request, self._base, bytes_max=SIGNATURE_FORM_BYTES_MAX)
        except FormRefused as refused:
            return _json(refused.status, _NOT_NOW)
        address, signature = form.get("address", ""), form.get("signature", "")
        try:
            wanted = parse_public_id("ps", session_id)
            await self._claims.prove_payer(wanted, address, signature)
        except AskedTooOften as often:
            return _often(often.retry_after_seconds)
        except Unavailable:
            return _json(503, _NOT_NOW)
        except Refusal as refusal:
            unknown = isinstance(refusal, SessionUnknown)
            return _json(404 if unknown else 422, _said(refusal, "the merchant"))
        return _json(200, "Your wallet has signed.")

    def _paid_page(
        self, found: Checkout, *, problem: str | None = None, text: str = ""
    ) -> HTMLResponse:
        return self._page(
            "paid.html",
            status=200 if problem is None else 422,
            forms=True,
            checkout=found,
            problem=problem,
            text=text,
        )

    def _unavailable(self) -> Response:
        response = self._page("unavailable.html", status=503)
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response


def _back(session_id: str) -> Response:
    return RedirectResponse(f"/c/{session_id}", 303)


def _json(status: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, status)


def _often(seconds: int) -> JSONResponse:
    minutes = ceil(seconds / 60)
    wait = "a minute" if minutes == 1 else f"{minutes} minutes"
    response = _json(
        429,
        f"Too many signatures were checked for this payment. Please try again in {wait}, or tell "
        "us the transaction once you have paid.",
    )
    response.headers["Retry-After"] = str(seconds)
    return response


def _said(refusal: Refusal, merchant: str) -> str:
    """The refusal in words for the one who pays."""
    words: dict[type[Refusal], str] = {
        TransactionHashMalformed: "A transaction hash is 0x and 64 letters and digits. "
        "Your wallet shows it in its history.",
        SessionNotOpen: f"This payment is closed. Please ask {merchant}.",
        SessionUnknown: "We cannot find this payment.",
        TooManyClaims: f"Too much has been named for this payment already. Please ask {merchant}.",
        ClaimNotNeeded: "This payment has an address of its own: paying to it is enough.",
    }
    fallback = "This signature does not fit the payment. Sign with the wallet you pay from."
    return words.get(type(refusal), fallback)
