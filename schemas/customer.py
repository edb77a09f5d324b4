"""One customer as the stream keeps her: her profile, the segment she is in, and how far each source was applied."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas import topics
from schemas.model import RETURN
from schemas.profile import Profile

FORMAT: Final = 4
_NOWHERE: Final = -1
_ANEW: Final = "delete the changelog topic, `segstream topics create`, `segstream replay`"


class UnreadableState(ValueError):
    """A record of the changelog that this version cannot read: stop, and do not overwrite it."""


class Erasure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That a customer was erased; times in microseconds. It outlives her new beginning, so that what is read again still counts for nothing."""

    at: int
    """When it was ordered."""
    until: int
    """What was produced before this moment is ignored."""
    over: bool = False
    """Something came after that moment: she is a customer again."""

    def covers(self, produced_at: int) -> bool:
        """Whether a record that was produced then (milliseconds) is ignored."""
        return produced_at * 1000 < self.until


class Customer(msgspec.Struct, array_like=True, gc=False):
    """The state behind one user id, stored as it stands here. Changed in place by its single owner, the partition's worker."""

    format: int = FORMAT
    applied: list[int] = msgspec.field(default_factory=lambda: [_NOWHERE] * len(topics.INPUTS))
    """The fence: last applied offset of her partition of each source, in the order of `topics.INPUTS`."""
    revision: int = 0
    """Counts everything that was done to this state."""
    sequence: int = 0
    """Counts her segment changes, without gaps."""
    model_id: str = ""
    """The model that decided her last."""
    segment: str | None = None
    """The segment she is in (a stable id), None before the first decision."""
    nearest: str | None = None
    """The segment of the nearest centroid; differs from `segment` only where the margin is within the hysteresis."""
    margin: float = 0.0
    """Distance to the boundary of `nearest`, model units."""
    profile: Profile = msgspec.field(default_factory=Profile)
    left: str | None = None
    """The segment to which the way back is held, where she has left it by no more than the hysteresis."""
    left_at: int = 0
    """The revision at which she left it."""
    erased: Erasure | None = None
    """Her last erasure; absent from records that were written before there was one."""

    @property
    def is_erased(self) -> bool:
        """Whether this is what is left of an erased customer: no profile, no segment, only that she is to be ignored."""
        return self.erased is not None and not self.erased.over

    def way_back(self) -> int:
        """For how many of her next events the way back to `left` is held."""
        return max(0, self.left_at + RETURN - self.revision) if self.left is not None else 0


to_bytes: Final = msgspec.msgpack.Encoder().encode
"""The customer as one changelog record."""

_decode = msgspec.msgpack.Decoder(Customer).decode


def from_bytes(data: bytes) -> Customer:
    """The customer of a changelog record.

    Raises UnreadableState where the record is not ours or of another format.

    >>> from_bytes(to_bytes(Customer())) == Customer()
    True
    """
    try:
        customer = _decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise UnreadableState(f"not a customer record ({error}){_hint(data)}") from error
    if customer.format > FORMAT:
        raise UnreadableState(
            f"a customer record of format {customer.format}, this version reads {FORMAT}: update whatever reads it"
        )
    if customer.format < FORMAT:
        raise UnreadableState(f"not a customer record of this version{_hint(data)}")
    if len(customer.applied) != len(topics.INPUTS):
        raise UnreadableState(
            f"a customer record about {len(customer.applied)} source topics, this version reads {len(topics.INPUTS)}; {_ANEW}"
        )
    return customer


def _hint(data: bytes) -> str:
    """Why a record may be unreadable: of an earlier format, or a stranger's."""
    try:
        first = msgspec.msgpack.decode(data)[0]
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, LookupError):
        first = None
    if isinstance(first, int) and 0 < first < FORMAT:
        return f"; it is of format {first}, this version reads {FORMAT}: {_ANEW}"
    return "; is another application writing to this changelog?"
