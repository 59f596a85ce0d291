"""Which network addresses http attempts may connect to. Pure: the decision about one address.

It is asked for the address of every connection at the moment it is dialled, redirects included, so no way of
writing an address and no name that changes its mind can go round it.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressPolicy:
    """What this worker may reach."""

    def __init__(self, *, private_allowed: bool, networks: Iterable[str] = ()) -> None:
        self._private_allowed = private_allowed
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in networks)

    def refuse(self, text: str) -> str | None:
        """Why the address must not be connected to; None when it may."""
        try:
            address = unwrap(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            return f"{text} is not an address"
        if any(address in network for network in _METADATA):
            return f"{address} is a link-local or cloud metadata address, which http jobs never reach"
        if address.is_multicast:
            return f"{address} is a multicast address"
        if any(address in network for network in self._networks):
            return None
        if address.is_global or self._private_allowed:
            return None
        return (
            f"{address} is {_kind(address)}, and this worker's settings do not list it in allowed_networks; "
            "add its network there if http jobs may reach it"
        )


def unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that merely carries it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "this machine itself (loopback)"
    if address.is_unspecified:
        return "the unspecified address, which means this machine itself"
    return "a private or reserved address"
