"""Where webhooks are never posted to, whatever a merchant writes as a URL."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import ResolveResult

from adapters import http_delivery
from adapters.clock import SystemClock
from adapters.http_delivery import HttpPoster
from adapters.public_addresses import may_post_to
from application.outside import Attempted
from domain.errors import EndpointUrlRefused

SECRET = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY = b"{}"

PRIVATE = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a00:1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
)
ODD_FORMS = (
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://0/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127.0.0.1:8443/",
    "https://localhost.localdomain/",
)
REFUSED_URLS = (
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com@10.0.0.1/",
    "https://@example.com/",
    "https://example.com:22/",
    "https://example.com:6379/",
    "https://example.com:99999/",
    "https:///path",
    "https://",
    "//example.com/",
    "example.com",
    "",
    "https://exa mple.com/",
    "https://example.com/\r\nHost: other",
    "https://example.com\\@10.0.0.1/",
    "https://[::1",
    "https://example.com/" + "a" * 2_048,
)


@pytest.fixture
async def poster() -> AsyncIterator[HttpPoster]:
    made = HttpPoster(allow_private=True, clock=SystemClock(), timeout_seconds=1.0)
    yield made
    await made.close()


@pytest.fixture
async def strict() -> AsyncIterator[HttpPoster]:
    made = HttpPoster(allow_private=False, clock=SystemClock(), timeout_seconds=2.0)
    yield made
    await made.close()


async def post(poster: HttpPoster, url: str) -> Attempted:
    return await poster.post(url=url, secrets=(SECRET,), message_id="evt_1", body=BODY)


class Connects:
    """Every address the loop is asked to connect to; none is reached."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def connect(self, _: socket.socket, address: tuple[str, int]) -> None:
        self.addresses.append(address[0])
        raise ConnectionRefusedError


@pytest.fixture
async def connects(monkeypatch: pytest.MonkeyPatch) -> Connects:
    made = Connects()
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", made.connect)
    return made


def literal(address: str) -> str:
    return f"https://[{address}]/" if ":" in address else f"https://{address}/"


async def test_a_public_address_is_connected_to(strict: HttpPoster, connects: Connects) -> None:
    """So that the tests below can fail: the way to a connect is open."""
    for address in ("8.8.8.8", "2606:4700::1111"):
        await post(strict, literal(address))
    assert connects.addresses == ["8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("address", PRIVATE)
async def test_no_attempt_connects_to_a_private_address(
    strict: HttpPoster, connects: Connects, address: str
) -> None:
    attempted = await post(strict, literal(address))
    assert connects.addresses == []
    assert attempted.error in {"could not connect", "url refused"}
    assert not may_post_to(address, allow_private=False)
    with pytest.raises(EndpointUrlRefused):
        await strict.check_url(literal(address))


@pytest.mark.parametrize("url", ODD_FORMS)
async def test_no_odd_form_of_a_private_address_gets_through(
    strict: HttpPoster, connects: Connects, url: str
) -> None:
    attempted = await post(strict, url)
    assert connects.addresses == []
    assert attempted.error in {"could not connect", "url refused"}
    with pytest.raises(EndpointUrlRefused):
        await strict.check_url(url)


@pytest.mark.parametrize("url", REFUSED_URLS, ids=lambda url: url[:40])
async def test_urls_we_would_never_post_to_are_refused(
    strict: HttpPoster, connects: Connects, url: str
) -> None:
    with pytest.raises(EndpointUrlRefused):
        await strict.check_url(url)
    assert (await post(strict, url)).error == "url refused"
    assert connects.addresses == []


class ChangingNames:
    """A name server that gives another answer every time it is asked."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers = iter(answers)

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=6, flags=0
            )
            for address in next(self._answers)
        ]

    async def close(self) -> None:
        pass


async def test_a_name_that_changes_its_mind_is_refused_at_the_socket(
    connects: Connects, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ChangingNames(("8.8.8.8",), ("127.0.0.1",))
    monkeypatch.setattr(http_delivery, "NameLookup", lambda: names)
    poster = HttpPoster(allow_private=False, clock=SystemClock())
    await poster.check_url("https://rebinding.example/")
    attempted = await post(poster, "https://rebinding.example/")
    await poster.close()
    assert (attempted.error, connects.addresses) == ("could not connect", [])


async def test_one_private_answer_among_public_ones_refuses_the_registration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ChangingNames(("8.8.8.8", "10.0.0.7"), ())
    monkeypatch.setattr(http_delivery, "NameLookup", lambda: names)
    poster = HttpPoster(allow_private=False, clock=SystemClock())
    for url in ("https://mixed.example/", "https://empty.example/"):
        with pytest.raises(EndpointUrlRefused, match="reachable on a public address"):
            await poster.check_url(url)
    await poster.close()


async def test_the_refusal_does_not_tell_a_private_host_from_none(strict: HttpPoster) -> None:
    """The URL check is no map of our network."""
    messages = set()
    for url in ("https://10.0.0.1/", "https://[::1]/", "https://does-not-exist.invalid/"):
        with pytest.raises(EndpointUrlRefused) as refused:
            await strict.check_url(url)
        messages.add(refused.value.message)
    assert len(messages) == 1


async def test_development_may_post_to_itself_but_not_to_the_cloud_it_runs_in(
    poster: HttpPoster, connects: Connects
) -> None:
    await poster.check_url("http://127.0.0.1:8080/hook")
    for address in ("169.254.169.254", "0.0.0.0", "224.0.0.1"):
        with pytest.raises(EndpointUrlRefused):
            await poster.check_url(f"http://{address}/")
        await post(poster, f"http://{address}/")
    assert connects.addresses == []
