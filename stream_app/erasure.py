"""Forgetting a customer: what an order to erase leaves of her state, what is ignored from then on, and when the rest goes too. Pure."""

from __future__ import annotations

from typing import Final

from schemas.changes import SegmentChanged
from schemas.customer import Customer, Erasure, from_bytes
from schemas.erasure import DAY
from schemas.events import UserDeleted
from schemas.model import Model
from schemas.profile import Profile
from schemas.times import rfc3339
from stream_app.segmenter import Position

GRACE: Final = DAY
"""How long a marker stays after its time, microseconds: what was produced before may still be waiting to be read."""
MARKER: Final = 100
"""A marker has fewer bytes than this; most customers have more, and need not be unpacked to be told apart."""


def is_new(customer: Customer | None, order: UserDeleted, produced_at: int) -> bool:
    """Whether an order (produced at, milliseconds) says something new: neither repeated, nor sent again when its time is over."""
    known = None if customer is None else customer.erased
    return produced_at * 1000 < order.until and (known is None or order.at > known.at)


def erase(
    customer: Customer, order: UserDeleted, position: Position, decided_at: str, model: Model | None
) -> SegmentChanged:
    """Leave nothing of a customer but the marker (in place); what is told to everyone who knew of her.

    Fence, revision and sequence go on: whatever is still on its way from her former owner is older.
    """
    before = customer.segment
    until = order.until if customer.erased is None else max(order.until, customer.erased.until)
    customer.erased = Erasure(order.at, until)
    customer.profile = Profile()
    customer.segment = customer.nearest = customer.left = None
    customer.margin, customer.left_at, customer.model_id = 0.0, 0, ""
    customer.applied[position.slot] = position.offset
    customer.revision += 1
    customer.sequence += 1
    return SegmentChanged(
        change_id=f"{order.user_id}:{position}:{customer.sequence}",
        user_id=order.user_id,
        from_segment=before,
        from_name=before if before is None or model is None else model.names.get(before, before),
        to_segment=None,
        to_name=None,
        cause="erasure",
        caused_by=str(position),
        model_id="",
        feature_spec="",
        margin=0.0,
        features={},
        event_time=rfc3339(order.at),
        decided_at=decided_at,
        sequence=customer.sequence,
    )


def begin_again(customer: Customer) -> None:
    """Someone who came after the time of her erasure is a customer like any other (in place)."""
    erased = customer.erased
    if erased is not None and not erased.over:
        customer.erased = Erasure(erased.at, erased.until, True)


def has_ended(record: bytes, now: int) -> bool:
    """Whether a customer's record is a marker that need not be kept any longer; `now` in microseconds."""
    if len(record) >= MARKER:
        return False
    customer = from_bytes(record)
    return customer.is_erased and customer.erased is not None and now >= customer.erased.until + GRACE
