"""The `gateway` command: every process, and what operators and developers do by hand.

Shapes  Settings come from the environment; without DATABASE_URL, from what the last `gateway up`
        wrote into its folder, so that `gateway trial-balance` just works beside it.
        --json is for machines: one line each; else a table for people.
Errors  one paragraph that says what to do next, exit status 1; wrong use 2. Status 0 only when
        all is well. Libraries are imported where they are used: `--help` answers at once.
"""
# ruff: noqa: PLC0415 - imports inside commands keep the others fast

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli_chain import chain_app
from gateway.cli_options import BOOKS, VAR, Folder, Json, Processes, settings_of
from gateway.cli_projections import projections_app

if TYPE_CHECKING:
    from gateway.operate_inbox import Decision
    from gateway.settings import Settings

app = typer.Typer(
    help="A self-hosted payment gateway for USDC and USDT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
inbox_app = typer.Typer(invoke_without_command=True)
app.add_typer(inbox_app, name="inbox")
app.add_typer(chain_app)
app.add_typer(projections_app, name="projections")
Transfer = Annotated[str, typer.Argument(help="tr_…, or CHAIN:TX:LOG")]
Reason = Annotated[str, typer.Option(help="why: it is kept with the decision")]


def main() -> None:
    """Run a command; expected failures become one paragraph on stderr."""
    from gateway.logs import aside

    aside()
    try:
        app()
    except _expected() as failure:
        print(f"gateway: {failure}", file=sys.stderr)
        sys.exit(1)


def _expected() -> tuple[type[Exception], ...]:
    import psycopg

    from application.ports import Unavailable
    from domain.errors import Refusal
    from gateway.failures import GatewayError
    from projections.schema import SchemaChanged

    return (GatewayError, Refusal, Unavailable, SchemaChanged, psycopg.OperationalError)


# ---------------------------------------------------------------- for people


@app.command()
def demo(folder: Folder = VAR / "demo", json: Json = False) -> None:
    """One real payment, one refund and one reorg, end to end; each claim is checked."""
    from gateway.demo import run

    sys.exit(asyncio.run(run(folder, as_json=json)))


@app.command()
def up(
    folder: Folder = VAR,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="of the API; else 8000, or a free one")
    ] = None,
    block_seconds: Annotated[int, typer.Option(min=1, help="between two local blocks")] = 2,
) -> None:
    """Run the whole gateway on this machine, with servers of its own, until Ctrl-C."""
    from gateway.up import run

    asyncio.run(run(folder, port, block_seconds))


@app.command()
def pay(
    session: Annotated[str, typer.Argument(help="ps_… or the checkout URL")],
    amount: Annotated[str | None, typer.Option(help="instead of what is still due")] = None,
    folder: Folder = VAR,
) -> None:
    """Pay a session on the local test chain, as a customer's wallet would."""
    from gateway.up import pay as pay_session

    asyncio.run(pay_session(folder, session, amount))


# ---------------------------------------------------------------- processes


@app.command()
def api() -> None:
    """REST API and hosted checkout."""
    from gateway import serve

    _process("api", serve.api)


@app.command()
def ingest(network: Annotated[str, typer.Option(help="which one to follow")]) -> None:
    """Follow one network and publish what happens there; a second one stands by."""
    from gateway import serve

    _process(f"ingest-{network}", lambda s, stop: serve.ingest(s, stop, network))


@app.command()
def settle() -> None:
    """Apply chain reports to sessions, floats and books."""
    from gateway import serve

    _process("settle", serve.settle)


@app.command()
def project() -> None:
    """Keep the read models up to date."""
    from gateway import serve

    _process("project", serve.project)


@app.command()
def deliver() -> None:
    """Turn facts into webhooks and deliver them."""
    from gateway import serve

    _process("deliver", serve.deliver)


@app.command()
def work() -> None:
    """Send refunds, expire sessions."""
    from gateway import serve

    _process("work", serve.work)


