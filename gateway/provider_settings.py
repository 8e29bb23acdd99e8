"""What is said of each provider of a network beside its URL: rates, prices, sockets.

Shapes  Lists in the order of RPC_URLS. Errors are ValueErrors that pydantic shows to people.
"""

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

SOCKETS_MAX = 3
_RATE = re.compile(r"[1-9][0-9]{0,3}")
_PRICE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def listed(raw: object) -> object:
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    return raw


def _rates(rates: tuple[str, ...]) -> tuple[str, ...]:
    if not rates or not all(_RATE.fullmatch(rate) for rate in rates):
        raise ValueError("must be calls a second, 1 to 9999, such as 25 or 25,10,25")
    return rates


def _prices(prices: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_PRICE.fullmatch(price) for price in prices):
        raise ValueError("must be dollars for a million calls, such as 0.45,0,1.20")
    return prices


def _sockets(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(urls) <= SOCKETS_MAX:
        raise ValueError(f"give one to {SOCKETS_MAX} URLs")
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"} or not parts.hostname:
            raise ValueError("give URLs that begin with ws:// or wss://")
    return urls


Listed = Annotated[tuple[str, ...], BeforeValidator(listed)]
Rates = Annotated[Listed, AfterValidator(_rates)]
Prices = Annotated[Listed, AfterValidator(_prices)]
Sockets = Annotated[Listed, AfterValidator(_sockets)]


def check_one_each(
    variable: str, values: Mapping[str, Listed], urls: Mapping[str, Listed], *, or_one: bool
) -> None:
    """As many as there are URLs of the network; or one for all of them."""
    for network, given in values.items():
        fits = {len(urls.get(network, given)), *((1,) if or_one else ())}
        if len(given) not in fits:
            upper = network.upper()
            raise ValueError(f"{variable}_{upper}: give one for each of RPC_URLS_{upper}")
