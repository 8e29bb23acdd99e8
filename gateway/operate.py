"""What operators do by hand: tables, keys, merchants, books, timelines."""

import asyncio
import secrets
import sys
from collections.abc import Iterable
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters import keystore
from adapters import migrate as migrations
from adapters.addresses import checksum_address
from adapters.revisions import MigrationRefused, Phase
from application.asset_units import AssetUnits
from application.ports import Recorded
from application.reads import AccountBalance, TrialBalance
from domain.events import Event, EventUnknown
from domain.networks import NetworkBook
from domain.values import Mode
from gateway import bootstrap, release
from gateway.failures import GatewayError
from gateway.operate_projections import explained
from gateway.projections_view import progress_bar
from gateway.settings import Settings
from gateway.stream_names import stream_named
from gateway.tables import Cells, asset_text, console, figure, folding
from gateway.timeline import timeline

ACTOR = "operator"
SCOPES = ("read", "write", "refund")
READY_SECONDS_MAX = 10.0


def migrate(settings: Settings, phase: Phase | None = None, processes: int | None = None) -> None:
    """Roles, tables and read models; what comes after a deploy makes tables, and tells the log."""
    owner = settings.secret("database_url_owner")
    passwords = {
        role: given.get_secret_value()
        for role, given in (
            (migrations.APP, settings.gw_app_password),
            (migrations.SIGNER, settings.gw_signer_password),
            (migrations.BACKUP, settings.gw_backup_password),
        )
        if given is not None
    }
    not_done = migrations.create_roles(owner, passwords) if passwords else []
    for sentence in not_done:
        sys.stderr.write(f"{sentence}\n")
    if not_done:
        sys.stderr.write("let a superuser do it; the gateway works without\n")
    try:
        made = release.make_tables(owner, phase)
    except MigrationRefused as refused:
        raise GatewayError(str(refused)) from refused
    with explained():
        if phase == "after":
            told = asyncio.run(release.tell_what_was_done(owner))
            made += [f"the log was told what --before did to read models: {told}"] if told else []
        else:
            made += _fill(owner, processes, telling=phase is None)
    print("\n".join(made) or "nothing to do: the database is up to date")


def give_up_deploy(settings: Settings) -> None:
    """By the release whose processes go on: what its code knows, they can read.

    The log is told first, so that nothing done meanwhile waits for a command that never comes.
    """
    owner = settings.secret("database_url_owner")
    try:
        with explained():
            told = asyncio.run(_told_what_is_known(owner))
        ended = migrations.give_up_deploy(owner)
    except MigrationRefused as refused:
        raise GatewayError(str(refused)) from refused
    print("no deploy is under way" + (" any more" if ended else ""))
    if told:
        print(f"the log was told what was done to read models meanwhile: {told}")


async def _told_what_is_known(owner: str) -> int:
    try:
        return await release.tell_what_was_done(owner)
    except EventUnknown as error:
        raise GatewayError(
            f"the newer release noted what this one does not know ({error}): the deploy stays "
            "under way until `gateway migrate --after` of a release that knows it"
        ) from error


def _fill(owner: str, processes: int | None, *, telling: bool) -> list[str]:
    with progress_bar(shown=sys.stderr.isatty()) as on_progress:
        filling = release.fill_tables(owner, on_progress, telling=telling, processes=processes)
        renewed = asyncio.run(filling)
    return [f"{each.schema} is shown, from position {each.position:,}" for each in renewed]


def make_keystore(settings: Settings) -> None:
    path = settings.keystore_path
    assert path is not None, "named among the needs of this command"
    text = settings.secret("keystore_passphrase")
    try:
        signer = (
            keystore.open_keystore(path, text)
            if path.exists()
            else keystore.create_keystore(path, text, secrets.token_bytes(keystore.SEED_BYTES))
        )
    except keystore.KeystoreFailed as failed:
        raise GatewayError(str(failed)) from failed
    except OSError as error:
        raise GatewayError(f"KEYSTORE_PATH: cannot write {path}: {error.strerror}") from error
    print(f"HOT_WALLET_XPUB={signer.xpub()}")


