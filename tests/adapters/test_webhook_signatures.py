"""Both signatures against the published vector and the standardwebhooks library."""

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks.webhooks import Webhook

from adapters.clock import SystemClock
from adapters.webhook_signatures import (
    SignatureRefused,
    plain_signature,
    signed_headers,
    standard_signature,
    verify_plain,
)

SECRET = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_SECRET = b"whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
BODY = b'{"type":"payment.paid","data":{"amount":"10.00"}}'
AT = datetime(2025, 11, 24, 16, 0, tzinfo=UTC)
TIMESTAMP = 1764000000


def test_the_published_vector_is_what_we_sign() -> None:
    headers = signed_headers((SECRET,), message_id="evt_01TEST", timestamp=TIMESTAMP, body=BODY)
    assert headers == {
        "X-Webhook-Timestamp": "1764000000",
        "X-Webhook-Signature": "ca471630016de8e832d106f97ea072984bb18f0c360d2ec02dd08d5abd4db849",
        "webhook-id": "evt_01TEST",
        "webhook-timestamp": "1764000000",
        "webhook-signature": "v1,Du5HHsqRENeXNcdmo+rTtiA3c0usQgcFRRJm3lMaeIs=",
    }


def test_the_two_schemes_sign_with_different_keys() -> None:
    """With one key, an id of digits would make a signature of one scheme pass in the other."""
    plain = plain_signature(SECRET, "17", b"1764000000." + BODY)
    standard = standard_signature(SECRET, "17", "1764000000", BODY)
    assert bytes.fromhex(plain) != base64.b64decode(standard.removeprefix("v1,"))


def test_during_a_rotation_either_secret_verifies_the_standard_header() -> None:
    now = int(SystemClock().now().timestamp())
    headers = signed_headers((SECRET, OTHER_SECRET), message_id="evt_1", timestamp=now, body=BODY)
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret.decode()).verify(BODY, headers)
    verify_plain(SECRET, headers, BODY, now=now)
    with pytest.raises(SignatureRefused):
        verify_plain(OTHER_SECRET, headers, BODY, now=now)


def test_a_clock_in_another_zone_signs_the_same_moment() -> None:
    """The library's own `sign` mis-stamps an aware moment that is not UTC; we never call it."""
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    assert int(elsewhere.timestamp()) == TIMESTAMP
    assert Webhook(SECRET.decode()).sign("evt_01TEST", AT, BODY.decode()) == standard_signature(
        SECRET, "evt_01TEST", str(int(elsewhere.timestamp())), BODY
    )


@pytest.mark.parametrize(
    ("change", "now"),
    [
        ({"X-Webhook-Timestamp": "1764000001"}, TIMESTAMP),
        ({"X-Webhook-Timestamp": ""}, TIMESTAMP),
        ({"X-Webhook-Timestamp": "1764000000.0"}, TIMESTAMP),
        ({"X-Webhook-Signature": ""}, TIMESTAMP),
        ({"X-Webhook-Signature": "ä" * 64}, TIMESTAMP),
        ({}, TIMESTAMP + 301),
        ({}, TIMESTAMP - 301),
    ],
)
def test_altered_old_and_future_messages_are_refused(change: dict[str, str], now: int) -> None:
    headers = signed_headers((SECRET,), message_id="evt_1", timestamp=TIMESTAMP, body=BODY)
    verify_plain(SECRET, headers, BODY, now=TIMESTAMP + 300)
    with pytest.raises(SignatureRefused):
        verify_plain(SECRET, {**headers, **change}, BODY, now=now)