@app.command()
def sign() -> None:
    """Sign refunds: the only process with the key. It has no port."""
    from gateway import serve

    _process("sign", serve.sign)


@app.command()
def chain(host: str = "127.0.0.1", port: int = 8545, folder: Folder = VAR / "chain") -> None:
    """A local test chain with the two test tokens, until Ctrl-C."""
    from gateway.up import run_chain

    asyncio.run(run_chain(folder, host, port))


# ---------------------------------------------------------------- operators


@app.command()
def migrate(
    before: Annotated[bool, typer.Option("--before", help="what a deploy needs first")] = False,
    after: Annotated[
        bool, typer.Option("--after", help="what old code had to be gone for")
    ] = False,
    given_up: Annotated[
        bool,
        typer.Option("--given-up", help="end a deploy not made, by the release that goes on"),
    ] = False,
    processes: Processes = None,
) -> None:
    """Make roles and tables, or bring them up to date. Needs DATABASE_URL_OWNER."""
    from gateway import operate
    from gateway.failures import GatewayError

    if given_up:
        if before or after:
            raise GatewayError("--given-up stands alone: it applies nothing")
        operate.give_up_deploy(settings_of(needs=("database_url_owner",)))
        return
    phase: Literal["before", "after"] | None = "before" if before else "after"
    if before == after:
        phase = None
    operate.migrate(settings_of(needs=("database_url_owner",)), phase, processes)


@app.command()
def keystore() -> None:
    """Make the signer's encrypted keystore and print the public key for HOT_WALLET_XPUB."""
    from gateway import operate

    operate.make_keystore(settings_of(needs=("keystore_path", "keystore_passphrase")))


@app.command()
def merchant(
    name: Annotated[str, typer.Argument(help="shown to customers")],
    xpub: Annotated[str, typer.Option(help="account key that deposit addresses derive from")],
    live: Annotated[bool, typer.Option("--live", help="else test mode")] = False,
) -> None:
    """Register a merchant and print its first API key."""
    from gateway import operate

    settings = settings_of(needs=(*BOOKS, "hot_wallet_xpub"))
    asyncio.run(operate.register_merchant(settings, name, xpub, live=live))


@app.command(name="receiving-address")
def receiving_address(
    merchant: Annotated[str, typer.Argument(help="its id, as `gateway merchant` printed it")],
    address: Annotated[str, typer.Argument(help="the merchant's own wallet")],
    live: Annotated[bool, typer.Option("--live", help="else test mode")] = False,
    folder: Folder = VAR,
) -> None:
    """Set the wallet that the merchant's sessions may share. Agree on it with the merchant."""
    from gateway import operate_merchants

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_merchants.receiving_address(settings, merchant, address, live=live))


