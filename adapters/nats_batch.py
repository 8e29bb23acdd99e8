"""Several messages to a JetStream stream as one: stored together, with one sync, or not at all.

Shapes  Each message names its batch and its place in it; the last one also asks for the commit,
        and has the only answer. A stream takes batches when its configuration says so back.
Errors  a batch that holds a message id the stream has seen is refused whole. What is left of one
        that never came to its commit the server throws away.
Source  NATS ADR-50; nats-server 2.12 and later.
"""

from collections.abc import Sequence

import orjson
from nats.aio.client import Client
from nats.js import api

from application.outside import Publication

BATCH_MAX = 1_000  # messages; the server's own bound

_ID, _PLACE, _COMMIT = "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"


async def offer(
    client: Client, stream: str, publications: Sequence[Publication], *, timeout_seconds: float
) -> bool:
    """Whether it was stored; False says that the server refused it. Raises the client's errors."""
    assert 1 <= len(publications) <= BATCH_MAX, f"1 to {BATCH_MAX} messages a batch"
    batch = client.new_inbox().rpartition(".")[2]  # a name nobody else has
    *others, last = publications
    for place, each in enumerate(others, 1):
        await client.publish(each.subject, each.data, headers=_headers(batch, place, each))
    answer = await client.request(
        last.subject,
        last.data,
        timeout=timeout_seconds,
        headers={**_headers(batch, len(publications), last), _COMMIT: "1"},
    )
    told = orjson.loads(answer.data)
    stored = (told.get("stream"), told.get("batch"), told.get("count"))
    return stored == (stream, batch, len(publications))


def _headers(batch: str, place: int, publication: Publication) -> dict[str, str]:
    return {api.Header.MSG_ID.value: publication.message_id, _ID: batch, _PLACE: str(place)}
