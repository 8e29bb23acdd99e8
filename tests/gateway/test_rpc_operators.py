"""Whose provider it is: two answers of one operator attest nothing."""

import pytest

from gateway.rpc_operators import operator_of, why_not_independent


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        (("https://mainnet.infura.io/v3/key", "https://rpc.metamask.io/key"), "Infura"),
        (("https://eth.alchemyapi.io/v2/a", "https://eth-mainnet.g.alchemy.com/v2/b"), "Alchemy"),
        (("https://a-b.matic.quiknode.pro/k/", "https://rpc.quicknode.com/k"), "QuickNode"),
        (("https://nd-1.p2pify.com/k", "https://chainstack.com/k"), "Chainstack"),
        (("https://polygon.drpc.org", "https://lb.drpc.org/ogrpc?network=polygon"), "dRPC"),
        (("https://one.example.com", "https://two.example.com"), "example.com"),
        (("https://one.example.co.uk", "https://two.example.co.uk"), "example.co.uk"),
        (("https://NODE.example.com./a", "https://example.com:8443/b"), "example.com"),
        (("https://93.184.216.34:1", "https://93.184.216.34:2"), "93.184.216.34"),
        (("http://127.0.0.1:8545/a", "http://127.0.0.1:8545/b"), "127.0.0.1:8545"),
        (("http://geth", "http://geth:80/x"), "geth:80"),
        (("http://[::1]:1", "http://[::1]:1/"), "[::1]:1"),
    ],
)
def test_two_urls_of_one_operator_are_refused_by_name(urls: tuple[str, str], shown: str) -> None:
    reason = why_not_independent(("https://other.invalid-operator.net", *urls))
    assert reason is not None
    assert f"one operator's, {shown}" in reason
    assert "number 2" in reason
    assert "number 3" in reason


@pytest.mark.parametrize(
    "urls",
    [
        ("https://mainnet.infura.io/v3/key", "https://eth-mainnet.g.alchemy.com/v2/key"),
        ("https://one.co.uk", "https://two.co.uk"),
        ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://localhost:1"),
        ("http://10.0.0.1:8545", "http://10.0.0.2:8545"),
        (
            "http://geth.default.svc.cluster.local:8545",
            "http://reth.default.svc.cluster.local:8545",
        ),
        ("http://[::1]:1", "http://[::1]:2"),
        ("http://geth:8545", "http://reth:8545"),
        ("https://93.184.216.34", "https://93.184.216.35"),
    ],
)
def test_nodes_of_ones_own_and_different_operators_are_taken(urls: tuple[str, ...]) -> None:
    assert why_not_independent(urls) is None


def test_no_part_of_a_url_that_may_be_a_key_is_repeated() -> None:
    key = "5up3r53cr3t"
    urls = (f"https://{key}.quiknode.pro/{key}/?k={key}", f"https://u:{key}@x.quiknode.pro/{key}")
    reason = why_not_independent(urls)
    assert reason is not None
    assert key not in reason


def test_one_who_passes_questions_on_is_known() -> None:
    assert operator_of("https://lb.drpc.org/x").aggregator
    assert operator_of("https://polygon.llamarpc.com").aggregator
    assert not operator_of("https://polygon-mainnet.infura.io/v3/x").aggregator


@pytest.mark.parametrize("url", ["nonsense", "ws://a", "http://", "http://a:99999999"])
def test_what_is_no_url_of_a_provider_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"http://|[Pp]ort"):
        operator_of(url)
