"""NATS as application.outside.Bus: JetStream for reports, core NATS for hints.

Shapes  One connection at a time, as a _Session with what was set up on it. A lost connection is
        not repaired: the next call makes a new session, at most one attempt each
        RETRY_SECONDS, and sets up stream and consumer again. So a restarted server, and one
        whose store was wiped, are the same case as a first start.
Units   seconds; JetStream's own JSON counts nanoseconds.
Errors  Unavailable("nats", ...) within TIMEOUT_SECONDS. Hints never raise.
Source  pull requests and status messages: NATS ADR-13 and ADR-37. The client's own `fetch`
        waits for a full batch, or the whole time-out, once one message has come.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api
from nats.js.errors import BadRequestError, NoStreamResponseError, NotFoundError

from adapters.nats_batch import offer
from application.chain_messages import STREAM, SUBJECTS
from application.outside import BusMessage, Publication
from application.ports import Unavailable

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2.0
RETRY_SECONDS = 0.5
PING_SECONDS = 5
PINGS_UNANSWERED_MAX = 2
ACK_WAIT_SECONDS = 30
DUPLICATE_WINDOW_SECONDS = 120
STREAM_AGE_SECONDS_MAX = 7 * 24 * 3600
STREAM_BYTES_MAX = 512 * 1024**2
HINTS_WAITING_MAX = 1_000
PULL_MAX = 1_000
_NANOSECONDS = 10**9
_NAME_IN_USE = 10058  # JetStream: the stream exists with another configuration


@dataclass(slots=True)
class _Inbox:
    """Where a consumer's messages are delivered; each request has a subject of its own."""

    prefix: str
    subscription: Subscription
    requests: int = 0


@dataclass(slots=True)
class _Session:
    client: Client
    jetstream: JetStreamContext
    stream_ready: bool = False
    takes_batches: bool = False  # NATS 2.12 and later
    inboxes: dict[str, _Inbox] = field(default_factory=dict)


