"""The README's table of commands, held against the command line."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.cli import app
from tests.test_compose import PROCESSES

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
TABLE = README.partition("## Commands")[2].partition("## Read next")[0]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
AT_THE_START = {"demo", "up", "chain", "migrate", "keystore", "merchant"}  # told of elsewhere


def every_command() -> dict[str, Any]:
    """By its words, such as "networks check"."""
    found: dict[str, Any] = {}
    for name, command in COMMANDS.items():
        inner = getattr(command, "commands", {})
        found[name] = command
        found |= {f"{name} {each}": one for each, one in inner.items()}
    return found


def test_every_command_of_the_table_exists() -> None:
    told = re.findall(r"^\| `gateway ([a-z-]+)", TABLE, re.MULTILINE)
    assert told
    assert set(told) <= COMMANDS.keys()


@pytest.mark.parametrize("name", [name for name in every_command() if " " not in name])
def test_the_table_tells_of_every_command_but_the_processes(name: str) -> None:
    if name not in PROCESSES | AT_THE_START:
        assert f"| `gateway {name}" in TABLE


def test_each_takes_json_but_for_those_that_are_named() -> None:
    exceptions = re.search(r"Each takes `--json`(.*?)\. The", TABLE, re.DOTALL)
    assert exceptions is not None
    named = set(re.findall(r"`([a-z-]+)`", exceptions[1]))
    for name, command in every_command().items():
        flags = {flag for parameter in command.params for flag in parameter.opts}
        if name.split()[0] not in PROCESSES | AT_THE_START:
            assert ("--json" in flags) is (name.split()[-1] not in named), name


@pytest.mark.parametrize("name", [name for name in every_command() if " " in name])
def test_what_belongs_to_a_command_is_named_with_it(name: str) -> None:
    command, inner = name.split()
    rows = re.findall(rf"^\| `gateway {command}.*$", TABLE, re.MULTILINE)
    assert any(re.search(rf"\b{inner}\b", row) for row in rows), name
