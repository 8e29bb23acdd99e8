"""Domain separators, against those that contracts have given."""

import pytest

from application.eip712 import separator_of
from domain.networks import KNOWN_NETWORKS, NetworkBook

# As read by DOMAIN_SEPARATOR() and quoted in public code: facts/chain.md 1, and for the test
# networks what several projects verified on chain (the first sixteen digits or all of them).
ON_CHAIN = {
    ("ethereum", "USDC"): "06c37168a7db5138defc7866392bb87a741f9b3d104deb5094588ce041cae335",
    ("polygon", "USDC"): "caa2ce1a",
    ("base", "USDC"): "02fa7265",
    ("arbitrum", "USDC"): "08d11903",
    ("optimism", "USDC"): "26d9c34b",
    ("avalanche", "USDC"): "bbea2003",
    ("arbitrum", "USDT"): "566af68f",
    ("sepolia", "USDC"): "b90e5057db141a932946e64d09ccb7ffc9b00bd79fec26f698d29af0c83320a6",
    ("polygon_amoy", "USDC"): "5cddc98319864e897e4469bd1d13c2288c677047b54b8cca12bd342adb6be9eb",
    ("base_sepolia", "USDC"): "71f17a3b",
    (
        "arbitrum_sepolia",
        "USDC",
    ): "85944e1292d007732838d6eadfa67589b78ffcededbd4df60488d0af251308b",
    ("op_sepolia", "USDC"): "09d038a3e46040fc37eb01174dbbcdb7981fbd8eafd9e1a857b1c67805dfb29e",
    ("fuji", "USDC"): "fe9fa105a0e9629446730e544caa6b8d05d8d4fc93451750dc50e2ddd6d374b3",
}
CLAIMS = {
    (network.name, token.symbol): separator_of(network, token)
    for network in KNOWN_NETWORKS
    for token in network.tokens
}


@pytest.mark.parametrize(("place", "begins"), ON_CHAIN.items(), ids=lambda value: str(value)[:40])
def test_a_separator_is_the_one_its_contract_gave(place: tuple[str, str], begins: str) -> None:
    separator = CLAIMS[place]
    assert separator is not None
    assert separator.hex().startswith(begins)


def test_each_claim_is_held_against_a_contract_and_the_others_claim_nothing() -> None:
    assert {place for place, separator in CLAIMS.items() if separator} == set(ON_CHAIN)


def test_another_name_version_chain_or_address_gives_another_separator() -> None:
    base = NetworkBook(networks=KNOWN_NETWORKS).get("base")
    token = base.token("USDC")
    domain = token.eip712
    assert domain is not None
    others = [
        separator_of(base, token.changed(eip712=domain.changed(name="USDC"))),
        separator_of(base, token.changed(eip712=domain.changed(version="1"))),
        separator_of(base, token.changed(address="0x" + "11" * 20)),
        separator_of(base.changed(chain_id=1), token),
    ]
    assert len({separator_of(base, token), *others}) == 5
