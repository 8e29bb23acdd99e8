"""The networks of a gateway: those it serves, and those it knows.

Shapes  NetworkBook finds networks by name, by asset and by mode. The values are in
        domain/network.py, the networks that come with the gateway in
        domain/network_catalogue.py; both can be had from here.
        A session outlives the service of its network: what was opened, paid and told there is
        shown on. So what is not served is looked for among the described and the built-in ones,
        as the books do it (application/asset_units.py); of an asset that nothing describes any
        more the id is its name, and amounts are its base units.
Errors  NetworkUnknown, TokenUnknown name what is offered instead.
"""

import re
from collections.abc import Iterator
from typing import Self

from domain.errors import NetworkUnknown
from domain.network import (
    ETHER,
    TIERS_MAX,
    ZERO_ADDRESS,
    Address,
    AmountTier,
    Coin,
    ConfirmationPolicy,
    ConfirmationRule,
    Eip712Domain,
    Finality,
    Network,
    Token,
)
from domain.network_catalogue import ETHEREUM, KNOWN_NETWORKS, POLYGON
from domain.values import Mode, Value

__all__ = [
    "ETHER",
    "ETHEREUM",
    "KNOWN_NETWORKS",
    "POLYGON",
    "TIERS_MAX",
    "ZERO_ADDRESS",
    "Address",
    "AmountTier",
    "Coin",
    "ConfirmationPolicy",
    "ConfirmationRule",
    "Eip712Domain",
    "Finality",
    "Network",
    "NetworkBook",
    "Token",
    "local_network",
]


class NetworkBook(Value):
    """Every network this gateway serves."""

    networks: tuple[Network, ...]
    # Described by the operator and not served (any more): for the books, which outlive service.
    others: tuple[Network, ...] = ()

    def named(self, name: str, mode: Mode) -> Network:
        offered = [network for network in self.networks if network.mode == mode]
        for network in offered:
            if network.name == name:
                return network
        names = ", ".join(network.name for network in offered) or "none"
        raise NetworkUnknown(f"{name!r} is not offered in {mode} mode; choose one of: {names}")

    def default(self, mode: Mode) -> Network:
        for network in self.networks:
            if network.mode == mode:
                return network
        raise NetworkUnknown(f"no network is configured for {mode} mode")

    def known(self) -> Iterator[Network]:
        """Those served, and those beside them that are described or built in, each name once."""
        names: set[str] = set()
        for network in (*self.networks, *self.others, *KNOWN_NETWORKS):
            if network.name not in names:
                names.add(network.name)
                yield network

    def find(self, name: str) -> Network | None:
        """Served or not."""
        return next((network for network in self.known() if network.name == name), None)

    def get(self, name: str) -> Network:
        """Served or not. Raises NetworkUnknown for one that nothing describes any more."""
        found = self.find(name)
        if found is None:
            raise NetworkUnknown(f"nothing describes the network {name!r} any more")
        return found

    def serves(self, name: str) -> bool:
        return any(network.name == name for network in self.networks)

    def title_of(self, name: str) -> str:
        found = self.find(name)
        return name if found is None else found.title

    def unit_of(self, asset: str) -> tuple[str, int]:
        """What people call an asset, and its decimals; its id and 0 where we do not know it."""
        for network in self.known():
            if asset == network.coin_asset:
                return network.coin.symbol, network.coin.decimals
            for token in network.tokens:
                if network.asset(token) == asset:
                    return token.symbol, token.decimals
        return asset, 0

    def of_asset(self, asset: str) -> tuple[Network, Token]:
        """The network and token of an asset we once accepted, served or not.

        Where nothing describes it any more the token is called by its id and has no decimals.
        """
        for network in self.known():
            for token in network.tokens:
                if network.asset(token) == asset:
                    return network, token
        return _undescribed(asset)

    def only(self, names: tuple[str, ...]) -> Self:
        kept = tuple(network for network in self.networks if network.name in names)
        return self.changed(networks=kept)


_TOKEN_ASSET = re.compile(r"eip155:([0-9]{1,20})/erc20:(0x[0-9a-f]{40})")


def _undescribed(asset: str) -> tuple[Network, Token]:
    parts = _TOKEN_ASSET.fullmatch(asset)
    if parts is None:
        raise ValueError(f"{asset!r} is no token of an EVM chain")  # nothing else is ever due
    token = Token(symbol=asset, address=parts[2], decimals=0, accepted=False)
    chain = f"eip155:{parts[1]}"
    network = Network(
        name=chain,
        title=chain,
        chain_id=int(parts[1]),
        mode="test",
        tokens=(token,),
        policy=ConfirmationPolicy(version=1, blocks=1),
        block_seconds=1,
    )
    return network, token


def local_network(*, chain_id: int, tokens: tuple[Token, ...], blocks: int) -> Network:
    """A chain on this machine, for development and tests: one provider, so unattested."""
    return Network(
        name="local",
        title="Local test chain",
        chain_id=chain_id,
        mode="test",
        tokens=tokens,
        policy=ConfirmationPolicy(version=1, blocks=blocks, allow_unattested=True),
        block_seconds=1,
    )
