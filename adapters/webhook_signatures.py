"""The two signatures on a webhook, made and checked.

Shapes  a secret is the ASCII text "whsec_" and the standard base64 of 32 bytes.
        X-Webhook-Signature  hex HMAC-SHA256 of "<timestamp>.<body>"; the key is the secret's
                             whole text, and the first secret's only: the header holds one.
        webhook-signature    "v1,<base64 HMAC-SHA256 of "<id>.<timestamp>.<body>">", one a
                             secret, between them a space; the key is the decoded bytes.
        Two keys, so that a signature of one scheme can never pass for one of the other.
Units   timestamps are whole unix seconds of the attempt, at most 300 away from the receiver's.
Errors  SignatureRefused names what is wrong; ValueError for a secret of another shape.
Source  Standard Webhooks 1.0; the checked vector is in docs/guides/webhooks.md.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

SECRET_PREFIX = b"whsec_"
TOLERANCE_SECONDS = 300


class SignatureRefused(Exception):  # noqa: N818 - an answer to the sender, like a refusal
    """The message is not from who it says, or not from now."""


def signed_headers(
    secrets: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of one attempt. The first secret is the primary one."""
    moment = str(timestamp)
    return {
        "X-Webhook-Timestamp": moment,
        "X-Webhook-Signature": plain_signature(secrets[0], moment, body),
        "webhook-id": message_id,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(
            standard_signature(secret, message_id, moment, body) for secret in secrets
        ),
    }


def plain_signature(secret: bytes, timestamp: str, body: bytes) -> str:
    signed = timestamp.encode() + b"." + body
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


def standard_signature(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_decoded(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _decoded(secret: bytes) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("a webhook secret starts with whsec_")
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def verify_plain(secret: bytes, headers: Mapping[str, str], body: bytes, *, now: int) -> None:
    """Check X-Webhook-Timestamp and X-Webhook-Signature as a receiver does."""
    timestamp = headers.get("X-Webhook-Timestamp", "")
    given = headers.get("X-Webhook-Signature", "")
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise SignatureRefused("the timestamp is missing or no number")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise SignatureRefused("the timestamp is more than five minutes away")
    expected = plain_signature(secret, timestamp, body)
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise SignatureRefused("the signature is not that of the body")
