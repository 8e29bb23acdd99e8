"""The gateway's own REST API, as a merchant's program would call it."""

from typing import Any, Self

import aiohttp

from gateway.failures import GatewayError

CALL_SECONDS_MAX = 15.0


class ApiFailed(GatewayError):  # noqa: N818 - named for what happened
    """The API answered with a problem."""


class ApiClient:
    """Calls with one API key. Use as an async context manager."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._base = base_url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS_MAX)
        # A connection a call: one that was kept may be closed by the other side in that moment.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=timeout,
            headers=self._headers,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: dict[str, Any], *, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        return await self._call("POST", path, json=body, headers=headers)

    async def get(self, path: str) -> Any:
        return await self._call("GET", path)

    async def ready(self) -> bool:
        """Whether the API and everything it needs answer."""
        try:
            answer = await self.get("/readyz")
        except GatewayError:
            return False
        return bool(answer["status"] == "ready")

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        assert self._session is not None, "use it as a context manager"
        try:
            async with self._session.request(method, self._base + path, **options) as response:
                body = await response.json(content_type=None)
                if response.status >= 400:
                    raise ApiFailed(f"{method} {path} answered {response.status}: {_said(body)}")
                return body
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GatewayError(
                f"the API at {self._base} does not answer ({type(error).__name__})"
            ) from error


def _said(body: Any) -> str:
    if isinstance(body, dict):
        error = body.get("error")
        if isinstance(error, dict):
            return str(error.get("message"))
    return str(body)[:200]
