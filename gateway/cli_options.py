"""What the files of the `gateway` command share: common options, and the settings they give."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gateway.settings import Settings

Folder = Annotated[Path, typer.Option(help="where the local gateway keeps its data")]
Json = Annotated[bool, typer.Option("--json", help="for machines")]
Processes = Annotated[
    int | None, typer.Option(min=1, max=2, help="1 or 2; else 2 for a long log and two cores")
]
VAR = Path("var")
BOOKS = ("database_url", "nats_url", "networks")
CHAINS = (*BOOKS, "rpc_urls")
OWNERS = (*BOOKS, "database_url_owner")


def settings_of(folder: Path = VAR, *, needs: Sequence[str] = ()) -> "Settings":
    """From the environment; without DATABASE_URL, what the last `gateway up` wrote there."""
    # Imported here: `--help` answers at once.
    from gateway.failures import GatewayError  # noqa: PLC0415
    from gateway.local_files import read_environment  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    environment: dict[str, Any] = dict(os.environ)  # noqa: TID251 - handed to the settings
    if not any(name.startswith("DATABASE_URL") for name in environment):
        local = read_environment(folder)
        if not local and tuple(needs) in {BOOKS, CHAINS, OWNERS}:
            raise GatewayError(
                f"no gateway has run in {folder}, and DATABASE_URL is not set: "
                "start one with `gateway up`, or name its --folder"
            )
        environment = {**local, **environment}
    return load(environment, needs=needs)