@app.command(name="trial-balance")
def trial_balance(
    at: Annotated[
        int | None, typer.Option(min=0, help="a position of the log: the books as they stood")
    ] = None,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Debits and credits per asset and account; status 1 unless they agree."""
    from gateway import books, operate

    settings = settings_of(folder, needs=BOOKS)
    if at is not None:
        sys.exit(asyncio.run(books.trial_balance_at(settings, at, as_json=json)))
    sys.exit(asyncio.run(operate.trial_balance(settings, as_json=json)))


@app.command()
def statement(
    merchant: Annotated[str, typer.Argument(help="its id, as `gateway merchant` printed it")],
    month: Annotated[str, typer.Argument(help="YYYY-MM, in UTC")],
    live: Annotated[bool, typer.Option("--live", help="else test mode")] = False,
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """A month of a merchant's books: what happened, every account, and the invoice."""
    from gateway import books

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(books.statement(settings, merchant, month, live=live, as_json=json))


@app.command()
def explain(
    what: Annotated[str, typer.Argument(help="ps_…, rf_…, tr_…, CHAIN:TX:LOG or wd_…")],
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """What happened to a payment, a refund or a transfer, why, and what is awaited now."""
    from gateway import explain_page

    asyncio.run(explain_page.explain(settings_of(folder, needs=BOOKS), what, as_json=json))


@app.command()
def events(
    stream: Annotated[str, typer.Argument(help="ps_…, rf_…, wd_… or TYPE/UUID")],
    folder: Folder = VAR,
    json: Json = False,
) -> None:
    """Every fact of one stream, with who did it and why."""
    from gateway import operate

    asyncio.run(operate.events(settings_of(folder, needs=BOOKS), stream, as_json=json))


@inbox_app.callback()
def inbox(context: typer.Context, folder: Folder = VAR, json: Json = False) -> None:
    """Transfers that wait for a decision, newest first, each with its reason; or decide."""
    from gateway import operate_inbox

    if context.invoked_subcommand is None:
        asyncio.run(operate_inbox.inbox(settings_of(folder, needs=BOOKS), as_json=json))


@inbox_app.command()
def accept(transfer: Transfer, reason: Reason, folder: Folder = VAR) -> None:
    """The merchant keeps it, for no session."""
    _decide(folder, transfer, reason, "accept")


@inbox_app.command()
def dismiss(transfer: Transfer, reason: Reason, folder: Folder = VAR) -> None:
    """No customer's money: it leaves the inbox and the books."""
    _decide(folder, transfer, reason, "dismiss")


@inbox_app.command()
def assign(
    transfer: Transfer,
    session: Annotated[str, typer.Argument(help="ps_…")],
    reason: Reason,
    folder: Folder = VAR,
) -> None:
    """Credit it to a session, also to one that is closed."""
    _decide(folder, transfer, reason, "assign", session)


@inbox_app.command()
def refund(
    transfer: Transfer,
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="else to where it came from")] = None,
    folder: Folder = VAR,
) -> None:
    """Give all of it back, from the merchant's refund wallet."""
    _decide(folder, transfer, reason, "refund", to)


def _decide(
    folder: Path, transfer: str, reason: str, what: "Decision", target: str | None = None
) -> None:
    from gateway import operate_inbox

    settings = settings_of(folder, needs=BOOKS)
    asyncio.run(operate_inbox.decide(settings, transfer, what, reason, target))


@app.command()
def simulate(
    seed: Annotated[int, typer.Option(min=0, help="of the first history; each has the next")] = 1,
    histories: Annotated[int, typer.Option(min=1, max=1_000_000)] = 100,
    steps: Annotated[int, typer.Option(min=1, max=1_000, help="of each history")] = 100,
    processes: Annotated[int, typer.Option(min=1, max=64)] = 2,
    stop: Annotated[bool, typer.Option("--stop", help="at the first that fails")] = False,
    shrink_into: Annotated[
        Path | None, typer.Option(help="keep failing histories here, cut to the shortest")
    ] = None,
    history: Annotated[Path | None, typer.Option(help="run one kept history instead")] = None,
    json: Json = False,
) -> None:
    """The whole gateway in a simulated world full of faults; status 1 unless all held."""
    from gateway import simulate as simulator

    if history is not None:
        sys.exit(simulator.repeat(history))
    sys.exit(
        simulator.simulate(
            seed=seed,
            histories=histories,
            steps=steps,
            processes=processes,
            as_json=json,
            stop=stop,
            shrink_into=shrink_into,
        )
    )


# ---------------------------------------------------------------- plumbing


def _process(name: str, serve: Callable[["Settings", asyncio.Event], Awaitable[None]]) -> None:
    import uvloop

    from gateway.logs import configure
    from gateway.serve import NEEDS
    from gateway.supervisor import stop_on_signals

    settings = settings_of(needs=NEEDS[name.partition("-")[0]])
    configure(name, settings.log_level, pretty=sys.stdout.isatty())

    async def run() -> None:
        with stop_on_signals() as stop:
            await serve(settings, stop)

    uvloop.run(run())
