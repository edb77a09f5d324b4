"""One customer as the stream keeps her: her profile, the segment she is in, and how far each source was applied."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.profile import Order, Profile

FORMAT: Final = 1
_NOWHERE: Final = -1


class UnreadableState(ValueError):
    """A record of the changelog that this version cannot read: stop, and do not overwrite it."""


class Customer:
    """The state behind one user id. Changed in place by its single owner, the partition's worker."""

    __slots__ = ("applied", "margin", "model_id", "nearest", "profile", "revision", "segment", "sequence")

    def __init__(self) -> None:
        self.profile = Profile()
        self.segment: str | None = None
        """The segment she is in (a stable id), None before the first decision."""
        self.nearest: str | None = None
        """The segment of the nearest centroid; differs from `segment` only within the hysteresis."""
        self.margin = 0.0
        """Distance to the boundary of `nearest`, model units."""
        self.model_id = ""
        self.sequence = 0
        """Counts her segment changes, without gaps."""
        self.revision = 0
        """Counts everything that was done to this state."""
        self.applied = [_NOWHERE, _NOWHERE]
        """The fence: last applied offset of her partition of each source, in the order of `topics.INPUTS`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Customer) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]


class _Stored(msgspec.Struct, array_like=True):
    format: int
    applied: list[int]
    revision: int
    sequence: int
    model_id: str
    segment: str | None
    nearest: str | None
    margin: float
    event_time: int
    signed_up_at: int | None
    traits: dict[str, tuple[int, str | int]]
    orders: dict[str, Order]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


def to_bytes(customer: Customer) -> bytes:
    """The customer as one changelog record."""
    profile = customer.profile
    return _encode(
        _Stored(
            FORMAT,
            customer.applied,
            customer.revision,
            customer.sequence,
            customer.model_id,
            customer.segment,
            customer.nearest,
            customer.margin,
            profile.event_time,
            profile.signed_up_at,
            profile.traits,
            profile.orders,
        )
    )


def from_bytes(data: bytes) -> Customer:
    """The customer of a changelog record.

    Raises UnreadableState where the record is not ours or of a later format.

    >>> from_bytes(to_bytes(Customer())) == Customer()
    True
    """
    try:
        stored = _decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnreadableState(
            f"not a customer record ({error}); is another application writing to this changelog?"
        ) from error
    if stored.format != FORMAT or len(stored.applied) != len(Customer().applied):
        raise UnreadableState(f"customer record of format {stored.format}; this version reads format {FORMAT}")
    customer = Customer()
    customer.profile = Profile(stored.signed_up_at, stored.event_time, stored.traits, stored.orders)
    customer.applied = stored.applied
    customer.revision = stored.revision
    customer.sequence = stored.sequence
    customer.model_id = stored.model_id
    customer.segment = stored.segment
    customer.nearest = stored.nearest
    customer.margin = stored.margin
    return customer
