"""The house rules that a linter does not hold."""

import ast
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from application.deciders import (
    CLAIM,
    DELIVERY,
    HALTS,
    MERCHANT,
    PAYMENT,
    POLICY,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
)
from domain import commands, errors
from domain.errors import Refusal
from domain.events import EVENTS
from tests.examples import EXAMPLES

ROOT = Path(__file__).parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
DECIDERS = (PAYMENT, REFUND, REFUND_FLOAT, TRANSFER, MERCHANT, DELIVERY, CLAIM, POLICY, HALTS)
# Facts on streams without an aggregate: nothing is ever decided from them.
WITHOUT_AGGREGATE = {"journal.entry_posted", "network.reorg_detected"} | {
    name for name in EVENTS if name.startswith("projection.")
}
ROOMS = "domain application adapters projections chain_ingest api web workers simulation gateway bench chaos tests"
SOURCES = sorted(path for room in ROOMS.split() for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name


READS = [path for path in SOURCES if path.name.endswith("_reads.py")]


@pytest.mark.parametrize("path", READS, ids=lambda path: path.name)
def test_what_people_read_takes_one_round_trip_a_statement(path: Path) -> None:
    """`connection()` puts BEGIN and COMMIT around it: `reading()` is for them."""
    assert "connections.connection()" not in path.read_text(encoding="utf-8")


def test_every_refusal_has_a_permanent_code_of_its_own() -> None:
    refusals = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Refusal) and kind is not Refusal
    ]
    codes = [kind.code for kind in refusals]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", code) for code in codes)


def test_every_event_is_named_noun_dot_past_and_has_an_example() -> None:
    assert {event.name for event in EXAMPLES} == set(EVENTS)
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in EVENTS)


@pytest.mark.parametrize(
    "event", [x for x in EXAMPLES if x.name not in WITHOUT_AGGREGATE], ids=lambda event: event.name
)
def test_every_event_is_evolved_by_exactly_one_aggregate(event: object) -> None:
    at_home = 0
    for decider in DECIDERS:
        try:
            decider.evolve(_state_before(decider), event)  # type: ignore[arg-type]  # any event
        except (AssertionError, KeyError) as error:
            if isinstance(error, KeyError) or "is no event of" not in str(error):
                at_home += isinstance(error, KeyError)
        else:
            at_home += 1
    assert at_home == 1


def _state_before(decider: object) -> object:
    """The aggregate after every example it understands, so that all its events make sense."""
    state: object = None
    for event in EXAMPLES:
        try:
            state = decider.evolve(state, event)  # type: ignore[attr-defined]  # a Decider
        except (AssertionError, KeyError):
            continue
    return state


def test_every_command_belongs_to_one_aggregate() -> None:
    unions = [
        commands.SessionCommand,
        commands.TransferCommand,
        commands.RefundCommand,
        commands.FloatCommand,
        commands.MerchantCommand,
        commands.DeliveryCommand,
        commands.ClaimCommand,
        commands.HaltCommand,
    ]
    alone = [commands.SetConfirmationPolicy]  # the one command of its aggregate
    known = [kind for union in unions for kind in get_args(union)] + alone
    declared = {
        kind
        for kind in vars(commands).values()
        if isinstance(kind, type)
        and issubclass(kind, commands.Command)
        and kind is not commands.Command
    }
    assert set(known) == declared
    assert len(known) == len(declared)


def test_no_machine_path_or_registry_host_is_committed() -> None:
    """Each pattern is written in two parts, so that this file does not match itself."""
    hosts = ("py" + r"pi\.org", "python" + r"hosted\.org", r"registry\.npm" + "js")
    paths = ("/wo" + r"rk/[a-z]", "/ro" + r"ot/", "/ho" + r"me/[a-z]")
    forbidden = re.compile("|".join((*hosts, *paths)))
    for line in ("/wo" + "rk/main", "/ro" + "ot/x", "/ho" + "me/ci", "registry.npm" + "js.org"):
        assert forbidden.search(line)
    safe = ["-c", f"safe.directory={ROOT}"]
    listed = subprocess.run(
        ["git", *safe, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    assert len(names) > 100
    for name in names:
        if not name.endswith((".png", ".ico")):
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
            assert not forbidden.search(text), name