class NatsBus:
    def __init__(self, url: str, *, name: str, stream: str = STREAM) -> None:
        """`stream` and the subjects below it are the gateway's own; tests may name another."""
        self._url = url
        self._name = name
        self._stream = stream
        self._subjects = SUBJECTS if stream == STREAM else f"{stream.lower()}.>"
        self._session: _Session | None = None
        self._connecting = asyncio.Lock()
        self._in_background: asyncio.Task[None] | None = None
        self._not_before = 0.0  # of the loop's clock: when connecting may be tried again
        self._closed = False
        self._answers = True
        self._one_by_one = False  # the next publications

    async def open(self) -> None:
        """Does not wait: a process may start before its bus."""
        self._closed = False

    async def check(self) -> None:
        """Raises Unavailable unless the server answers now."""
        session = await self._connected()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await session.client.flush()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise await self._outage(session, error) from error

    async def close(self) -> None:
        self._closed = True
        if self._in_background is not None:
            await asyncio.wait([self._in_background])
        session, self._session = self._session, None
        if session is not None:
            await _close(session.client)

    # ------------------------------------------------------------ publishing

    async def publish(self, subject: str, data: bytes, *, message_id: str) -> None:
        session = await self._connected()
        headers: dict[str, Any] = {api.Header.MSG_ID.value: message_id}
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                await self._stream_exists(session)
                try:
                    await self._offer(session, subject, data, headers)
                except NoStreamResponseError:
                    session.stream_ready = False  # it has vanished since
                    await self._stream_exists(session)
                    await self._offer(session, subject, data, headers)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise await self._outage(session, error) from error

    async def publish_all(
        self, publications: Sequence[Publication]
    ) -> Sequence[BaseException | None]:
        """One write and one sync for all of them, where the server knows batches.

        It takes a batch whole or not at all, and not where it holds one of the message ids:
        then, and once after any failure, each is offered by itself.
        """
        if len(publications) > 1 and not self._one_by_one:
            try:
                if await self._in_one_batch(publications):
                    return [None] * len(publications)
            except Unavailable as outage:
                self._one_by_one = True  # some of it, or all, may be there
                return [outage] * len(publications)
        outcomes = await asyncio.gather(
            *(self.publish(p.subject, p.data, message_id=p.message_id) for p in publications),
            return_exceptions=True,
        )
        self._one_by_one = any(outcomes)
        return outcomes

    async def _in_one_batch(self, publications: Sequence[Publication]) -> bool:
        """False when the server has refused it, and nothing of it was stored."""
        session = await self._connected()
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                await self._stream_exists(session)
                return session.takes_batches and await offer(
                    session.client, self._stream, publications, timeout_seconds=TIMEOUT_SECONDS
                )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise await self._outage(session, error) from error

    async def hint(self, subject: str, data: bytes = b"") -> None:
        """Costs the caller nothing: without a connection the hint is lost, and one is sought."""
        session = self._session
        if session is None or not session.client.is_connected:
            if self._in_background is None or self._in_background.done():
                self._in_background = asyncio.create_task(self._seek())
            return
        with suppress(nats.errors.Error, OSError):
            await session.client.publish(subject, data)

    async def _seek(self) -> None:
        with suppress(Unavailable):
            await self._connected()

    async def _offer(
        self, session: _Session, subject: str, data: bytes, headers: dict[str, Any]
    ) -> None:
        await session.jetstream.publish(
            subject, data, timeout=TIMEOUT_SECONDS, stream=self._stream, headers=dict(headers)
        )

    # ------------------------------------------------------------ pulling

    async def pull(
        self, subject: str, durable: str, *, limit: int, wait_seconds: float
    ) -> Sequence[BusMessage]:
        """What is there at once; else the first that comes within the time, or nothing.

        With the first comes what is there by then: a batch appears as one.
        """
        assert 1 <= limit <= PULL_MAX, f"1 to {PULL_MAX} messages at a time"
        session = await self._connected()
        try:
            inbox = await self._inbox(session, subject, durable)
            found = await self._request(session, inbox, durable, limit, None)
            if not found:
                found = await self._request(session, inbox, durable, 1, wait_seconds)
                if found and limit > 1:
                    # An outage meanwhile does not take what has come already.
                    with suppress(nats.errors.Error, TimeoutError, OSError):
                        found += await self._request(session, inbox, durable, limit - 1, None)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            session.inboxes.pop(durable, None)
            raise await self._outage(session, error) from error
        return [_message(each) for each in found]

    async def ack(self, message: BusMessage) -> None:
        await self._answer(message, b"+ACK")

    async def retry_later(self, message: BusMessage, delay_seconds: float) -> None:
        delay = orjson.dumps({"delay": int(delay_seconds * _NANOSECONDS)})
        await self._answer(message, b"-NAK " + delay)

    async def give_up(self, message: BusMessage) -> None:
        await self._answer(message, b"+TERM")

    async def _answer(self, message: BusMessage, answer: bytes) -> None:
        """On whatever connection there is now: the reply subject outlives a connection."""
        assert isinstance(message.handle, Msg), "the bus that gave a message takes the answer"
        session = await self._connected()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await session.client.publish(message.handle.reply, answer)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise await self._outage(session, error) from error

    async def _inbox(self, session: _Session, subject: str, durable: str) -> _Inbox:
        inbox = session.inboxes.get(durable)
        if inbox is not None:
            return inbox
        async with asyncio.timeout(2 * TIMEOUT_SECONDS):
            await self._stream_exists(session)
            config = api.ConsumerConfig(
                name=durable,
                durable_name=durable,
                filter_subject=subject,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                max_deliver=-1,  # the consumer parks what fails too often
            )
            await session.jetstream.add_consumer(self._stream, config, timeout=TIMEOUT_SECONDS)
            prefix = session.client.new_inbox()
            subscription = await session.client.subscribe(f"{prefix}.*")
        inbox = session.inboxes[durable] = _Inbox(prefix, subscription)
        return inbox

    async def _request(
        self,
        session: _Session,
        inbox: _Inbox,
        durable: str,
        batch: int,
        wait_seconds: float | None,
    ) -> list[Msg]:
        """One pull request; without a wait it asks only for what is there."""
        inbox.requests += 1
        reply = f"{inbox.prefix}.{inbox.requests}"
        wish: dict[str, object] = {"batch": batch}
        if wait_seconds is None:
            wish["no_wait"] = True
        else:
            wish["expires"] = max(int(wait_seconds * _NANOSECONDS), 1_000_000)
        await session.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{durable}", orjson.dumps(wish), reply
        )
        found: list[Msg] = []
        # The server ends every request with a status; this bound is for a server gone silent.
        with suppress(TimeoutError):
            async with asyncio.timeout((wait_seconds or 0) + TIMEOUT_SECONDS):
                while len(found) < batch:
                    message = await inbox.subscription.next_msg(timeout=None)
                    status = (message.headers or {}).get(api.Header.STATUS.value)
                    if status is None:
                        found.append(message)
                    elif message.subject == reply:
                        _insist_on_consumer(status, message)
                        return found
        if not found:
            raise nats.errors.TimeoutError
        return found

    # ------------------------------------------------------------ hints

    async def hints(self, subject: str) -> AsyncIterator[bytes]:
        """Empty hints mark each (re)connection: what was missed meanwhile must be looked up."""
        while not self._closed:
            try:
                session = await self._connected()
                subscription = await session.client.subscribe(
                    subject, pending_msgs_limit=HINTS_WAITING_MAX
                )
            except (Unavailable, nats.errors.Error, TimeoutError, OSError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                yield b""
                async for message in subscription.messages:
                    yield message.data
            finally:
                with suppress(nats.errors.Error, OSError):
                    await subscription.unsubscribe()

    # ------------------------------------------------------------ connection

    async def _connected(self) -> _Session:
        async with self._connecting:
            if self._closed:
                raise Unavailable("nats", "the bus is closed")
            if self._session is not None:
                if self._session.client.is_connected:
                    return self._session
                await self._drop(self._session)
            now = asyncio.get_running_loop().time()
            if now < self._not_before:
                raise Unavailable("nats", "not connected")
            client = Client()
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await client.connect(
                        self._url,
                        name=self._name,
                        error_cb=_ignore,
                        connect_timeout=int(TIMEOUT_SECONDS),
                        allow_reconnect=False,
                        reconnect_time_wait=0,
                        max_reconnect_attempts=1,
                        ping_interval=PING_SECONDS,
                        max_outstanding_pings=PINGS_UNANSWERED_MAX,
                    )
            except (nats.errors.Error, TimeoutError, OSError) as error:
                await _close(client)
                self._not_before = asyncio.get_running_loop().time() + RETRY_SECONDS
                self._say(answers=False)
                raise Unavailable("nats", f"cannot connect: {type(error).__name__}") from error
            self._say(answers=True)
            self._session = _Session(client, client.jetstream(timeout=TIMEOUT_SECONDS))
            return self._session

    async def _outage(self, session: _Session, error: Exception) -> Unavailable:
        """What to raise. A connection on which a call failed is not trusted any longer."""
        await self._drop(session)
        return Unavailable("nats", str(error) or type(error).__name__)

    async def _drop(self, session: _Session) -> None:
        if self._session is session:
            self._session = None
        await _close(session.client)

    async def _stream_exists(self, session: _Session) -> None:
        if session.stream_ready:
            return
        config = api.StreamConfig(
            name=self._stream,
            subjects=[self._subjects],
            storage=api.StorageType.FILE,
            retention=api.RetentionPolicy.LIMITS,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
            max_age=STREAM_AGE_SECONDS_MAX,
            max_bytes=STREAM_BYTES_MAX,
            allow_atomic=True,  # an older server does not know it, and does not say it back
        )
        try:
            made = await session.jetstream.add_stream(config)
        except BadRequestError as refused:
            if refused.err_code != _NAME_IN_USE:
                raise
            made = await session.jetstream.update_stream(config)
        session.takes_batches = bool(made.config.allow_atomic)
        session.stream_ready = True

    def _say(self, *, answers: bool) -> None:
        if answers is self._answers:
            return
        self._answers = answers
        if answers:
            log.info("nats_answers_again", client=self._name)
        else:
            log.warning("nats_unavailable", client=self._name)


def _insist_on_consumer(status: str, message: Msg) -> None:
    """404 and 408 mean no (more) messages; anything else that the consumer must be set up again."""
    if status not in {api.StatusCode.NO_MESSAGES.value, api.StatusCode.REQUEST_TIMEOUT.value}:
        description = (message.headers or {}).get(api.Header.DESCRIPTION.value)
        raise NotFoundError(code=int(status), description=description)


def _message(message: Msg) -> BusMessage:
    return BusMessage(
        subject=message.subject,
        data=message.data,
        deliveries=message.metadata.num_delivered or 1,
        handle=message,
        message_id=(message.headers or {}).get(api.Header.MSG_ID.value, ""),
    )


async def _close(client: Client) -> None:
    """Never waits long, never raises: the other end may be gone."""
    with suppress(nats.errors.Error, TimeoutError, OSError):
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await client.close()


async def _ignore(_: Exception) -> None:
    """The client tells every failed call as well; once is enough."""
