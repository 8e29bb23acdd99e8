"""Rates and sockets of providers, as an operator writes them."""

import pytest

from gateway.settings import SettingsError, load

URLS = {
    "NETWORKS": "polygon",
    "RPC_URLS_POLYGON": "https://one.example,https://two.example,https://three.example",
}


def test_one_rate_is_for_each_provider_and_several_are_in_their_order() -> None:
    one = load({**URLS, "RPC_REQUESTS_PER_SECOND_POLYGON": "25"})
    assert [one.requests_per_second("polygon", place) for place in range(3)] == [25, 25, 25]
    each = load({**URLS, "RPC_REQUESTS_PER_SECOND_POLYGON": "25,10,300"})
    assert [each.requests_per_second("polygon", place) for place in range(3)] == [25, 10, 300]
    assert load(URLS).requests_per_second("polygon", 0) is None


@pytest.mark.parametrize("rates", ["0", "fast", "1.5", "-3", "10000", "25,10"])
def test_a_rate_that_cannot_be_is_named(rates: str) -> None:
    with pytest.raises(SettingsError, match="RPC_REQUESTS_PER_SECOND_POLYGON"):
        load({**URLS, "RPC_REQUESTS_PER_SECOND_POLYGON": rates})


def test_sockets_are_optional_and_checked() -> None:
    assert load(URLS).rpc_ws_urls == {}
    settings = load({**URLS, "RPC_WS_URLS_POLYGON": "wss://one.example/key"})
    assert settings.rpc_ws_urls["polygon"] == ("wss://one.example/key",)


@pytest.mark.parametrize("urls", ["https://one.example", "wss://", "one.example"])
def test_a_socket_that_is_none_is_named_without_its_key(urls: str) -> None:
    with pytest.raises(SettingsError, match="RPC_WS_URLS_POLYGON") as caught:
        load({**URLS, "RPC_WS_URLS_POLYGON": urls})
    assert "one.example" not in str(caught.value)


def test_a_network_nobody_knows_is_named() -> None:
    with pytest.raises(SettingsError, match="RPC_WS_URLS"):
        load({**URLS, "RPC_WS_URLS_NOWHERE": "wss://one.example"})
