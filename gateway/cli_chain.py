"""Commands about the chains: what was read of them, through whom, and what could not be applied.

Errors  as in gateway/cli.py.
"""
# ruff: noqa: PLC0415 - imports inside commands keep the others fast

import asyncio
import sys
from typing import Annotated

import typer

from gateway.cli_options import BOOKS, CHAINS, VAR, Folder, Json, settings_of

chain_app = typer.Typer()
networks_app = typer.Typer(invoke_without_command=True)
chain_app.add_typer(networks_app, name="networks")
parked_app = typer.Typer(invoke_without_command=True)
chain_app.add_typer(parked_app, name="parked")


@parked_app.callback()
def parked(
    context: typer.Context,
    folder: Folder = VAR,
    json: Json = False,
    all: Annotated[bool, typer.Option("--all", help="also those settled since")] = False,  # noqa: A002 - the option's name
) -> None:
    """Chain reports that could not be applied, with the reason; status 1 when some wait."""
    if context.invoked_subcommand is not None:
        return
    from gateway import operate_parked

    settings = settings_of(folder, needs=BOOKS)
    sys.exit(asyncio.run(operate_parked.parked(settings, everything=all, as_json=json)))


@parked_app.command()
def show(message_id: str, folder: Folder = VAR, json: Json = False) -> None:
    """One parked report: what it says, why it failed, what came of trying again."""
    from gateway import operate_parked

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_parked.show(settings, message_id, as_json=json))


@parked_app.command()
def retry(
    reason: Annotated[str, typer.Option(help="what was mended: it is kept with the report")],
    message_id: Annotated[str | None, typer.Argument()] = None,
    all: Annotated[bool, typer.Option("--all", help="every one that waits")] = False,  # noqa: A002 - the option's name
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Hand a report to settlement again, or all of them; status 1 unless all are settled."""
    from gateway import operate_parked
    from gateway.failures import GatewayError

    settings = settings_of(folder, needs=BOOKS)
    if (message_id is None) is not all:
        raise GatewayError("name one parked report, or give --all")
    trying = (
        operate_parked.retry_all(settings, reason, as_json=json)
        if message_id is None
        else operate_parked.retry(settings, message_id, reason, as_json=json)
    )
    sys.exit(asyncio.run(trying))


Reason = Annotated[str, typer.Option(help="what was found, for whoever asks later")]
Actor = Annotated[str, typer.Option(help="who decides")]


@networks_app.callback()
def networks(context: typer.Context, folder: Folder = VAR, json: Json = False) -> None:
    """How each network stands: head, lag, final, trouble; status 1 unless all are followed."""
    if context.invoked_subcommand is not None:
        return
    from gateway import operate_networks

    settings = settings_of(folder, needs=BOOKS)
    sys.exit(asyncio.run(operate_networks.networks(settings, as_json=json)))


@networks_app.command()
def history(name: str, folder: Folder = VAR, json: Json = False) -> None:
    """Every halt of a network and every decision about one, with who and why."""
    from gateway import operate_networks

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_networks.history(settings, name, as_json=json))


@networks_app.command()
def resume(name: str, reason: Reason, actor: Actor, folder: Folder = VAR) -> None:
    """Let a halted network go on: whatever its chain says now is followed, as deep as it goes."""
    from gateway import operate_networks

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_networks.resume(settings, name, reason, actor))


@networks_app.command()
def halt(name: str, reason: Reason, actor: Actor, folder: Folder = VAR) -> None:
    """Stop a network: nothing of it is seen or confirmed until somebody resumes it."""
    from gateway import operate_networks

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_networks.halt(settings, name, reason, actor))


@networks_app.command()
def check(
    name: Annotated[str, typer.Argument(help="built in, or described in NETWORKS_FILE")],
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Ask each provider of a network for all that the gateway will need; status 1 unless well."""
    from gateway import check_networks

    settings = settings_of(folder)
    sys.exit(asyncio.run(check_networks.check(settings, name, as_json=json)))


@chain_app.command()
def providers(
    network: Annotated[str | None, typer.Option(help="only this one")] = None,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """What each RPC provider was asked, how it answered and what that costs."""
    from gateway import operate_providers

    settings = settings_of(folder, needs=BOOKS)
    sys.exit(asyncio.run(operate_providers.providers(settings, network, as_json=json)))


@chain_app.command()
def coverage(
    network: Annotated[str | None, typer.Option(help="only this one")] = None,
    close: Annotated[str | None, typer.Option(help="vouch for FIRST..LAST, or refuse")] = None,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """What has been read of each chain, by whom; status 1 when there is a gap in it."""
    from gateway import operate_coverage

    settings = settings_of(folder, needs=BOOKS)
    sys.exit(asyncio.run(operate_coverage.coverage(settings, network, close, as_json=json)))


@chain_app.command()
def recheck(
    what: Annotated[str, typer.Argument(metavar="TX|FIRST..LAST")],
    network: Annotated[str, typer.Option(help="the chain it is on")],
    thorough: Annotated[bool, typer.Option(help="of a range: believe no log answer")] = False,
    apply: Annotated[bool, typer.Option(help="feed in what was missed")] = False,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Read a transaction or blocks again, and say what is there; status 1 when one was missed."""
    from gateway import operate_recheck

    settings = settings_of(folder, needs=CHAINS)
    run = operate_recheck.recheck(
        settings, what, network, thorough=thorough, apply=apply, as_json=json
    )
    sys.exit(asyncio.run(run))


@chain_app.command()
def reconcile(
    network: Annotated[str, typer.Option(help="the chain whose money is compared")],
    now: Annotated[bool, typer.Option(help="read balances on chain first")] = False,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """What the books say arrived, beside what the chain has confirmed; status 1 if they differ."""
    from gateway import operate_reconcile

    settings = settings_of(folder, needs=BOOKS)
    run = operate_reconcile.reconcile(settings, network, now=now, as_json=json)
    sys.exit(asyncio.run(run))
