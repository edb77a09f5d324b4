"""One piece of work: a chunk of records folded into customers, and everything that must be sent before it may be acknowledged."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas import changes as outgoing
from schemas.changes import SegmentChanged
from schemas.customer import Customer, from_bytes, to_bytes
from schemas.events import InvalidEvent, decode
from schemas.model import Model
from stream_app.deadletters import DeadLetter
from stream_app.segmenter import Position, is_applied, rescore, step


class SourceRecord(Protocol):
    """What we read of a Kafka record."""

    key: bytes | None
    value: bytes | None
    offset: int
    timestamp: int


@dataclass(slots=True, kw_only=True)
class Work:
    """What came of a chunk, or of a slice of customers re-scored."""

    partition: int
    events: int = 0
    repeated: int = 0
    """Events below the fence: applied before."""
    changes: list[SegmentChanged] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    snapshots: dict[bytes, bytes] = field(default_factory=dict)
    """The customers touched, as changelog records, at the end of the piece."""
    distances: list[float] = field(default_factory=list)
    """Distances to the centroid of those scored by live behaviour, in order."""
    event_time: int = 0
    """The latest event time in the piece, microseconds."""
    produced_at: int = 0
    """When the last record was produced, milliseconds since 1970."""


def fold(
    records: Sequence[SourceRecord],
    source: Position,
    customers: MutableMapping[bytes, Any],
    model: Model | None,
    decided_at: str,
) -> Work:
    """Fold a chunk's records, in order, into the partition's customers (in place). `source.offset` is not used.

    Raises schemas.customer.UnreadableState where a customer's record cannot be read.
    """
    work = Work(partition=source.partition, events=len(records), produced_at=records[-1].timestamp)
    slot, topic, partition, _ = source
    touched: dict[bytes, Customer] = {}
    for record in records:
        key = record.key
        customer = customers.get(key) if key is not None else None
        if customer.__class__ is bytes:
            customer = customers[key] = from_bytes(customer)  # type: ignore[index]
        position = Position(slot, topic, partition, record.offset)
        if customer is not None and is_applied(customer, position):
            work.repeated += 1
            continue
        try:
            if key is None:
                raise InvalidEvent("the record has no key; expected the user id")
            event = decode(key, record.value)
        except InvalidEvent as error:
            work.dead_letters.append(DeadLetter.of(record, position, error))
            continue
        if customer is None:
            customer = customers[key] = Customer()
        try:
            done = step(customer, event, position, model, decided_at)
        except Exception as error:  # an event that trips over a fault of ours must not stop all others
            customer.profile.rebuild()
            work.dead_letters.append(DeadLetter.of(record, position, error))
            touched[key] = customer
            continue
        touched[key] = customer
        if event.at > work.event_time:
            work.event_time = event.at
        if done.changes:
            work.changes.extend(done.changes)
        if done.distance is not None:
            work.distances.append(done.distance)
    work.snapshots = {key: to_bytes(customer) for key, customer in touched.items()}
    return work


def migrate(
    keys: Sequence[bytes], partition: int, customers: MutableMapping[bytes, Any], model: Model, decided_at: str
) -> Work:
    """Re-score those of the customers that were last decided by another model (in place)."""
    work = Work(partition=partition)
    for key in keys:
        customer = customers.get(key)
        if customer is None:
            continue
        if customer.__class__ is bytes:
            customer = customers[key] = from_bytes(customer)
        if customer.model_id == model.id:
            continue
        change = rescore(customer, key.decode(), model, decided_at)
        if change is not None:
            work.changes.append(change)
        work.snapshots[key] = to_bytes(customer)
    return work


def encoded(change: SegmentChanged, at: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of a change event; `at` is the time of the decision, microseconds."""
    return (
        change.user_id.encode(),
        outgoing.encode(change),
        outgoing.headers(change, change.change_id, change.user_id, at),
    )
