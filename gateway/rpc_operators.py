"""Who stands behind a provider's URL: two answers of one operator attest nothing.

Shapes  `operator_of` gives a name to compare: a known operator's, else the registrable domain,
        else, on private networks and this machine, the host and port, as each node there is the
        operator's own affair. Only these names are shown, never a URL: it may hold a key.
        An aggregator passes each question on to others, who may be the second provider: it is no
        refusal, as nobody can tell from here, but `gateway networks check` warns of it.
Source  requirement B5, facts/chain.md 0.1 and 5 (Infura and MetaMask are one; failover to one
        operator's second node was how the money of others was taken). Domains as the operators'
        own pages name them, November 2026.
"""

import ipaddress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

# One operator under several names. Anybody else is told apart by the registrable domain.
FAMILIES: dict[str, tuple[str, ...]] = {
    "Infura": ("infura.io", "metamask.io"),
    "Alchemy": ("alchemy.com", "alchemyapi.io"),
    "QuickNode": ("quicknode.com", "quiknode.pro"),
    "Chainstack": ("chainstack.com", "p2pify.com"),
    "Allnodes": ("allnodes.com", "allnodes.me", "publicnode.com"),
    "Bware": ("bwarelabs.com", "blastapi.io"),
    "dRPC": ("drpc.org", "drpc.com"),
    "Cloudflare": ("cloudflare-eth.com", "cloudflare.com"),
    "Automata": ("1rpc.io", "ata.network"),
}
AGGREGATORS = frozenset(
    {
        "dRPC",
        "Automata",
        "lavanet.xyz",
        "llamarpc.com",
        "pokt.network",
        "grove.city",
        "polygon-rpc.com",
        "erpc.cloud",
        "thirdweb.com",
    }
)
# Where the part before the suffix is the owner's, as co.uk's are. Not all there are: a missing
# one makes two owners look like one, which is refused aloud, never the other way round.
_LONG_SUFFIXES = frozenset(
    {
        *("co.uk", "org.uk", "com.au", "com.br", "com.cn", "com.hk", "com.sg", "com.tr", "com.mx"),
        *("co.jp", "ne.jp", "co.kr", "co.in", "co.nz", "co.za", "com.tw", "com.ar", "com.ua"),
    }
)
_PRIVATE_ENDS = ("local", "localhost", "internal", "lan", "home.arpa", "test", "svc", "docker")
_FAMILY_OF = {domain: family for family, domains in FAMILIES.items() for domain in domains}


class Operator(NamedTuple):
    name: str
    shown: str  # what the message calls it
    aggregator: bool = False


def operator_of(url: str) -> Operator:
    """Raises ValueError for what is no URL of a provider."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("give URLs that begin with http:// or https://")
    place = _private_place(parts, host)
    if place is not None:
        return Operator(place, place)
    if _address(host) is not None:
        return Operator(host, host)
    domain = _registrable(host)
    family = _FAMILY_OF.get(domain, domain)
    return Operator(family, domain, aggregator=family in AGGREGATORS)


def why_not_independent(urls: tuple[str, ...]) -> str | None:
    """The first two that have one operator, by their places in the list."""
    seen: dict[str, tuple[int, Operator]] = {}
    for number, url in enumerate(urls, start=1):
        operator = operator_of(url)
        if operator.name in seen:
            other, first = seen[operator.name]
            both = f"number {other} ({first.shown}) and number {number} ({operator.shown})"
            return (
                f"{both} are one operator's, {operator.name}: two of three must agree, so each "
                "must be another's"
            )
        seen[operator.name] = (number, operator)
    return None


def _private_place(parts: SplitResult, host: str) -> str | None:
    """Host and port of a node on this machine or a network of one's own."""
    address = _address(host)
    if address is not None:
        private = address.is_private or address.is_loopback or address.is_link_local
    else:
        private = "." not in host or host.endswith(tuple(f".{end}" for end in _PRIVATE_ENDS))
    if not private:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _registrable(host: str) -> str:
    labels = host.split(".")
    long = ".".join(labels[-2:]) in _LONG_SUFFIXES
    return ".".join(labels[-3:] if long else labels[-2:])