async def register_merchant(settings: Settings, name: str, xpub: str, *, live: bool) -> None:
    mode: Mode = "live" if live else "test"
    async with bootstrap.core(settings, "register") as core:
        merchants = bootstrap.merchants(core)
        first = merchants.first_address(xpub)
        merchant_id = await merchants.register(name, mode, actor=ACTOR)
        await merchants.configure_wallet(merchant_id, mode, xpub, actor=ACTOR)
        key = await merchants.create_api_key(merchant_id, mode, SCOPES, "first", actor=ACTOR)
        merchant = await merchants.find(merchant_id)
        assert merchant is not None
        wallet = merchant.refund_wallets[mode].address
    table = Cells.grid(padding=(0, 2))
    table.add_row("merchant", merchant_id.hex)
    table.add_row("API key", Text.assemble((key, "bold"), " (shown this once)"))
    table.add_row(
        "first deposit address", f"{checksum_address(first)} (compare it with your wallet's)"
    )
    table.add_row("refund wallet", f"{checksum_address(wallet)} (top it up to be able to refund)")
    Console().print(table)


# ---------------------------------------------------------------- books


async def trial_balance(settings: Settings, *, as_json: bool) -> int:
    """Print the books; the exit status."""
    async with bootstrap.core(settings, "books") as core:
        progress = bootstrap.progress(core)
        head = await core.store.head()
        current = await progress.wait_for(head, timeout_seconds=READY_SECONDS_MAX)
        books = bootstrap.books(core)
        totals = await books.trial_balance()
        balances = await books.balances()
        networks = core.networks
    if not current:
        print("the read models lag behind the log: is `gateway project` running?", file=sys.stderr)
    if as_json:
        shown = {line.asset: str(line.difference) for line in totals}
        print(orjson.dumps({"trial_balance": shown, "position": head}).decode())
    else:
        out = console()
        out.print(accounts_table(networks, balances))
        out.print(totals_table(networks, totals))
    return 0 if current and all(line.difference == 0 for line in totals) else 1


def accounts_table(networks: NetworkBook, balances: Iterable[AccountBalance]) -> Table:
    columns = ("account", "asset", "debits", "credits", "balance")
    table = folding("Accounts", *columns, left=_WORDS)
    units = AssetUnits(networks)
    for line in balances:
        table.add_row(line.account, *_line(units, line.asset, line.debits, line.credits))
    return table


def totals_table(networks: NetworkBook, totals: Iterable[TrialBalance]) -> Table:
    columns = ("asset", "debits", "credits", "difference")
    table = folding("Trial balance", *columns, left=_WORDS)
    units = AssetUnits(networks)
    for line in totals:
        table.add_row(*_line(units, line.asset, line.debits, line.credits))
    return table


_WORDS = frozenset({"account", "asset"})


def _line(units: AssetUnits, asset: str, debits: int, credits_: int) -> tuple[str, ...]:
    figures = (debits, credits_, debits - credits_)
    return (asset_text(units, asset), *(figure(units, each, asset) for each in figures))


# ---------------------------------------------------------------- timelines


async def events(settings: Settings, stream: str, *, as_json: bool) -> None:
    async with bootstrap.core(settings, "events") as core:
        try:
            found = await core.store.read_stream(stream_named(stream))
        except AssertionError:  # an id of another type of stream
            found = ()
        networks = core.networks
    if not found:
        raise GatewayError(f"there is no stream {stream}")
    if as_json:
        for recorded in found:
            print(orjson.dumps(_as_json(recorded)).decode())
        return
    console().print(timeline(stream, found, networks))


def _as_json(recorded: Recorded[Event]) -> dict[str, Any]:
    return {
        "position": recorded.position,
        "version": recorded.version,
        "name": recorded.event.name,
        "event_id": recorded.event_id.hex,
        "actor": recorded.context.actor,
        "causation_id": recorded.context.causation_id,
        "policy_version": recorded.context.policy_version,
        "recorded_at": recorded.recorded_at.isoformat(),
        "data": recorded.event.model_dump(mode="json"),
    }
