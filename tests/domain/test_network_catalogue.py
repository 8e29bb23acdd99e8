"""The networks that come with the gateway, held against what is known of them."""

import re
from pathlib import Path

import pytest

from adapters.addresses import checksum_address
from domain import network_catalogue
from domain.network_catalogue import KNOWN_NETWORKS
from domain.networks import Network, NetworkBook, local_network

WRITTEN = re.findall(
    r'"(0x[0-9a-fA-F]{40})"', Path(network_catalogue.__file__).read_text(encoding="utf-8")
)
IDS = [network.name for network in KNOWN_NETWORKS]


def test_each_address_is_written_with_its_checksum_and_no_other_is_used() -> None:
    assert [address for address in WRITTEN if checksum_address(address) != address] == []
    used = [token.address for network in KNOWN_NETWORKS for token in network.tokens]
    assert sorted(address.lower() for address in WRITTEN) == sorted(used)


def test_main_and_test_networks_are_those_that_were_promised() -> None:
    chains = {network.name: (network.chain_id, network.mode) for network in KNOWN_NETWORKS}
    assert chains == {
        "ethereum": (1, "live"),
        "polygon": (137, "live"),
        "base": (8453, "live"),
        "arbitrum": (42161, "live"),
        "optimism": (10, "live"),
        "avalanche": (43114, "live"),
        "sepolia": (11155111, "test"),
        "polygon_amoy": (80002, "test"),
        "base_sepolia": (84532, "test"),
        "arbitrum_sepolia": (421614, "test"),
        "op_sepolia": (11155420, "test"),
        "fuji": (43113, "test"),
    }


@pytest.mark.parametrize("network", KNOWN_NETWORKS, ids=IDS)
def test_each_offers_usdc_and_a_live_one_usdt_of_six_decimals(network: Network) -> None:
    offered = {token.symbol for token in network.accepted_tokens()}
    assert offered == ({"USDC", "USDT"} if network.mode == "live" else {"USDC"})
    assert {token.decimals for token in network.tokens} == {6}
    assert all(token.title for token in network.tokens)
    symbols = [token.symbol for token in network.tokens]
    assert len(set(symbols)) == len(symbols)


def test_a_bridged_dollar_is_recognised_and_never_accepted() -> None:
    bridged = {
        network.name: [token.symbol for token in network.tokens if not token.accepted]
        for network in KNOWN_NETWORKS
        if network.mode == "live"
    }
    assert bridged == {
        "ethereum": [],
        "polygon": ["USDC.e"],
        "base": ["USDbC"],
        "arbitrum": ["USDC.e"],
        "optimism": ["USDC.e", "USDT (bridged)"],
        "avalanche": ["USDC.e"],
    }


@pytest.mark.parametrize(
    ("name", "dollars", "rule"),
    [
        ("ethereum", 9_999, "3 confirmations"),
        ("polygon", 9_999, "64 confirmations"),
        ("base", 999, "10 confirmations"),
        ("base", 1_000, "a safe block"),
        ("base", 10_000, "a finalized block"),
        ("arbitrum", 999, "240 confirmations"),
        ("optimism", 9_999, "a safe block"),
        ("avalanche", 1, "a finalized block"),
        ("fuji", 1, "a finalized block"),
        ("base_sepolia", 10_000, "a finalized block"),
    ],
)
def test_larger_amounts_wait_for_what_a_sequencer_cannot_take_back(
    name: str, dollars: int, rule: str
) -> None:
    policy = NetworkBook(networks=KNOWN_NETWORKS).get(name).policy
    assert policy.rule_for(dollars * 10**6, 6).text == rule


@pytest.mark.parametrize("network", KNOWN_NETWORKS, ids=IDS)
def test_only_worthless_money_is_confirmed_on_one_providers_word(network: Network) -> None:
    assert network.policy.allow_unattested == (network.mode == "test")
    assert Network.model_validate(network.model_dump()) == network


def test_nothing_gasless_is_claimed_of_the_tokens_that_cannot() -> None:
    claimed = {
        (network.name, token.symbol): token.eip712.name
        for network in KNOWN_NETWORKS
        for token in network.tokens
        if token.eip712 is not None
    }
    live = ("ethereum", "polygon", "base", "arbitrum", "optimism", "avalanche")
    assert {key for key, name in claimed.items() if name == "USD Coin"} == {
        *((name, "USDC") for name in (*live, "arbitrum_sepolia", "fuji"))
    }
    assert {key for key, name in claimed.items() if name == "USDC"} == {
        (name, "USDC") for name in ("sepolia", "polygon_amoy", "base_sepolia", "op_sepolia")
    }
    assert {key for key, name in claimed.items() if name.startswith("USD₮")} == {
        ("arbitrum", "USDT")
    }


def test_rules_of_a_policy_begin_with_the_smallest_amounts() -> None:
    base = NetworkBook(networks=KNOWN_NETWORKS).get("base").policy
    assert [rule.text for rule in base.rules] == [
        "10 confirmations",
        "a safe block",
        "a finalized block",
    ]
    assert [rule.text for rule in local_network(chain_id=1, tokens=(), blocks=3).policy.rules] == [
        "3 confirmations"
    ]
