"""Which addresses on the network belong to the public, and may be posted to.

Shapes  text of an address as the resolver or the socket layer gives it, "%scope" included.
Source  the IANA special-purpose registries of IPv4 and IPv6. Python's own `is_global` lets
        relays into private networks through (64:ff9b::7f00:1, 2002:7f00:1::), multicast and
        site-local addresses, so ours is a list on top of it. For IPv6 only what IANA has given
        out as global unicast (2000::/3) is considered at all.
"""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")

_NEVER: tuple[_Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host, this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT; one cloud's metadata lives here
        "127.0.0.0/8",
        "168.63.129.16/32",  # one cloud's wire server, public only in name
        "169.254.0.0/16",  # link-local, most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relay to 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",  # documentation
    )
)

_DEVELOPMENT: tuple[_Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
    )
)


def may_post_to(text: str, *, allow_private: bool) -> bool:
    """Whether a webhook may go there. Private networks only where `allow_private` says so."""
    address = _canonical(text)
    if address is None:
        return False
    if allow_private and any(address in network for network in _DEVELOPMENT):
        return True
    return _is_public(address)


def _canonical(text: str) -> _Address | None:
    """The address itself: without its scope, and as IPv4 when it is IPv4 in disguise."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return False
    return address.is_global and not any(address in network for network in _NEVER)
