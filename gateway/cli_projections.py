"""`gateway projections`: how the read models stand, and what operators do about them.

Errors  as in gateway/cli.py.
"""
# ruff: noqa: PLC0415 - imports inside commands keep the others fast

import asyncio
import sys
from typing import Annotated

import typer

from gateway.cli_options import BOOKS, OWNERS, VAR, Folder, Json, Processes, settings_of

projections_app = typer.Typer(invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="a projection, as `list` names it")]
Names = Annotated[list[str] | None, typer.Argument(help="projections; none: every one")]
StreamName = Annotated[str, typer.Argument(help="ps_…, rf_…, wd_… or TYPE/UUID")]
Actor = Annotated[str, typer.Option(help="who decides")]
Reason = Annotated[str, typer.Option(help="why: it is kept in the log")]


@projections_app.callback()
def projections(context: typer.Context, folder: Folder = VAR, json: Json = False) -> None:
    """How the read models stand, as `list` says; rebuild, compare, park and retry them."""
    if context.invoked_subcommand is None:
        list_(folder, json)


@projections_app.command(name="list")
def list_(folder: Folder = VAR, json: Json = False) -> None:
    """Every read model: state, position, lag, rate, parked, leader; status 1 unless all well."""
    from gateway import operate_projections

    settings = settings_of(folder, needs=BOOKS)
    sys.exit(asyncio.run(operate_projections.listed(settings, as_json=json)))


@projections_app.command()
def rebuild(
    actor: Actor,
    names: Names = None,
    reason: Annotated[str | None, typer.Option(help="why: it is kept in the log")] = None,
    restart: Annotated[bool, typer.Option(help="throw an unfinished one away")] = False,
    accept_differences: Annotated[
        bool, typer.Option(help="show it although rows differ; needs --reason")
    ] = False,
    processes: Processes = None,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Replay the log beside what is shown, compare, show; goes on where it was ended."""
    from gateway import operate_projections
    from projections.rebuild import Order

    settings = settings_of(folder, needs=OWNERS)
    run = operate_projections.rebuild(
        settings,
        names or [],
        Order(f"operator:{actor}", reason, restart),
        accept_differences=accept_differences,
        as_json=json,
        processes=processes,
    )
    sys.exit(asyncio.run(run))


@projections_app.command()
def compare(names: Names = None, folder: Folder = VAR, json: Json = False) -> None:
    """What is rebuilt or kept beside what is shown, at one position; status 1 if rows differ."""
    from gateway import operate_projections

    settings = settings_of(folder, needs=OWNERS)
    sys.exit(asyncio.run(operate_projections.compare(settings, names or [], as_json=json)))


@projections_app.command(name="switch-back")
def switch_back(
    names: Annotated[list[str], typer.Argument(help="projections, as `list` names them")],
    actor: Actor,
    reason: Reason,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Show again what was shown before; nothing is lost, it was kept up to date."""
    from gateway import operate_projections
    from projections.rebuild import Order

    settings = settings_of(folder, needs=OWNERS)
    order = Order(f"operator:{actor}", reason)
    sys.exit(asyncio.run(operate_projections.switch_back(settings, names, order, as_json=json)))


@projections_app.command()
def drop(
    name: Name,
    actor: Actor,
    reason: Reason,
    tables: Annotated[str | None, typer.Option(help="only this schema")] = None,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Throw away what is not shown of a read model: kept, or rebuilt and not wanted."""
    from gateway import operate_projections
    from projections.rebuild import Order

    settings = settings_of(folder, needs=OWNERS)
    order = Order(f"operator:{actor}", reason)
    sys.exit(asyncio.run(operate_projections.drop(settings, name, tables, order, as_json=json)))


@projections_app.command()
def parked(
    name: Annotated[str | None, typer.Argument(help="only this projection")] = None,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Streams that could not be folded, or that somebody left aside; status 1 when there are."""
    from gateway import operate_projections

    settings = settings_of(folder, needs=BOOKS)
    sys.exit(asyncio.run(operate_projections.parked(settings, name, as_json=json)))


@projections_app.command()
def park(
    name: Name,
    stream: StreamName,
    actor: Actor,
    reason: Reason,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Leave one stream aside in a read model, from now on; all others go on."""
    from gateway import operate_projections
    from projections.rebuild import Order

    settings = settings_of(folder, needs=BOOKS)
    order = Order(f"operator:{actor}", reason)
    sys.exit(asyncio.run(operate_projections.park(settings, name, stream, order, as_json=json)))


@projections_app.command()
def retry(
    name: Name,
    actor: Actor,
    reason: Annotated[str, typer.Option(help="what was mended: it is kept in the log")],
    stream: Annotated[str | None, typer.Argument(help="ps_…, rf_…, wd_… or TYPE/UUID")] = None,
    all: Annotated[bool, typer.Option("--all", help="every one of the projection")] = False,  # noqa: A002 - the option's name
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Fold parked streams again while the others go on; status 1 unless all are settled."""
    from gateway import operate_projections
    from gateway.failures import GatewayError
    from projections.rebuild import Order

    settings = settings_of(folder, needs=BOOKS)
    if (stream is None) is not all:
        raise GatewayError("name one parked stream, or give --all")
    order = Order(f"operator:{actor}", reason)
    sys.exit(asyncio.run(operate_projections.retry(settings, name, stream, order, as_json=json)))


@projections_app.command()
def history(name: Name, folder: Folder = VAR, json: Json = False) -> None:
    """What was done to a read model by hand, with who and why."""
    from gateway import operate_projections

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_projections.history(settings, name, as_json=json))
