"""What others wrote is shown as it is, and 80 columns are enough."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from application.asset_units import AssetUnits
from application.figures import ProviderState
from application.outside import ParkedMessage
from application.reconciling import Arrived
from application.standing import Standing
from chain_ingest.admission import Finding
from domain.networks import NetworkBook
from gateway import check_networks, operate_parked, tables
from gateway.check_networks import Agreement, Checked
from gateway.operate_coverage import show
from gateway.operate_networks import history_of
from gateway.operate_networks import table_of as networks_table
from gateway.operate_providers import table_of as providers_table
from gateway.operate_reconcile import table_of as reconcile_table
from gateway.rpc_operators import operator_of
from gateway.tables import Listing, folding
from gateway.timeline import timeline
from tests.examples import ASSET, AT, LOCAL
from tests.gateway.test_operate_coverage import covered, survey
from tests.gateway.test_operate_networks import FOLLOWED
from tests.gateway.test_operate_providers import NOW, asked
from tests.gateway.test_operate_providers import line as provider_line

MARKUP = ("[/x]", "see [/ticket 12]", "[see x]", "[bold]loud[/]", "[link=file:///]x")
COLUMNS = 80
LONG = (
    "rpc: too few providers answer: polygon-1: eth_getBlockByNumber: -32000 daily request count "
    "exceeded, request rate limited [/x]; polygon-2: no answer in 2.0 s"
)


def drawn(what: RenderableType, width: int = 300) -> str:
    console = Console(width=width)
    with console.capture() as told:
        console.print(what)
    return told.get()


@pytest.mark.parametrize("text", MARKUP)
def test_a_table_shows_what_others_wrote_as_it_is(text: str) -> None:
    table = folding(text, text, "b", left=frozenset({text}))
    table.add_row(text, Text(text))
    assert drawn(table).count(text) == 4
    listing = Listing(text, text, "b", left=frozenset())
    listing.add_row(text, "1", notes=[text])
    assert drawn(listing).count(text) == 4


@pytest.mark.parametrize("text", MARKUP)
def test_so_do_lines_and_whatever_is_printed(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.lines(tables.console(), text)
    tables.console().print(text)
    assert capsys.readouterr().out == f"{text}\n{text}\n"


@pytest.mark.parametrize("text", MARKUP)
def test_a_reason_or_a_providers_word_breaks_no_command(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble = Standing("local", AT, trouble="outage", since=AT, detail=text, pending=True)
    assert text in drawn(networks_table([replace(FOLLOWED, standing=trouble)]))
    decision = {"at": "now", "what": "network.halted", "by": text, "why": text}
    assert drawn(history_of("local", [decision])).count(text) == 2
    state = ProviderState("local", "local-1", "fails", 1, None, NOW, text, NOW)
    assert text in drawn(providers_table([provider_line(asked(1, outcome=text), states=(state,))]))
    wrong = Finding("header hash", text, text, holds=False, remedy=text)
    checked = [Checked("a-1", operator_of("https://a.infura.io/k"), 1, (wrong,), None)]
    check_networks._print_table(LOCAL, checked, Agreement(1, {"a-1": text}), [text])
    assert capsys.readouterr().out.count(text) == 3
    operate_parked.listed([parked_message(text)], tables.console())
    assert text in capsys.readouterr().out
    assert text in drawn(timeline(text, (), NetworkBook(networks=(LOCAL,))))


def parked_message(text: str) -> ParkedMessage:
    return ParkedMessage("chain", "m-1", text, b"{}", text, AT)


# ---------------------------------------------------------------- eighty columns

_WORD = re.compile(r"[A-Za-z]{3,}|[0-9][0-9,.]*[0-9]")


def words(text: str) -> set[str]:
    return set(_WORD.findall(text))


def views() -> Mapping[str, Sequence[RenderableType]]:
    state = ProviderState("polygon", "local-1", "fails", 78_123_456, None, NOW, "timeout", NOW)
    busy = provider_line(
        asked(1_234_567), asked(98_765, outcome="rate_limited"), states=(state,), price="1.20"
    )
    stale = replace(state, at=NOW - timedelta(hours=30))
    asleep = provider_line(asked(1), states=(stale,))
    tongue = replace(busy, provider="arbitrum_sepolia-3")
    trouble = Standing("local", AT, tip=178_123_456, trouble="too_few", since=AT, detail=LONG)
    sums = (12_345_678_901_234, 71, 1_000_000, 0, 12_345_678_901_163)
    return {
        "providers": [providers_table([busy, asleep, tongue])],
        "networks": [networks_table([replace(FOLLOWED, standing=trouble), FOLLOWED])],
        "reconcile": [
            reconcile_table(
                "polygon_amoy",
                [Arrived(ASSET, *sums)],
                AssetUnits(NetworkBook(networks=(LOCAL,))),
            )
        ],
    }


@pytest.mark.parametrize("name", ["providers", "networks", "reconcile"])
def test_eighty_columns_break_no_word_and_no_figure(name: str) -> None:
    for view in views()[name]:
        wide, narrow = drawn(view, 1_000), drawn(view, COLUMNS)
        assert max(len(line) for line in narrow.splitlines()) <= COLUMNS
        assert words(narrow) == words(wide)


def test_coverage_breaks_none_either(capsys: pytest.CaptureFixture[str]) -> None:
    whole = survey(covered(178_000_000, 178_123_456), covered(178_123_457, 178_200_000))
    show(whole)
    said = capsys.readouterr().out
    assert max(len(line) for line in said.splitlines()) <= COLUMNS
    assert "p-1, p-2" in said


def test_a_note_stands_beneath_its_row_and_is_never_cut() -> None:
    listing = Listing("What", "name", "figure", left=frozenset({"name"}))
    listing.add_row("a", "1,000", notes=[LONG])
    listing.add_row("bcd", "7")
    assert drawn(listing, COLUMNS).splitlines() == [
        "What",
        "name  figure",
        "a      1,000",
        "    rpc: too few providers answer: polygon-1: eth_getBlockByNumber: -32000 daily",
        "    request count exceeded, request rate limited [/x]; polygon-2: no answer in",
        "    2.0 s",
        "bcd        7",
    ]
