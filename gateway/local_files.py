"""What a local gateway leaves in its folder for the commands that come after.

Files   environment.json: the settings of its processes. merchant.json: the test merchant and its
        API key. Both hold secrets: readable by the owner only, replaced whole.
"""

import json
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = "environment.json"
_MERCHANT = "merchant.json"


def read_environment(folder: Path) -> dict[str, str]:
    """The settings of the last gateway in this folder; empty when there was none."""
    return _read(folder / _ENVIRONMENT)


def write_environment(folder: Path, environment: Mapping[str, str]) -> None:
    _write(folder / _ENVIRONMENT, environment)


def read_merchant(folder: Path) -> dict[str, str]:
    return _read(folder / _MERCHANT)


def write_merchant(folder: Path, merchant: Mapping[str, str]) -> None:
    _write(folder / _MERCHANT, merchant)


def _read(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found


def _write(path: Path, content: Mapping[str, str]) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
