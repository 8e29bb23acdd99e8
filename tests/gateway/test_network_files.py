"""Networks described in a file: what is taken, and what is refused by file, network and field."""

from pathlib import Path
from typing import Any

import pytest

from application.asset_units import AssetUnits
from domain.networks import POLYGON, Coin, Eip712Domain
from gateway.network_files import FILE_BYTES_MAX, NetworksFileError, networks_of_file
from gateway.settings import SettingsError, load

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "networks.md"
GNOSIS = """
[networks.gnosis]
title = "Gnosis Chain"
chain_id = 100
mode = "live"
block_seconds = 5
confirmations = "20, 1000:finalized"
coin = { symbol = "xDAI", slip44 = 700 }

[[networks.gnosis.tokens]]
symbol = "USDC"
address = "0x2a22f9c3b484c3629090FeED35F17Ff8F88f76F0"
decimals = 6
title = "Bridged USDC"
eip712 = { name = "Bridged USDC", version = "2" }

[[networks.gnosis.tokens]]
symbol = "USDC.old"
address = "0xDDAfbb505ad214D7b80b1f830fcCc89B60fb7A83"
decimals = 6
accepted = false
"""
MORE = """
[networks.polygon]
extends = true

[[networks.polygon.tokens]]
symbol = "DAI"
address = "0x8f3Cf7ad23Cd3CaDbD9735AFf958023239c6A063"
decimals = 18
"""


@pytest.fixture
def described(tmp_path: Path) -> Path:
    path = tmp_path / "networks.toml"
    path.write_text(GNOSIS, encoding="utf-8")
    return path


def refused(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NetworksFileError) as error:
        networks_of_file(path)
    return str(error.value)


def test_a_described_network_is_as_good_as_a_built_in_one(described: Path) -> None:
    (gnosis,) = networks_of_file(described)
    assert (gnosis.name, gnosis.title, gnosis.chain_id) == ("gnosis", "Gnosis Chain", 100)
    assert (gnosis.mode, gnosis.block_seconds, gnosis.finality_seconds) == ("live", 5, 900)
    assert gnosis.coin == Coin(symbol="xDAI", slip44=700)
    assert gnosis.coin_asset == "eip155:100/slip44:700"
    assert [rule.text for rule in gnosis.policy.rules] == ["20 confirmations", "a finalized block"]
    usdc = gnosis.token("USDC")
    assert usdc.address == "0x2a22f9c3b484c3629090feed35f17ff8f88f76f0"
    assert usdc.eip712 == Eip712Domain(name="Bridged USDC", version="2")
    assert [token.symbol for token in gnosis.accepted_tokens()] == ["USDC"]
    assert not gnosis.policy.allow_unattested


def test_a_built_in_network_gets_further_tokens_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "networks.toml"
    path.write_text(MORE, encoding="utf-8")
    (polygon,) = networks_of_file(path)
    assert polygon.tokens[:-1] == POLYGON.tokens
    assert polygon.token("DAI").decimals == 18
    assert polygon.changed(tokens=POLYGON.tokens) == POLYGON


