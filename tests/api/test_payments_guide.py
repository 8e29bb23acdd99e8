"""The guide for merchants names every state, exception, verdict and call there is."""

import re
from pathlib import Path
from typing import get_args

from adapters.question_limits import FAILURES_MAX, FAILURES_WINDOW_SECONDS
from api.app import create_app
from domain.matching import Verdict
from domain.merchant import TOLERANCE_BASIS_POINTS_MAX, TOLERANCE_MICROS_MAX
from domain.payment import CLAIMS_MAX, Exceptional, Status
from tests.api.world import World

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "payments.md").read_text("utf-8")
# Verdicts of money that is matched, and of money that is no merchant's.
NOT_IN_THE_INBOX = {
    "deposit_address",
    "payer_proven",
    "hash_announced",
    "refund_wallet",
    "unknown_address",
}


def _in_first_column() -> set[str]:
    cells = re.findall(r"^\| (.*?) \|", GUIDE, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([a-z_]+)`", cell)}


def test_states_exceptions_and_verdicts_are_those_of_the_gateway() -> None:
    told = _in_first_column()
    expected = {*get_args(Status), *get_args(Exceptional), *get_args(Verdict)} - NOT_IN_THE_INBOX
    assert expected <= told


def test_every_call_it_names_exists() -> None:
    paths = create_app(World().api()).openapi()["paths"]
    known = {(method.upper(), path) for path, all_ in paths.items() for method in all_}
    shape = [(m, re.sub(r"\{.*?\}", "{}", p)) for m, p in known]
    named = re.findall(r"`(GET|POST|PUT) (/v1/[^` ]+)`", GUIDE)
    assert len(named) >= 7
    for method, path in named:
        assert (method, path.replace("{id}", "{}")) in shape, path


def test_its_bounds_are_those_of_the_domain() -> None:
    assert CLAIMS_MAX == 10
    assert "ten wallets and ten transactions" in GUIDE
    assert (FAILURES_MAX, FAILURES_WINDOW_SECONDS) == (6, 3_600)
    assert "after six that proved nothing within an hour `429`" in GUIDE
    assert TOLERANCE_MICROS_MAX == 100 * 10**6
    assert TOLERANCE_BASIS_POINTS_MAX == 1_000
    assert "at most 100 USD and 10 %" in GUIDE
