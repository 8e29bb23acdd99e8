"""The guide for merchants says what is so: its verifiers run against a live delivery."""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adapters.clock import SystemClock
from adapters.http_delivery import PORTS, RESPONSE_BYTES_MAX, HttpPoster
from adapters.webhook_receiver import Received, WebhookReceiver
from adapters.webhook_signatures import TOLERANCE_SECONDS, signed_headers
from domain.delivery import ATTEMPTS_MAX, RETRY_DELAYS_SECONDS
from domain.merchant import MESSAGE_TYPES
from tests.workers.webhook_rig import ready

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "webhooks.md").read_text("utf-8")
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_SECRET = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
BODY = '{"type":"payment.paid","data":{"note":"ünïcode"}}'.encode()
LINES_MAX = 15

Verify = Callable[[str, Mapping[str, str], bytes], bool]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def in_python(code: str) -> Verify:
    names: dict[str, Callable[[str, Mapping[str, str], bytes], None]] = {}
    exec(code, names)

    def verify(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        try:
            names["verify"](secret, headers, body)
        except Exception:  # noqa: BLE001 - however it refuses, it refuses
            return False
        return True

    return verify


def in_node(code: str) -> Verify:
    node = shutil.which("node")
    assert node is not None, "the gateway needs Node to build, and so do its tests"
    runner = """
const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
verify(given.secret, given.headers, Buffer.from(given.body, "base64"));
"""

    def verify(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        lower = {name.lower(): value for name, value in headers.items()}
        given = {"secret": secret, "headers": lower, "body": base64.b64encode(body).decode()}
        ran = subprocess.run(
            [node, "-e", code + runner],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ran.returncode == 0 or "Error: " in ran.stderr
        assert "SyntaxError" not in ran.stderr
        assert "ReferenceError" not in ran.stderr
        return ran.returncode == 0

    return verify


VERIFIERS = {
    "python": in_python(blocks("python")[0]),
    "node": in_node(blocks("js")[0]),
    "library": in_python(blocks("python")[1]),
}


@pytest.fixture
async def delivered() -> Received:
    """What a merchant's server really gets."""
    poster = HttpPoster(allow_private=True, clock=SystemClock())
    async with WebhookReceiver(SystemClock()) as receiver:
        receiver.trust(SECRET)
        attempted = await poster.post(
            url=receiver.url, secrets=(SECRET.encode(),), message_id="evt_1", body=BODY
        )
        assert attempted.error is None
    await poster.close()
    return receiver.received[0]


@pytest.mark.parametrize("verify", VERIFIERS.values(), ids=VERIFIERS)
def test_the_guides_verifier_accepts_a_live_delivery(verify: Verify, delivered: Received) -> None:
    assert verify(SECRET, delivered.headers, delivered.body)


@pytest.mark.parametrize("verify", VERIFIERS.values(), ids=VERIFIERS)
def test_the_guides_verifier_refuses_what_is_forged_or_old(
    verify: Verify, delivered: Received
) -> None:
    assert not verify(OTHER_SECRET, delivered.headers, delivered.body)
    assert not verify(SECRET, delivered.headers, delivered.body + b" ")
    for moment in (int(time.time()) - TOLERANCE_SECONDS - 2, int(time.time()) + 302):
        old = signed_headers(
            (SECRET.encode(),), message_id="evt_1", timestamp=moment, body=delivered.body
        )
        assert not verify(SECRET, old, delivered.body)
    unsigned = {**delivered.headers, "X-Webhook-Signature": "", "webhook-signature": "v1,"}
    assert not verify(SECRET, unsigned, delivered.body)


def test_the_verifiers_are_short() -> None:
    for code in (*blocks("python"), *blocks("js")):
        assert len([line for line in code.splitlines() if line.strip()]) <= LINES_MAX


def test_the_guides_vector_is_what_we_sign() -> None:
    (text,) = blocks("text")
    vector = dict(line.split(maxsplit=1) for line in text.splitlines())
    headers = signed_headers(
        (vector["secret"].encode(),),
        message_id=vector["webhook-id"],
        timestamp=int(vector["timestamp"]),
        body=vector["body"].encode(),
    )
    assert headers["X-Webhook-Signature"] == vector["X-Webhook-Signature"]
    assert headers["webhook-signature"] == vector["webhook-signature"]


async def test_the_guides_example_has_the_fields_of_a_real_message() -> None:
    rig = await ready()
    real = json.loads((await rig.delivery()).body)
    example = json.loads(blocks("json")[0])
    assert list(example) == list(real)
    assert set(example["data"]) == set(real["data"])
    assert example["api_version"] == real["api_version"]


def test_the_guide_names_every_type_and_figure_as_the_code_has_them() -> None:
    named = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", GUIDE, re.MULTILINE)
    assert sorted(named) == sorted(MESSAGE_TYPES)
    first, second, third = RETRY_DELAYS_SECONDS
    assert f"at once, then {first} s, {second} s and {third} s after the one before" in GUIDE
    assert ATTEMPTS_MAX == 4
    assert "After the fourth failure" in GUIDE
    assert f"at most {RESPONSE_BYTES_MAX // 1024} KiB" in GUIDE
    assert sorted(PORTS) == [443, 8443]
    assert "on port 443 or 8443" in GUIDE
