"""Forms that people and scripts send from our own pages: bounded, and from nowhere else.

Shapes  `form_of` gives the fields of an application/x-www-form-urlencoded body.
Errors  FormRefused with the HTTP status: 400 malformed, 403 from another site, 408 too slow,
        413 too large, 415 another media type.
Source  Fetch Metadata: browsers say in Sec-Fetch-Site where a request comes from, and pages
        cannot forge it. Old ones send Origin, which is "null" where a page sends no referrer.
"""

import asyncio
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request

MEDIA_TYPE = "application/x-www-form-urlencoded"
FIELDS_MAX = 4
SECONDS_MAX = 10


class FormRefused(Exception):  # noqa: N818 - named like the refusals it stands beside
    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


async def form_of(request: Request, base_url: str, *, bytes_max: int) -> dict[str, str]:
    if not _from_our_page(request, base_url):
        raise FormRefused(403)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise FormRefused(415)
    try:
        text = (await _bounded(request, bytes_max)).decode("ascii")
        fields = parse_qsl(text, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise FormRefused(400) from error
    return dict(fields)


def _from_our_page(request: Request, base_url: str) -> bool:
    """A request that no browser sent has no origin: it needs none, for it rides on no cookie."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return True
    # Behind a proxy the page's own name is the public one; on this machine, what was typed.
    return urlsplit(origin).netloc in {urlsplit(base_url).netloc, request.headers.get("host")}


async def _bounded(request: Request, bytes_max: int) -> bytes:
    read = bytearray()
    try:
        async with asyncio.timeout(SECONDS_MAX):
            async for chunk in request.stream():
                read += chunk
                if len(read) > bytes_max:
                    raise FormRefused(413)
    except (TimeoutError, ClientDisconnect) as error:
        raise FormRefused(408) from error
    return bytes(read)
