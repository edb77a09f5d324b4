"""Which addresses a request may go to: none that lies inside somebody's network, however it is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_METADATA: Final = {
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # containers on AWS
        "168.63.129.16",  # Azure; a public address
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
}
"""Where clouds tell a machine its credentials: refused even where private addresses are allowed."""
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")
_GLOBAL: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is handed out for the public internet."""
_EXAMPLES: Final = IPv6Network("3fff::/20")
"""For documentation only (RFC 9637); not every Python knows."""
_SHARED: Final = IPv4Network("100.64.0.0/10")
_RELAY: Final = IPv4Network("192.88.99.0/24")


def refusal(text: str, allow_private: bool = False) -> str:
    """Why no connection may be made to this address (numbers, as resolved); empty where one may. Total: what is no address is refused.

    With `allow_private`, private, loopback and shared addresses are allowed; metadata services, link-local, multicast, reserved
    and unspecified ones never are.

    >>> refusal("8.8.8.8"), refusal("127.0.0.1"), refusal("::ffff:10.0.0.1"), refusal("10.0.0.1", allow_private=True)
    ('', 'a loopback address', 'a private address inside an IPv6 address', '')
    """
    try:
        address = ip_address(text)
    except ValueError:
        return "not an address"
    if isinstance(address, IPv6Address):
        return _refusal6(address, allow_private)
    return _refusal4(address, allow_private)


def refusal_of_literal(host: str, allow_private: bool) -> str:
    """Why a URL's host is refused before it is resolved; empty where it is a name, or an address that is allowed."""
    try:
        ip_address(host)
    except ValueError:
        return ""
    return refusal(host, allow_private)


def _refusal4(address: IPv4Address, allow_private: bool) -> str:
    if address in _METADATA:
        return "the metadata service of a cloud"
    for reason, applies in (
        ("the unspecified address", address.is_unspecified or int(address) >> 24 == 0),
        ("a link-local address", address.is_link_local),
        ("a multicast address", address.is_multicast),
        ("a reserved address", address.is_reserved or address in _RELAY),
    ):
        if applies:
            return reason
    if allow_private:
        return ""
    if address.is_loopback:
        return "a loopback address"
    if address in _SHARED:
        return "a shared address of a provider's network"
    return "" if address.is_global else "a private address"


def _refusal6(address: IPv6Address, allow_private: bool) -> str:
    if address in _METADATA:
        return "the metadata service of a cloud"
    if address.scope_id is not None or address.is_link_local or address.is_site_local:
        return "a link-local address"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_loopback:
        return "" if allow_private else "a loopback address"
    inner = _inside(address)
    if inner:
        reasons = [reason for one in inner if (reason := _refusal4(one, allow_private))]
        return f"{reasons[0]} inside an IPv6 address" if reasons else ""
    if address.is_private and address in IPv6Network("fc00::/7"):
        return "" if allow_private else "a private address"
    is_public = address in _GLOBAL and address.is_global and address not in _EXAMPLES
    return "" if is_public else "a reserved address"


def _inside(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that a packet to this address may end up at."""
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _NAT64[1]:  # the length of the prefix is the network's own choice (RFC 6052): each place counts
        return [low, *(_rfc6052(address, length) for length in (48, 56, 64))]
    if address in _NAT64[0] or address in _COMPATIBLE or address in _TRANSLATED:
        return [low]
    return []


def _rfc6052(address: IPv6Address, length: int) -> IPv4Address:
    """The IPv4 address after a prefix of this length; bits 64 to 71 are left out (RFC 6052, 2.2)."""
    without = address.packed[:8] + address.packed[9:]
    begin = length // 8
    return IPv4Address(without[begin : begin + 4])
