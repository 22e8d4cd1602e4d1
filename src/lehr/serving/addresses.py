"""Which network addresses a URL given by a stranger may lead to: public ones, and what the operator allows by name.

The tables are the special-purpose registries of IANA (RFC 6890 and its updates), written out because the
standard library's `is_global` has changed its answers between patch releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from lehr.errors import InvalidRequest

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # former 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_MAPPED, _NAT64, _6TO4 = IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")


class AllowList:
    """What the operator lets URL inputs reach although it is not public: hosts by name, networks by CIDR."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Raises InvalidRequest for an entry that is neither a host name nor an address nor a CIDR."""
        self._hosts: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            self._add(entry.strip())

    def has_host(self, host: str) -> bool:
        """Whether `host` is allowed by name, wherever it leads."""
        return _canonical(host) in self._hosts

    def may_reach(self, address: Address) -> bool:
        """Whether `address` is public or in an allowed network; judged by the IPv4 address within, if there is one."""
        inner = embedded(address)
        if any(candidate in network for network in self._networks for candidate in (address, inner)):
            return True
        return is_public(address)

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            if "/" in entry or ":" in entry or not entry:
                raise InvalidRequest(
                    f"{entry!r} cannot be allowed: give a host name (images.example.org), an address (10.0.0.7) "
                    "or a network (10.0.0.0/8)."
                ) from None
            self._hosts.add(_canonical(entry))


def is_public(address: Address) -> bool:
    """Whether `address` is one of the public internet, in itself and in the IPv4 address that it wraps."""
    inner = embedded(address)
    if isinstance(inner, IPv4Address):
        return not any(inner in network for network in _NOT_PUBLIC_4)
    return inner in _UNICAST_6 and not any(inner in network for network in _NOT_PUBLIC_6)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056) address leads to, else itself."""
    if isinstance(address, IPv6Address):
        if address in _MAPPED or address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _6TO4:
            return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address


def parsed(text: str) -> Address:
    """An address as the resolver writes it, without the zone."""
    return ip_address(text.partition("%")[0])


def _canonical(host: str) -> str:
    return host.rstrip(".").lower()
