"""Compiling: nothing to do the second time, and a failure that says what is wrong."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway import contracts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of its own; the compiler is the real one."""
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    return tmp_path


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = ["node", str(folder / "contracts" / "build.mjs")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_contract_is_compiled_again_only_when_its_source_changed(copy: Path) -> None:
    assert (
        build(copy).stdout
        == "contracts: compiled Batcher, ContractWallet, TestDollar, TetherLike\n"
    )
    assert build(copy).stdout == ""
    source = copy / "contracts" / "Batcher.sol"
    source.write_text(source.read_text().replace("Batcher {", "Batcher { uint256 public extra;"))
    before = json.loads((copy / "build" / "contracts" / "Batcher.json").read_text())
    assert build(copy).stdout == "contracts: compiled Batcher\n"
    after = json.loads((copy / "build" / "contracts" / "Batcher.json").read_text())
    assert before["bytecode"] != after["bytecode"]
    assert before["sourceHash"] != after["sourceHash"]


def test_a_damaged_result_is_compiled_again(copy: Path) -> None:
    build(copy)
    (copy / "build" / "contracts" / "TestDollar.json").write_text('{"abi": [')
    assert build(copy).stdout == "contracts: compiled TestDollar\n"


def test_a_mistake_is_shown_with_its_place(copy: Path) -> None:
    (copy / "contracts" / "Wrong.sol").write_text(
        "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.28;\ncontract Wrong { oops }"
    )
    done = build(copy)
    assert done.returncode == 1
    assert "Wrong.sol:3" in done.stderr
    assert not (copy / "build").exists()


def test_without_the_compiler_it_says_what_to_run(copy: Path) -> None:
    (copy / "node_modules").unlink()
    done = build(copy)
    assert done.returncode == 1
    assert "make setup" in done.stderr


def test_a_built_contract_loads() -> None:
    loaded = contracts.load("TestDollar")
    assert loaded.bytecode.startswith("0x60")
    assert {"mint", "transfer"} <= {entry.get("name") for entry in loaded.abi}


def test_a_missing_or_damaged_contract_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(contracts.ContractError, match="make setup"):
        contracts.load("TestDollar", tmp_path)
    (tmp_path / "TestDollar.json").write_text("{")
    with pytest.raises(contracts.ContractError, match="damaged"):
        contracts.load("TestDollar", tmp_path)
