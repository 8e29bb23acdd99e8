"""The command line when something is in the way: one paragraph, no trace, status 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.test_settings import GOOD

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("api",), {}, "DATABASE_URL: is not set"),
        (("sign",), {}, "KEYSTORE_PATH: is not set"),
        (("migrate",), {}, "DATABASE_URL_OWNER: is not set"),
        (("ingest", "--network", "base"), GOOD, "'base' is not among NETWORKS"),
        (("trial-balance", "--folder", "/nowhere"), {}, "no gateway has run in /nowhere"),
        (("events", "ps_zz"), GOOD, "'ps_zz' names no stream"),
        (("events", "nonsense/1"), GOOD, "names no stream"),
        (("receiving-address", "Acme", "0x" + "cc" * 20), GOOD, "'Acme' names no merchant"),
        (
            ("migrate",),
            {**GOOD, "DATABASE_URL_OWNER": "postgresql://gw_owner@127.0.0.1:1/gateway"},
            "connection failed",
        ),
        (
            ("sign",),
            {
                **GOOD,
                "DATABASE_URL_SIGNER": "postgresql://gw_signer@127.0.0.1:1/gateway",
                "KEYSTORE_PATH": "/nowhere/keystore.json",
                "KEYSTORE_PASSPHRASE": "x",
            },
            "/nowhere/keystore.json does not exist",
        ),
    ],
)
def test_what_is_in_the_way_is_said_in_one_paragraph(
    arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    finished = _run(*arguments, **environment)
    assert finished.returncode == 1, finished.stderr
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_file_in_place_of_the_folder_is_explained(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    finished = _run("up", "--folder", str(tmp_path / "file"))
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr


def test_help_names_every_command() -> None:
    finished = _run("--help")
    assert finished.returncode == 0
    for command in [
        "demo",
        "up",
        "migrate",
        "api",
        "ingest",
        "settle",
        "project",
        "deliver",
        "sign",
        "work",
        "receiving-address",
    ]:
        assert command in finished.stdout
