"""Settings: one frozen model, and errors that name the variable."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import SettingsError, load

GOOD = {
    "DATABASE_URL": "postgresql://gw_app@db/gateway",
    "NATS_URL": "nats://nats:4222",
    "MASTER_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "RPC_URLS_LOCAL": "http://one:8545, http://two:8545",
    "LOCAL_TOKENS": "USDC=0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "CONFIRMATIONS_LOCAL": "5",
}


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
        ("MASTER_KEY", "c2hvcnQ=", "MASTER_KEY: give 32 random bytes"),
        ("MASTER_KEY", "%%%", "MASTER_KEY: give 32 random bytes"),
        ("NETWORKS", "dogechain", "'dogechain' is none of"),
        ("NETWORKS", "polygon", "RPC_URLS_POLYGON: give one to 3 URLs"),
        ("LOCAL_TOKENS", "USDC", "LOCAL_TOKENS: 'USDC' is not SYMBOL=0xADDRESS"),
        ("LOCAL_TOKENS", "", "LOCAL_TOKENS: name at least one token"),
        ("API_PORT", "70000", "API_PORT: "),
        ("CONFIRMATIONS_LOCAL", "many", "CONFIRMATIONS_LOCAL: "),
        ("AMOUNT_MAX", "1e9", "AMOUNT_MAX: "),
        ("MASTER_KEY_FILE", "/nowhere/key", "MASTER_KEY_FILE: cannot read /nowhere/key"),
    ],
)
def test_a_wrong_variable_is_named_with_what_it_should_be(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load({**GOOD, name: value})
    assert said in str(refused.value)


def test_every_wrong_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load({})
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
