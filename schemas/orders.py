"""The orders of one customer that are remembered one by one, packed: bytes that grow at their end and are seldom unpacked.

A pack is the body of a msgpack map, order id -> numbers. Almost every order is new, and that needs no unpacking: its id does not occur in the
bytes, and its entry is appended. So a customer is read and written as one string of bytes, whatever she has bought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

PLACED: Final = 1
CANCELLED: Final = 2
RETURNED: Final = 4


class Order(NamedTuple):
    """What is kept of one order."""

    flags: int
    at: int
    """When it was placed; as long as it is not, when it was last heard of. Microseconds."""
    total: int = 0
    """Minor units."""
    later: int = 0
    """How much later than `at` it was last heard of, microseconds."""
    codes: Sequence[int] = ()
    """Its product lines: see `schemas.lines.codes`."""

    @property
    def heard_at(self) -> int:
        """When it was last heard of, microseconds."""
        return self.at + self.later


encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, Order]).decode


def key(order_id: str) -> bytes:
    """How an order id stands in a pack. Where these bytes do not occur the pack does not hold the order; where they do, it may.

    >>> key("o1") in packed({"o1": Order(PLACED, 7)}), key("o2") in packed({"o1": Order(PLACED, 7)})
    (True, False)
    """
    return encode(order_id)


def entry(flags: int, at: int, total: int, later: int, codes: Sequence[int]) -> bytes:
    """An order as it stands in a pack, behind its key: the fields of `Order`."""
    return encode((flags, at, total, later, codes))


def unpack(count: int, pack: bytes) -> dict[str, Order]:
    """The orders of a pack of `count` entries, oldest entry first. Raises msgspec.DecodeError where it is none.

    >>> unpack(1, key("o1") + entry(PLACED, 7, 990, 0, [5]))
    {'o1': Order(flags=1, at=7, total=990, later=0, codes=[5])}
    """
    return _decode(b"\xdf" + count.to_bytes(4, "big") + pack)


def packed(orders: Mapping[str, Order]) -> bytes:
    """The pack of these orders; `unpack(len(orders), packed(orders))` gives them back."""
    return b"".join([part for order_id, order in orders.items() for part in (key(order_id), entry(*order))])
