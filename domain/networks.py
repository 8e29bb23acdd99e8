"""The networks of a gateway: those it serves, and those it knows.

Shapes  NetworkBook finds networks by name, by asset and by mode. The values are in
        domain/network.py, the networks that come with the gateway in
        domain/network_catalogue.py; both can be had from here.
Errors  NetworkUnknown, TokenUnknown name what is offered instead.
"""

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

    def get(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def unit_of(self, asset: str) -> tuple[str, int]:
        """What people call an asset, and its decimals; its id and 0 where we do not know it."""
        for network in (*self.networks, *self.others):
            if asset == network.coin_asset:
                return network.coin.symbol, network.coin.decimals
            for token in network.tokens:
                if network.asset(token) == asset:
                    return token.symbol, token.decimals
        return asset, 0

    def of_asset(self, asset: str) -> tuple[Network, Token]:
        """The network and token of an asset we once accepted; unknown ones are a bug."""
        for network in self.networks:
            for token in network.tokens:
                if network.asset(token) == asset:
                    return network, token
        raise KeyError(asset)

    def only(self, names: tuple[str, ...]) -> Self:
        kept = tuple(network for network in self.networks if network.name in names)
        return self.changed(networks=kept)


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
