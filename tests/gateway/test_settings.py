"""Settings: one frozen model, and errors that name the variable."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from domain.networks import ETHEREUM, KNOWN_NETWORKS
from gateway import serve
from gateway.local import PROCESSES, _only_needed
from gateway.settings import SettingsError, load

GOOD = {
    "DATABASE_URL": "postgresql://gw_app@db/gateway",
    "NATS_URL": "nats://nats:4222",
    "MASTER_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "RPC_URLS_LOCAL": "http://one:8545, http://two:8545",
    "LOCAL_TOKENS": "USDC=0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "CONFIRMATIONS_LOCAL": "5",
}
NEEDS = ("database_url", "nats_url", "master_key", "rpc_urls", "networks")


def test_an_environment_becomes_one_frozen_model() -> None:
    settings = load(GOOD)
    assert settings.rpc_urls["local"] == ("http://one:8545", "http://two:8545")
    network = settings.book().get("local")
    assert network.policy.blocks == 5
    assert network.tokens[0].address == "0x5fbdb2315678afecb367f032d93f642f64180aa3"
    with pytest.raises(ValidationError):
        settings.api_port = 1  # type: ignore[misc]  # frozen is what is tested


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "", "DATABASE_URL: is not set"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL: must be a URL, postgresql://host"),
        ("NATS_URL", "http://nats", "NATS_URL: must be a URL, nats://host"),
        ("MASTER_KEY", "c2hvcnQ=", "MASTER_KEY: must be 32 random bytes"),
        ("MASTER_KEY", "%%%", "MASTER_KEY: must be 32 random bytes"),
        ("NETWORKS", "dogechain", "NETWORKS: 'dogechain' is none of"),
        ("NETWORKS", "polygon", "RPC_URLS_POLYGON: is not set"),
        ("NETWORKS", "local,polygon,local", "NETWORKS: 'local' is there twice"),
        ("RPC_URLS_POLYGN", "http://one", "RPC_URLS: 'polygn' is none of"),
        ("CONFIRMATIONS_POLYGN", "3", "CONFIRMATIONS: 'polygn' is none of"),
        ("RPC_URLS_LOCAL", "nonsense", "RPC_URLS_LOCAL: give URLs that begin with"),
        (
            "RPC_URLS_LOCAL",
            "http://a:1/x,http://a:1/y",
            "RPC_URLS_LOCAL: number 1 (a:1) and number 2 (a:1) are one operator's",
        ),
        ("RPC_URLS_LOCAL", "http://a,http://b,http://c,http://d", "RPC_URLS_LOCAL: give one to 3"),
        ("RPC_URLS_LOCAL", "http://a:port", "RPC_URLS_LOCAL: "),
        (
            "RPC_URLS_BASE_SEPOLIA",
            "https://a.infura.io/v3/k,https://b.g.alchemy.com/v2/k,https://c.metamask.io",
            "BASE_SEPOLIA: number 1 (infura.io) and number 3 (metamask.io) are one operator's, Inf",
        ),
        ("RPC_URLS_LOCAL_FILE", "/nowhere/urls", "RPC_URLS_LOCAL_FILE: cannot read /nowhere/urls"),
        (
            "NETWORKS_FILE",
            "/nowhere/networks.toml",
            "NETWORKS_FILE: cannot read /nowhere/networks",
        ),
        ("LOCAL_TOKENS", "USDC", "LOCAL_TOKENS: 'USDC' is not SYMBOL=0xADDRESS"),
        ("LOCAL_TOKENS", "", "LOCAL_TOKENS: is not set"),
        ("API_PORT", "70000", "API_PORT: "),
        ("CONFIRMATIONS_LOCAL", "many", "CONFIRMATIONS_LOCAL: "),
        ("CONFIRMATIONS_LOCAL", "0", "CONFIRMATIONS_LOCAL: "),
        ("CONFIRMATIONS_LOCAL", "-5", "CONFIRMATIONS_LOCAL: "),
        ("CONFIRMATION_POLICY_POLYGN", "3", "CONFIRMATION_POLICY: 'polygn' is none of"),
        ("CONFIRMATION_POLICY_LOCAL", "3", "CONFIRMATION_POLICY_LOCAL: give it or CONFIRMATIONS_"),
        *(
            ("CONFIRMATION_POLICY_POLYGON", value, f"CONFIRMATION_POLICY_POLYGON: {said}")
            for value, said in (
                ("many", "'many' is no rule: give 1 to 10000 blocks, or safe or finalized"),
                ("0", "'0' is no rule"),
                ("10001", "'10001' is no rule"),
                ("3,", "'' is not FROM_USD:RULE in whole dollars"),
                ("3, 1000", "'1000' is not FROM_USD:RULE"),
                ("3, 0:5", "'0:5' is not FROM_USD:RULE"),
                ("3, 10.50:5", "'10.50:5' is not FROM_USD:RULE"),
                ("3, 1000:final", "'final' is no rule"),
                ("1000:5", "begin with the rule for every amount"),
                ("3, 1000:5, 1000:6", "1000 comes after 1000: smallest first"),
                ("3, 1000:5, 999:6", "999 comes after 1000: smallest first"),
                ("5, 1000:3", "a larger amount asks for 3 confirmations, a smaller 5"),
                ("finalized, 9:safe", "a larger amount asks for a safe block, a smaller a final"),
                (
                    "finalized, 9:100",
                    "9:100 counts blocks, after a smaller amount asks for a final",
                ),
                (
                    "64, 1000:safe, 5000:3",
                    "a larger amount asks for 3 confirmations, a smaller 64",
                ),
                ("3, 1000:safe, 5000:64", "5000:64 counts blocks, after a smaller amount asks"),
                ("safe, 1000:1", "1000:1 counts blocks, after a smaller amount asks for a safe"),
                ("9, 10:safe, 20:finalized, 30:safe", "a larger amount asks for a safe block"),
                ("1" + "".join(f", {n}:3" for n in range(1, 10)), "give at most 8 amounts"),
            )
        ),
        ("START_BLOCK_LOCAL", "-1", "START_BLOCK_LOCAL: "),
        ("METRICS_PORT", "70000", "METRICS_PORT: "),
        ("INGEST_RESTS", "sometimes", "INGEST_RESTS: "),
        (
            "RPC_USD_PER_MILLION_CALLS_LOCAL",
            "0.45",
            "RPC_USD_PER_MILLION_CALLS_LOCAL: give one for each of RPC_URLS_LOCAL",
        ),
        (
            "RPC_USD_PER_MILLION_CALLS_LOCAL",
            "0.45,cheap",
            "RPC_USD_PER_MILLION_CALLS_LOCAL: must be dollars for a million calls",
        ),
        ("AMOUNT_MAX", "1e9", "AMOUNT_MAX: must be dollars and cents"),
        ("AMOUNT_MAX", "0.00", "AMOUNT_MAX: must be dollars and cents above zero"),
        ("SIGNER_MAX_PER_DAY", "abc", "SIGNER_MAX_PER_DAY: must be dollars and cents"),
        ("MASTER_KEY_FILE", "/nowhere/key", "MASTER_KEY_FILE: cannot read /nowhere/key"),
    ],
)
def test_a_wrong_variable_is_named_with_what_it_should_be(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load({**GOOD, name: value}, needs=NEEDS)
    assert said in str(refused.value)


POLYGON = {**GOOD, "NETWORKS": "polygon,ethereum,local", "RPC_URLS_POLYGON": "http://a"}


def test_amounts_and_tags_are_one_variable_a_network() -> None:
    written = " 3 ,1000:12, 10000:safe,50000:finalized"
    book = load({**POLYGON, "CONFIRMATION_POLICY_POLYGON": written}).book()
    policy = book.get("polygon").policy
    assert [policy.rule_for(dollars * 10**6, 6).text for dollars in (999, 1_000, 10_000)] == [
        "3 confirmations",
        "12 confirmations",
        "a safe block",
    ]
    assert policy.rule_for(50_000 * 10**6, 6).text == "a finalized block"
    assert policy.rule_for(10_000 * 10**6 - 1, 6).text == "12 confirmations"
    assert book.get("ethereum") == ETHEREUM, "the others keep their own"
    assert not policy.allow_unattested
    assert type(policy).model_validate(policy.model_dump()) == policy


def test_a_tag_for_every_amount_leaves_the_networks_own_number_beside_it() -> None:
    book = load({**POLYGON, "CONFIRMATION_POLICY_POLYGON": "finalized"}).book()
    policy = book.get("polygon").policy
    assert (policy.tag, policy.blocks, policy.tiers) == ("finalized", 64, ())
    assert policy.rule_for(1, 6).text == "a finalized block"


def test_known_networks_keep_their_defaults() -> None:
    book = load({**POLYGON, "CONFIRMATIONS_LOCAL": ""}).book()
    assert {each.name: each.policy.blocks for each in book.networks} == {
        "polygon": 64,
        "ethereum": 3,
        "local": 3,
    }
    assert not any(each.policy.tiers or each.policy.tag for each in book.networks)


def test_every_wrong_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load({}, needs=NEEDS)
    for name in ("DATABASE_URL", "NATS_URL", "MASTER_KEY"):
        assert name in str(refused.value)


def test_a_secret_is_in_no_error_and_no_print() -> None:
    secret = "c2VjcmV0LXNlY3JldA=="
    with pytest.raises(SettingsError) as refused:
        load({**GOOD, "MASTER_KEY": secret})
    assert secret not in str(refused.value)
    assert GOOD["MASTER_KEY"] not in repr(load(GOOD))


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(GOOD["MASTER_KEY"] + "\n", encoding="utf-8")
    environment = {k: v for k, v in GOOD.items() if k != "MASTER_KEY"}
    settings = load({**environment, "MASTER_KEY_FILE": str(path)})
    assert settings.master_key_bytes() == bytes(range(32))


def test_the_urls_of_a_network_may_come_from_a_file_as_they_hold_keys(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text("https://one.example.com/key,https://two.example.net/key\n", encoding="utf-8")
    given = {**GOOD, "NETWORKS": "local,op_sepolia", "RPC_URLS_OP_SEPOLIA_FILE": str(path)}
    settings = load(given, needs=NEEDS)
    assert len(settings.rpc_urls["op_sepolia"]) == 2
    assert [network.chain_id for network in settings.book().networks] == [31337, 11155420]


def test_every_built_in_network_can_be_served_with_variables_of_its_own() -> None:
    names = [network.name for network in KNOWN_NETWORKS]
    urls = {f"RPC_URLS_{name.upper()}": "https://one.example.com" for name in names}
    policies = {f"CONFIRMATION_POLICY_{name.upper()}": "7" for name in names}
    book = load({**urls, **policies, "NETWORKS": ",".join(names)}, needs=("rpc_urls",)).book()
    assert [network.name for network in book.networks] == names
    assert {network.policy.blocks for network in book.networks} == {7}


def test_a_fork_of_a_known_chain_may_be_the_local_one_but_not_beside_it() -> None:
    forked = {**GOOD, "LOCAL_CHAIN_ID": "137", "RPC_URLS_POLYGON": "https://one.example.com"}
    assert load(forked).book().get("local").chain_id == 137
    with pytest.raises(SettingsError, match="LOCAL_CHAIN_ID: 137 is polygon's"):
        load({**forked, "NETWORKS": "polygon,local"})


def test_the_signer_gets_its_own_secrets_and_no_others() -> None:
    given = {
        **GOOD,
        "DATABASE_URL_OWNER": "postgresql://gw_owner@db/gateway",
        "DATABASE_URL_SIGNER": "postgresql://gw_signer@db/gateway",
        "KEYSTORE_PATH": "keystore.json",
        "KEYSTORE_PASSPHRASE": "open sesame",
    }
    signers = _only_needed("sign", given)
    assert load(signers, needs=serve.NEEDS["sign"]).database_url is None
    assert not {"DATABASE_URL", "NATS_URL", "MASTER_KEY", "DATABASE_URL_OWNER"} & set(signers)
    for name in PROCESSES:
        if name == "sign":
            continue
        others = _only_needed(name, given)
        load(others, needs=serve.NEEDS[name])
        assert not {"KEYSTORE_PASSPHRASE", "DATABASE_URL_SIGNER"} & set(others)
        assert ("MASTER_KEY" in others) is (name in {"api", "deliver"})


def test_migrations_and_keystore_need_no_network() -> None:
    settings = load({"DATABASE_URL_OWNER": "postgresql://o@db/x"}, needs=("database_url_owner",))
    assert settings.secret("database_url_owner") == "postgresql://o@db/x"


def test_figures_are_shown_only_when_a_port_is_given_and_then_to_this_machine() -> None:
    settings = load(GOOD)
    assert (settings.metrics_port, settings.metrics_host) == (None, "127.0.0.1")
    assert load({**GOOD, "METRICS_PORT": "9464"}).metrics_port == 9464


def test_prices_stay_the_text_they_are_given_as() -> None:
    settings = load({**GOOD, "RPC_USD_PER_MILLION_CALLS_LOCAL": "0.45, 0"})
    assert settings.rpc_usd_per_million_calls["local"] == ("0.45", "0")
