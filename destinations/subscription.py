"""What a record means to a destination: an event it wants, one it does not, or something that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from destinations.configuration import Destination
from schemas import headers, topics

TOPICS: Final = {"segment-changes": topics.CHANGES.name, "drift-alerts": topics.DRIFT_ALERTS.name}
TYPES: Final = {"segment-changes": "segment.changed", "drift-alerts": "drift.alert"}
FORGET: Final = "erasure"
"""The cause that no filter holds back: whoever was ever told of a customer has to hear that she must be forgotten."""


class Change(msgspec.Struct, frozen=True):
    """What of a change of segment decides who gets it, and what people are told."""

    change_id: str
    user_id: str
    cause: str
    decided_at: str
    to_segment: str | None = None
    """None: the customer was erased."""
    to_name: str | None = None
    from_segment: str | None = None
    from_name: str | None = None

    @property
    def event_id(self) -> str:
        """Equal whenever the change is repeated."""
        return self.change_id

    @property
    def subject(self) -> str:
        """Whom it is about."""
        return self.user_id

    @property
    def time(self) -> str:
        """When it was decided."""
        return self.decided_at


class Alert(msgspec.Struct, frozen=True):
    """What of a drift alert decides who gets it, and what people are told."""

    alert_id: str
    level: str
    signal: str
    raised_at: str
    event_time: str
    message: str
    model_id: str = ""
    suggested_action: str = ""
    status: str = "opened"
    """opened, escalated or resolved."""
    feature: str | None = None

    @property
    def event_id(self) -> str:
        """Equal whenever this step of the alert's life is repeated."""
        return f"{self.alert_id}:{self.status}:{self.level}:{self.feature or self.signal}"

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.signal

    @property
    def time(self) -> str:
        """When it was raised."""
        return self.raised_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A Kafka record as we need it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970, from the broker or the producer."""
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @classmethod
    def of(cls, message: Message) -> Record:
        """The record of a message without error."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=message.timestamp()[1],
            key=message.key(),
            value=message.value(),
            headers=headers.texts(message),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that a destination wants, as it was written, and what was read of it."""

    record: Record
    id: str
    type: str
    source: str
    subject: str
    time: str
    about: Change | Alert

    @property
    def data(self) -> bytes:
        """The JSON as it is on the topic: fields that we do not know included."""
        return self.record.value or b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A record that is neither wanted nor unwanted, because it cannot be read."""

    record: Record
    reason: str


_READ: Final[dict[str, Callable[[bytes], Any]]] = {
    "segment-changes": msgspec.json.Decoder(Change).decode,
    "drift-alerts": msgspec.json.Decoder(Alert).decode,
}


def wanted(one: Destination, record: Record) -> Event | Unreadable | None:
    """The event of a record, where the destination wants it. Total: any bytes give an answer.

    What says by its header that it is something else is not wanted; a record without a value neither.
    """
    kind = record.headers.get("ce_type") or TYPES[one.wants]
    if record.value is None or kind != TYPES[one.wants]:
        return None
    try:
        about: Change | Alert = _READ[one.wants](record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Unreadable(record=record, reason=f"not the JSON of {one.wants}")
    if not (_wants_change(one, about) if isinstance(about, Change) else about.level in one.levels):
        return None
    return Event(
        record=record,
        id=record.headers.get("ce_id") or about.event_id,
        type=kind,
        source=record.headers.get("ce_source") or "segstream",
        subject=about.subject,
        time=record.headers.get("ce_time") or about.time,
        about=about,
    )


def _wants_change(one: Destination, change: Change) -> bool:
    if change.cause == FORGET:
        return True
    if change.cause not in one.causes:
        return False
    entered, left = one.segments.entered, one.segments.left
    return not (entered or left) or change.to_segment in entered or change.from_segment in left
