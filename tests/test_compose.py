"""compose.yaml and the Dockerfile, held against the command line and the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from gateway.cli import app
from gateway.serve import NEEDS
from gateway.settings import VARIABLES

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("build")}
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PROCESSES = {"api", "ingest", "settle", "project", "deliver", "sign", "work"}
PER_NETWORK = re.compile(r"(RPC_URLS|CONFIRMATIONS|CONFIRMATION_POLICY|START_BLOCK)_[A-Z_]+")


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
        assert plain in VARIABLES or PER_NETWORK.fullmatch(variable), variable


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
    given |= {"rpc_urls"} if any(key.startswith("rpc_urls_") for key in given) else set()
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
    for variable in ("SIGNER_MAX_PER_DAY", "AMOUNT_MAX", "CONFIRMATIONS_POLYGON", "LOG_LEVEL"):
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
