"""The heart: one customer, one event, one model in; what changed out. Pure: no clock, no client, nothing sent."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.changes import Cause, SegmentChanged
from schemas.customer import Customer
from schemas.events import Event
from schemas.features import raw
from schemas.model import RETURN, Model
from schemas.profile import Effect, update
from schemas.times import DAY, rfc3339

_WITHOUT_CONSEQUENCE: Final = (Effect.NOTHING, Effect.TOO_LATE)


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where an event was read: the source's slot in the fence, topic, partition and offset."""

    slot: int
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """The event as what it causes names it.

        >>> str(Position(0, "orders", 2, 17))
        'orders:2:17'
        """
        return f"{self.topic}:{self.partition}:{self.offset}"


class Step(msgspec.Struct, frozen=True, gc=False):
    """What an event did: its effect on the profile, the changes of segment (none, one, or two when a new model came first)."""

    effect: Effect
    changes: tuple[SegmentChanged, ...]
    distance: float | None
    """Distance to the nearest centroid, where the customer was scored because of live behaviour; model units."""


def step(
    customer: Customer, event: Event, position: Position, model: Model | None, decided_at: str, *, today: int = 0
) -> Step:
    """Apply one event that the fence lets through, and decide the segment.

    A customer last decided by another model is first moved to this one (cause `model`), so that the event's own change tells
    what the event did. Changes `customer` in place. `decided_at` is RFC 3339 text; `today` is the day that recency is counted to, of
    no consequence to models without it.
    """
    before: tuple[SegmentChanged, ...] = ()
    if model is not None and customer.segment is not None and customer.model_id != model.id:
        migrated = rescore(customer, event.user_id, model, decided_at, today=today)
        if migrated is not None:
            before = (migrated,)
    effect = update(customer.profile, event)
    customer.applied[position.slot] = position.offset
    customer.revision += 1
    if model is None or (effect in _WITHOUT_CONSEQUENCE and customer.segment is not None):
        return Step(effect, before, None)
    cause: Cause = "bootstrap" if event.replay else "correction" if effect is Effect.CORRECTED else "behaviour"
    change, distance = _decide(customer, event.user_id, model, cause, position, event.at, decided_at, today)
    if change is not None:
        before = (*before, change)
    return Step(effect, before, None if event.replay else distance)


def rescore(
    customer: Customer, user_id: str, model: Model, decided_at: str, *, today: int = 0
) -> SegmentChanged | None:
    """Decide the segment anew by another model, without hysteresis. Changes `customer` in place.

    Segment ids are stable over models (the trainer settles identity), so that an equal id is no change.
    """
    customer.revision += 1
    customer.left, customer.left_at = None, 0
    at = customer.profile.event_time
    change, _ = _decide(customer, user_id, model, "model", f"model:{model.id}", at, decided_at, today, fresh=True)
    return change


def lapse(customer: Customer, user_id: str, model: Model, decided_at: str, today: int) -> SegmentChanged | None:
    """Decide the segment anew because days have passed. Changes `customer` in place."""
    customer.revision += 1
    midnight = rfc3339(today * DAY)
    change, _ = _decide(customer, user_id, model, "time", f"time:{midnight}", today * DAY, decided_at, today)
    return change


def _decide(
    customer: Customer,
    user_id: str,
    model: Model,
    cause: Cause,
    caused_by: str | Position,
    event_time: int,
    decided_at: str,
    today: int,
    *,
    fresh: bool = False,
) -> tuple[SegmentChanged | None, float | None]:
    known = customer.profile
    if model.clocked:
        known.today = today
    current = customer.segment
    left = customer.left if customer.left is not None and customer.revision <= customer.left_at + RETURN else None
    found = model.decide(known, None if fresh else current, left)
    segment = found.segment
    customer.nearest = found.nearest
    customer.margin = found.margin
    customer.model_id = model.id
    seen = found.distance if found.distance > 0.0 else None
    if segment == current:
        return None, seen
    customer.segment = segment
    customer.left, customer.left_at = (current, customer.revision) if found.shallow else (None, 0)
    customer.sequence += 1
    likely = model.likely(known)
    return (
        SegmentChanged(
            change_id=f"{user_id}:{caused_by}:{customer.sequence}",
            user_id=user_id,
            from_segment=current,
            from_name=None if current is None else model.names.get(current, current),
            to_segment=segment,
            to_name=model.names[segment],
            cause=cause,
            caused_by=str(caused_by),
            model_id=model.id,
            feature_spec=model.spec.name,
            margin=found.margin,
            features=raw(model.feature_names, known),
            event_time=rfc3339(event_time),
            decided_at=decided_at,
            sequence=customer.sequence,
            likely_segment=likely and likely.segment,
            likely_name=likely and likely.name,
            likely_probability=likely and likely.probability,
        ),
        seen,
    )
