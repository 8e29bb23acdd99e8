"""compose.yaml and the Dockerfile, held against the command line and the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from gateway.cli import app
from gateway.serve import NEEDS
from gateway.settings import _PER_NETWORK, VARIABLES

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("build")}
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PROCESSES = {"api", "ingest", "settle", "project", "deliver", "sign", "work"}
NETWORKS_ENV, PROVIDERS_ENV = "./networks.env", "./providers.env"
EXAMPLES = {
    NETWORKS_ENV: ROOT / "deploy" / "example.networks.env",
    PROVIDERS_ENV: ROOT / "deploy" / "example.providers.env",
}


@pytest.mark.parametrize("name", OURS)
def test_each_service_runs_a_command_that_exists_with_options_it_has(name: str) -> None:
    program, command, *options = OURS[name]["command"]
    assert program == "gateway"
    known = {flag for parameter in COMMANDS[command].params for flag in parameter.opts} | {
        "--help"
    }
    assert {option for option in options if option.startswith("--")} <= known


@pytest.mark.parametrize("name", OURS)
def test_each_variable_of_a_service_is_a_setting(name: str) -> None:
    for variable in OURS[name].get("environment", {}):
        plain = variable.removesuffix("_FILE")
        assert variable in VARIABLES or plain in VARIABLES, f"{variable}: no setting"


def files_of(name: str) -> list[str]:
    """Of its environment; none of them has to be there."""
    files = OURS[name].get("env_file", [])
    assert all(file["required"] is False for file in files)
    return [file["path"] for file in files]


@pytest.mark.parametrize("name", OURS)
def test_only_who_asks_providers_gets_the_keys_in_their_urls(name: str) -> None:
    asks = "rpc_urls" in NEEDS.get(name, ())
    assert files_of(name) == [NETWORKS_ENV, *([PROVIDERS_ENV] if asks else [])]


@pytest.mark.parametrize("name", OURS)
def test_nothing_in_the_files_is_overridden_by_an_empty_value(name: str) -> None:
    """`environment` goes before `env_file`, also with the empty text of an unset ${VARIABLE:-}."""
    for variable in OURS[name].get("environment", {}):
        assert not any(variable.startswith(f"{each}_") for each in _PER_NETWORK), variable


def prefixes_in(example: Path) -> set[str]:
    """The settings an example names, each with some network's name at its end."""
    text = example.read_text(encoding="utf-8")
    found = set()
    for variable in re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.MULTILINE):
        known = [each for each in _PER_NETWORK if variable.startswith(f"{each}_")]
        assert known, f"{variable}: read by no process"
        found.add(max(known, key=len))
    return found


def test_what_is_set_per_network_is_in_the_file_of_those_who_may_know_it() -> None:
    asking = {each for each in _PER_NETWORK if each.startswith("RPC_")} | {"START_BLOCK"}
    assert prefixes_in(EXAMPLES[PROVIDERS_ENV]) == asking
    assert prefixes_in(EXAMPLES[NETWORKS_ENV]) == set(_PER_NETWORK) - asking


def variables_of_the_guide() -> set[str]:
    """The first column of the table of settings; `_PER_DAY` goes on from the one before it."""
    guide = (ROOT / "docs" / "guides" / "running.md").read_text(encoding="utf-8")
    table = guide.partition("## Settings")[2].partition("## ")[0]
    found: list[str] = []
    for cell in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE):
        for name in re.findall(r"`([A-Z_<>]+)`", cell):
            stem = found[-1].partition("_PER_")[0] if name.startswith("_") else ""
            found.append(stem + name)
    return set(found)


def test_the_guide_tells_of_every_setting_and_of_no_other() -> None:
    told = {name.removesuffix("_<NETWORK>") for name in variables_of_the_guide()}
    assert told == {*VARIABLES, *_PER_NETWORK}


def test_every_setting_of_the_guide_reaches_a_process() -> None:
    given = {key for service in OURS.values() for key in service.get("environment", {})}
    given |= {key.removesuffix("_FILE") for key in given}
    files = {file for name in OURS for file in files_of(name)}
    per_network = {f"{each}_<NETWORK>" for file in files for each in prefixes_in(EXAMPLES[file])}
    assert variables_of_the_guide() <= given | per_network


def test_every_process_of_the_gateway_is_a_service() -> None:
    assert set(OURS) >= PROCESSES
    assert {SERVICES[name]["command"][1] for name in PROCESSES} == PROCESSES


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_each_process_waits_for_the_migrations(name: str) -> None:
    after = OURS[name]["depends_on"]
    assert after["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_each_process_is_given_all_it_needs_and_no_secret_more(name: str) -> None:
    given = {key.removesuffix("_FILE").lower() for key in SERVICES[name]["environment"]}
    given |= {"rpc_urls"} if PROVIDERS_ENV in files_of(name) else set()
    needs = set(NEEDS[name])
    assert needs <= given
    secret = {key for key in given if key.startswith(("database_url", "master", "keystore"))}
    assert secret <= needs


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_writes_lies_on_a_volume_or_in_memory(name: str) -> None:
    """The file system of the image is read-only."""
    service = OURS[name]
    assert service["read_only"]
    mounted = [volume.split(":")[1] for volume in service.get("volumes", [])]
    places = (*service["tmpfs"], *mounted)
    options = service["command"]
    written = [options[i + 1] for i, o in enumerate(options) if o == "--folder"]
    written += [service["environment"]["KEYSTORE_PATH"]] if "keystore" in name else []
    assert all(place.startswith(places) for place in written)
    assert name != "chain" or written


def test_the_keystore_folder_belongs_to_the_user_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "install -d -o gateway -g gateway -m 0700 /keystore" in dockerfile


def test_every_optional_setting_of_the_guide_can_be_set_in_the_environment_file() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for variable in ("SIGNER_MAX_PER_DAY", "AMOUNT_MAX", "METRICS_PORT", "LOG_LEVEL"):
        assert f"{variable}: ${{{variable}:-" in text


def test_only_the_signer_holds_the_keystore() -> None:
    holders = {name for name, s in OURS.items() if "KEYSTORE_PATH" in s.get("environment", {})}
    assert holders == {"sign", "keystore"}
    assert "ports" not in SERVICES["sign"]


def test_jetstream_writes_to_disk_before_it_acknowledges() -> None:
    text = (ROOT / "deploy" / "nats.conf").read_text(encoding="utf-8")
    assert re.search(r"^\s*sync_interval: always$", text, re.MULTILINE)


def test_the_image_carries_every_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    rooms = "domain application adapters projections chain_ingest api web workers gateway"
    for room in rooms.split():
        assert f"COPY {room} {room}\n" in dockerfile
    assert "--require-hashes" in dockerfile
    assert re.search(r"^USER gateway$", dockerfile, re.MULTILINE)


def test_the_example_environment_fills_every_required_variable() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    example = (ROOT / "deploy" / "example.env").read_text(encoding="utf-8")
    assert required <= set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
