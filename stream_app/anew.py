"""Deciding customers anew without an event, by another model or on another day: their records in, their new records out.

Pure, and of bytes: it is done in a process of its own (`stream_app/helper.py`), because the worker's interpreter has the events to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from schemas.changes import SegmentChanged
from schemas.customer import Customer, from_bytes, to_bytes
from schemas.model import Model
from stream_app.segmenter import lapse, rescore

Reason = Literal["model", "time"]
Row = tuple[bytes, bytes]
"""A customer's key and her record."""


class Moment(NamedTuple):
    """When it is decided: RFC 3339 text, and the day that recency is counted to."""

    decided_at: str
    today: int


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Her new record, and the change of segment where there was one."""

    record: bytes
    change: SegmentChanged | None


def decide_anew(rows: Sequence[Row], model: Model, reason: Reason, moment: Moment) -> list[Outcome | None]:
    """What becomes of each, in order; None where nothing is to be done.

    For the reason `model` those are decided who were last decided by another model, for `time` those of whom a feature is another today.
    Raises schemas.customer.UnreadableState where a record cannot be read.
    """
    decide = _DECIDE[reason]
    found: list[Outcome | None] = []
    for key, record in rows:
        customer = from_bytes(record)
        done = None if customer.is_erased else decide(customer, key, model, moment)
        found.append(None if done is None else Outcome(to_bytes(customer), *done))
    return found


Decided = tuple[SegmentChanged | None] | None
"""Her change of segment if there was one; None where nothing was to be done."""


def _move(customer: Customer, key: bytes, model: Model, moment: Moment) -> Decided:
    if customer.model_id == model.id:
        return None
    return (rescore(customer, key.decode(), model, moment.decided_at, today=moment.today),)


def _age(customer: Customer, key: bytes, model: Model, moment: Moment) -> Decided:
    if customer.model_id != model.id:  # she is about to be moved
        return None
    due = model.due(customer.profile)
    if due is None or due > moment.today:
        return None
    return (lapse(customer, key.decode(), model, *moment),)


_DECIDE: Final[Mapping[Reason, Callable[[Customer, bytes, Model, Moment], Decided]]] = {"model": _move, "time": _age}