WRONG: list[tuple[str, str, str, str]] = [
    (
        "an unknown field",
        "block_seconds = 5",
        "blok_seconds = 5",
        "blok_seconds: is no field; the",
    ),
    ("a missing field", "chain_id = 100", "", "chain_id: is missing"),
    ("a word for a number", "chain_id = 100", 'chain_id = "100"', "chain_id: Input should be"),
    ("a chain id of none", "chain_id = 100", "chain_id = 0", "chain_id: Input should be"),
    ("odd too soon", "chain_id = 100", "chain_id = 100\nfinality_seconds = 59", "or equal to 60"),
    ("an unknown mode", '"live"', '"prod"', "mode: Input should be 'live' or 'test'"),
    (
        "a digit changed",
        "0x2a22f9c3",
        "0x2a22f9c4",
        "tokens: number 1: address: does not fit its checksum",
    ),
    (
        "no checksum",
        "0x2a22f9c3b484c3629090FeED35F17Ff8F88f76F0",
        "0x2a22f9c3b484c3629090feed35f17ff8f88f76f0",
        "tokens: number 1: address: is written without its checksum",
    ),
    ("a digit lost", "0x2a22f9c3", "0x2a22f9c", "tokens: number 1: address: is 0x and 40"),
    ("too many decimals", "decimals = 6\ntitle", "decimals = 37\ntitle", "decimals: Input should"),
    ("decimals of none", "decimals = 6\ntitle", "decimals = -1\ntitle", "decimals: Input should"),
    (
        "no cents",
        "decimals = 6\ntitle",
        "decimals = 1\ntitle",
        "tokens: USDC: decimals: 1, but prices are in cents: a token that is accepted has 2",
    ),
    ("half a decimal", "decimals = 6\ntitle", "decimals = 6.5\ntitle", "decimals: Input should"),
    ("a token's typo", "accepted = false", "acepted = false", "number 2: acepted: is no field; t"),
    ("a domain's typo", 'version = "2"', 'versin = "2"', "eip712: versin: is no field; the fiel"),
    ("a symbol with a space", '"USDC.old"', '"USDC old"', "number 2: symbol: String should match"),
    ("one symbol twice", '"USDC.old"', '"USDC"', "tokens: symbol USDC is there twice"),
    (
        "one address twice",
        "0xDDAfbb505ad214D7b80b1f830fcCc89B60fb7A83",
        "0x2a22f9c3b484c3629090FeED35F17Ff8F88f76F0",
        "tokens: address 0x2a22f9c3b484c3629090feed35f17ff8f88f76f0 is there twice",
    ),
    (
        "nothing accepted",
        "decimals = 6\ntitle",
        "decimals = 6\naccepted = false\ntitle",
        "none of",
    ),
    (
        "a rule of none",
        '"20, 1000:finalized"',
        '"20 blocks"',
        "confirmations: '20 blocks' is no r",
    ),
    (
        "a single voice",
        'mode = "live"',
        'mode = "live"\nallow_unattested = true',
        "allow_unattest",
    ),
    (
        "another's chain id",
        "chain_id = 100",
        "chain_id = 137",
        "chain_id: 137 is polygon's already",
    ),
    (
        "a built-in name",
        "networks.gnosis",
        "networks.base",
        "network base: this network comes with",
    ),
    (
        "the local name",
        "networks.gnosis",
        "networks.local",
        "network local: this name is the test",
    ),
    (
        "a name with a dash",
        "networks.gnosis",
        "networks.gno-sis",
        "network gno-sis: a name is lower",
    ),
    (
        "a name like a file",
        "networks.gnosis",
        "networks.g_file",
        "network g_file: a name is lower-",
    ),
    (
        "a stranger extended",
        "block_seconds = 5",
        "extends = true",
        "no built-in network of this na",
    ),
    (
        "something beside",
        "[networks.gnosis]",
        "[providers]\n[networks.gnosis]",
        "nothing beside th",
    ),
    ("no TOML", "[networks.gnosis]", "[networks.gnosis", "is not TOML: "),
    (
        "a network twice",
        "[networks.gnosis]",
        "[networks.gnosis]\n[networks.gnosis]",
        "is not TOML:",
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_named_by_file_and_field(
    described: Path, before: str, after: str, said: str
) -> None:
    assert before in GNOSIS
    reason = refused(described, GNOSIS.replace(before, after))
    assert "NETWORKS_FILE: networks.toml: " in reason
    assert said in reason


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("extends = true", "extends = false", "network polygon: extends: Input should be True"),
        (
            "extends = true",
            'extends = true\ntitle = "P"',
            "title: is no field; the fields are exte",
        ),
        ('"DAI"', '"USDC"', "tokens: symbol USDC is there twice"),
        (
            "0x8f3Cf7ad23Cd3CaDbD9735AFf958023239c6A063",
            "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359",
            "tokens: address 0x3c499c542cef5e3811e1192ce70d8cc03d5c3359 is there twice",
        ),
    ],
)
def test_an_extension_adds_tokens_and_changes_nothing(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    assert said in refused(tmp_path / "networks.toml", MORE.replace(before, after))


def test_two_described_networks_have_chain_ids_of_their_own(described: Path) -> None:
    both = GNOSIS + GNOSIS.replace("networks.gnosis", "networks.other")
    assert "network other: chain_id: 100 is gnosis's already" in refused(described, both)


def test_everything_wrong_is_named_at_once(described: Path) -> None:
    text = GNOSIS.replace("chain_id = 100", "").replace("decimals = 6\ntitle", "title")
    assert refused(described, text).count("is missing") == 2


@pytest.mark.parametrize("text", ["", "networks = 3", "[networks]", "[networks]\ngnosis = 1"])
def test_a_file_that_describes_nothing_is_a_mistake(tmp_path: Path, text: str) -> None:
    assert "[networks.NAME]" in refused(tmp_path / "networks.toml", text)


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    assert "is larger" in refused(tmp_path / "networks.toml", "#" * (FILE_BYTES_MAX + 1))


# ---------------------------------------------------------------- in the settings


def environment(path: Path, **more: str) -> dict[str, str]:
    return {"NETWORKS_FILE": str(path), "NETWORKS": "polygon,gnosis", **more}


def test_a_described_network_is_served_by_its_name_and_has_its_own_variables(
    described: Path,
) -> None:
    settings = load(
        environment(
            described,
            RPC_URLS_GNOSIS="https://a.example.com,https://b.example.net",
            RPC_URLS_POLYGON="https://a.example.com",
            CONFIRMATIONS_GNOSIS="30",
            START_BLOCK_GNOSIS="1",
        ),
        needs=("rpc_urls",),
    )
    book = settings.book()
    assert [network.name for network in book.networks] == ["polygon", "gnosis"]
    assert book.get("gnosis").policy.blocks == 30
    assert book.named("gnosis", "live").token("USDC").decimals == 6


def test_the_books_know_a_described_network_that_is_served_no_more(described: Path) -> None:
    book = load(environment(described, NETWORKS="polygon")).book()
    assert [network.name for network in book.networks] == ["polygon"]
    assert book.unit_of("eip155:100/slip44:700") == ("xDAI", 18)
    units = AssetUnits(book)
    assert units.of("eip155:100/slip44:700").symbol == "xDAI"
    assert units.of("eip155:100/erc20:0x2a22f9c3b484c3629090feed35f17ff8f88f76f0").decimals == 6


def test_an_extended_network_takes_the_built_in_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "networks.toml"
    path.write_text(MORE, encoding="utf-8")
    book = load(environment(path, NETWORKS="polygon")).book()
    assert book.get("polygon").token("DAI").decimals == 18
    assert len(book.networks) == 1
    assert book.others == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"NETWORKS": "gnosys"}, "NETWORKS: 'gnosys' is none of"),
        ({"RPC_URLS_GNOSYS": "http://a"}, "RPC_URLS: 'gnosys' is none of"),
        ({"NETWORKS_FILE": "/nowhere/networks.toml"}, "cannot read /nowhere/networks.toml"),
    ],
)
def test_a_mistake_about_the_file_is_a_mistake_of_the_settings(
    described: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load({**environment(described), **change})
    assert said in str(error.value)


def test_the_local_chain_must_not_take_anothers_id(described: Path) -> None:
    described.write_text(GNOSIS.replace("chain_id = 100", "chain_id = 31337"), encoding="utf-8")
    tokens = {"LOCAL_TOKENS": "USDC=0x5FbDB2315678afecb367f032d93F642f64180aa3"}
    with pytest.raises(SettingsError, match="LOCAL_CHAIN_ID: 31337 is gnosis's"):
        load(environment(described, NETWORKS="local,gnosis", **tokens))
    assert load(environment(described, NETWORKS="local", **tokens)).networks == ("local",)


def test_the_example_of_the_guide_is_taken_as_it_stands(tmp_path: Path) -> None:
    examples = GUIDE.read_text(encoding="utf-8").split("```toml\n")[1:]
    assert len(examples) == 2
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(text.split("```")[0], encoding="utf-8")
        assert networks_of_file(path)
