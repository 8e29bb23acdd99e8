"""Commands about the chains: what was read of them, through whom, and what could not be applied.

Errors  as in gateway/cli.py.
"""
# ruff: noqa: PLC0415 - imports inside commands keep the others fast

import asyncio
import sys

import typer

from gateway.cli_options import BOOKS, VAR, Folder, Json, settings_of

chain_app = typer.Typer()


@chain_app.command()
def parked(folder: Folder = VAR, json: Json = False) -> None:
    """Chain reports that could not be applied, with the reason; status 1 when there are any."""
    from gateway import operate_inbox

    sys.exit(asyncio.run(operate_inbox.parked(settings_of(folder, needs=BOOKS), as_json=json)))
