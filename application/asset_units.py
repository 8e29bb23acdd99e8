"""What people call an asset, and its decimals: for books, which outlive a network's service.

Shapes  Every network this gateway knows, served or not: a month that is over must not change
        because a network has left NETWORKS. What is configured has the last word.
Errors  AssetUnknown names the asset and what to configure: decimals are never guessed, as a
        figure in base units would be a million times too large.
"""

from typing import NamedTuple

from domain.errors import AssetUnknown
from domain.networks import KNOWN_NETWORKS, NetworkBook


class AssetUnit(NamedTuple):
    symbol: str
    decimals: int
    network: str


class AssetUnits:
    def __init__(self, networks: NetworkBook) -> None:
        self._units: dict[str, AssetUnit] = {}
        for network in (*KNOWN_NETWORKS, *networks.others, *networks.networks):
            coin = network.coin
            self._units[network.coin_asset] = AssetUnit(coin.symbol, coin.decimals, network.name)
            for token in network.tokens:
                unit = AssetUnit(token.symbol, token.decimals, network.name)
                self._units[network.asset(token)] = unit

    def of(self, asset: str) -> AssetUnit:
        """Raises AssetUnknown."""
        found = self._units.get(asset)
        if found is None:
            raise AssetUnknown(
                f"the decimals of {asset} are not known, so it cannot be stated: name its network "
                "in NETWORKS again, and a token of the local network in LOCAL_TOKENS"
            )
        return found

    def find(self, asset: str) -> AssetUnit | None:
        return self._units.get(asset)
