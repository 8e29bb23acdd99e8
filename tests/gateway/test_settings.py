"""Settings: one frozen model, and errors that name the variable."""

from pathlib import Path

import pytest
from pydantic import ValidationError

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
    assert (network.policy.blocks, network.policy.version) == (5, 1_000_005)
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
        ("RPC_URLS_POLYGN", "http://one", "RPC_URLS: 'polygn' is none of"),
        ("CONFIRMATIONS_POLYGN", "3", "CONFIRMATIONS: 'polygn' is none of"),
        ("RPC_URLS_LOCAL", "nonsense", "RPC_URLS_LOCAL: give URLs that begin with"),
        (
            "RPC_URLS_LOCAL",
            "http://a:1/x,http://a:1/y",
            "RPC_URLS_LOCAL: each URL must be another",
        ),
        ("RPC_URLS_LOCAL", "http://a,http://b,http://c,http://d", "RPC_URLS_LOCAL: give one to 3"),
        ("LOCAL_TOKENS", "USDC", "LOCAL_TOKENS: 'USDC' is not SYMBOL=0xADDRESS"),
        ("LOCAL_TOKENS", "", "LOCAL_TOKENS: is not set"),
        ("API_PORT", "70000", "API_PORT: "),
        ("CONFIRMATIONS_LOCAL", "many", "CONFIRMATIONS_LOCAL: "),
        ("CONFIRMATIONS_LOCAL", "0", "CONFIRMATIONS_LOCAL: "),
        ("CONFIRMATIONS_LOCAL", "-5", "CONFIRMATIONS_LOCAL: "),
        ("START_BLOCK_LOCAL", "-1", "START_BLOCK_LOCAL: "),
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
