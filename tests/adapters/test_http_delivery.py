"""One attempt over real sockets: what is signed, what is refused, what is bounded."""

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from adapters import http_delivery
from adapters.clock import SystemClock
from adapters.http_delivery import RESPONSE_BYTES_MAX, HttpPoster
from adapters.memory.clock import FakeClock
from adapters.webhook_receiver import WebhookReceiver
from application.outside import Attempted

SECRET = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_SECRET = b"whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
BODY = b'{"type":"payment.paid","data":{"amount":"10.00"}}'
AT = datetime(2025, 11, 24, 16, 0, tzinfo=UTC)


@pytest.fixture
async def poster() -> AsyncIterator[HttpPoster]:
    made = HttpPoster(allow_private=True, clock=SystemClock(), timeout_seconds=1.0)
    yield made
    await made.close()


Serve = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers every request with these bytes; gives its URL."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> str:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def post(poster: HttpPoster, url: str) -> Attempted:
    return await poster.post(url=url, secrets=(SECRET,), message_id="evt_1", body=BODY)


async def test_a_receiver_verifies_both_signatures_and_gets_the_exact_bytes(
    poster: HttpPoster,
) -> None:
    async with WebhookReceiver(SystemClock()) as receiver:
        receiver.trust(SECRET.decode())
        attempted = await post(poster, receiver.url)
        assert (attempted.status_code, attempted.error) == (204, None)
        assert receiver.refused == []
        assert receiver.received[0].body == BODY
        assert receiver.received[0].headers["Content-Type"] == "application/json"
        assert receiver.received[0].headers["webhook-id"] == "evt_1"


async def test_a_receiver_with_another_secret_refuses(poster: HttpPoster) -> None:
    async with WebhookReceiver(SystemClock()) as receiver:
        receiver.trust(OTHER_SECRET.decode())
        attempted = await post(poster, receiver.url)
        assert (attempted.status_code, attempted.error) == (401, "answered 401")
        assert len(receiver.refused) == 1


async def test_the_library_refuses_what_was_signed_ten_minutes_ago(poster: HttpPoster) -> None:
    old = HttpPoster(
        allow_private=True,
        clock=FakeClock(SystemClock().now() - timedelta(minutes=10)),
    )
    async with WebhookReceiver(SystemClock()) as receiver:
        receiver.trust(SECRET.decode())
        attempted = await post(old, receiver.url)
        assert attempted.status_code == 401
        stale = receiver.refused[0][0]
        with pytest.raises(WebhookVerificationError, match="too old"):
            Webhook(SECRET.decode()).verify(stale.body, dict(stale.headers))
    await old.close()


# ------------------------------------------------------------------ what receivers do


async def test_redirects_are_not_followed(poster: HttpPoster, serve: Serve) -> None:
    elsewhere = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    head = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n"
    attempted = await post(poster, await serve(head.encode()))
    assert (attempted.status_code, attempted.error) == (307, "redirects are not followed")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("999999999999", 86_400),
        ("Mon, 24 Nov 2025 16:02:00 GMT", 120),
        ("Mon, 24 Nov 2025 15:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
    ],
)
async def test_retry_after_is_read_as_a_count_or_a_date(
    serve: Serve, header: str, seconds: int | None
) -> None:
    url = await serve(
        f"HTTP/1.1 503 No\r\nRetry-After: {header}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    poster = HttpPoster(allow_private=True, clock=FakeClock(AT))
    attempted = await post(poster, url)
    await poster.close()
    assert attempted.error == "answered 503"
    assert attempted.retry_after_seconds == seconds


async def test_410_is_told(poster: HttpPoster, serve: Serve) -> None:
    attempted = await post(poster, await serve(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"))
    assert (attempted.status_code, attempted.error) == (410, "answered 410")


async def test_of_an_endless_answer_16_kib_are_read(poster: HttpPoster, serve: Serve) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 4_000_000
    attempted = await post(poster, await serve(endless))
    assert attempted.error is None
    assert attempted.response_excerpt == b"x" * RESPONSE_BYTES_MAX


async def test_a_compressed_answer_is_not_unpacked(poster: HttpPoster, serve: Serve) -> None:
    bomb = b"\x1f\x8b" + b"\x00" * 100
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    attempted = await post(poster, await serve(head.encode() + bomb))
    assert (attempted.error, attempted.response_excerpt) == (None, bomb)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(1_000)) + b"\r\n",
        b"this is not http\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"",
    ],
    ids=["a long header", "many headers", "no http", "no status", "no answer"],
)
async def test_malformed_answers_are_failures_and_no_exceptions(
    poster: HttpPoster, serve: Serve, answer: bytes
) -> None:
    attempted = await post(poster, await serve(answer))
    assert attempted.status_code is None
    assert attempted.error == "the connection broke"


async def test_a_receiver_that_never_answers_times_out(poster: HttpPoster) -> None:
    silent = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    attempted = await post(poster, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    silent.set()
    server.close()
    assert (attempted.status_code, attempted.error) == (None, "timed out")
    assert 900 <= attempted.latency_ms < 3_000


async def test_a_status_counts_even_when_the_body_only_drips(
    poster: HttpPoster, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_delivery, "RESPONSE_SECONDS_MAX", 0.1)
    stop = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nslow")
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    attempted = await post(poster, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    stop.set()
    server.close()
    assert (attempted.error, attempted.response_excerpt) == (None, b"slow")


async def test_nobody_listening_is_a_failure(poster: HttpPoster) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    attempted = await post(poster, f"http://127.0.0.1:{port}/")
    assert (attempted.status_code, attempted.error) == (None, "could not connect")


async def test_a_certificate_nobody_vouches_for_is_refused(
    poster: HttpPoster, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path / "cert.pem"))
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    attempted = await post(poster, f"https://127.0.0.1:{port}/")
    server.close()
    assert (attempted.error, heard) == ("certificate refused", [])


def _self_signed(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


# ------------------------------------------------------------------ side by side


async def test_a_name_server_that_hangs_holds_up_nobody_else(
    poster: HttpPoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def slow(host: str, *rest: object, **named: object) -> object:
        if str(host).endswith(".example"):
            time.sleep(0.5)
            raise socket.gaierror("no answer")
        return real(host, *rest, **named)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with WebhookReceiver(SystemClock()) as receiver:
        receiver.trust(SECRET.decode())
        hanging = [
            asyncio.create_task(post(poster, f"http://host{n}.example/")) for n in range(20)
        ]
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        attempted = await post(poster, receiver.url.replace("127.0.0.1", "localhost"))
        took = time.perf_counter() - began
        failed = await asyncio.gather(*hanging)
    assert attempted.error is None
    assert took < 0.4, "it waited behind the hanging names"
    assert {each.error for each in failed} == {"could not connect"}


async def test_the_excerpt_of_an_answer_is_kept_for_the_log(
    poster: HttpPoster, serve: Serve
) -> None:
    body = json.dumps({"error": "no such order"}).encode()
    head = f"HTTP/1.1 404 No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    attempted = await post(poster, await serve(head + body))
    assert (attempted.status_code, attempted.response_excerpt) == (404, body)


@pytest.fixture(autouse=True)
def no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the machine must not see webhooks: were it used, every test here would fail."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
