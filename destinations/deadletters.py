"""What no receiver has taken, kept with its reason on a topic of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import KafkaException, Message, Producer

from destinations.delivery import Undeliverable
from destinations.subscription import Record, Unreadable
from schemas import topics

_FLUSH: Final = 30.0

Letter = tuple[Record, list[tuple[str, str | bytes | None]]]


def letters(name: str, found: Undeliverable | Unreadable) -> list[Letter]:
    """The records as they were, each with where it came from and why it is here. The reason quotes nothing of the record or the answer."""
    if isinstance(found, Unreadable):
        return [(found.record, _headers(name, found.record, "unreadable", found.reason, 0, 0))]
    return [
        (event.record, _headers(name, event.record, found.kind, found.reason, found.status, found.attempts))
        for event in found.events
    ]


def bury(producer: Producer, these: Iterable[Letter]) -> None:
    """Store letters, and return when Kafka has all of them. Raises KafkaException."""
    failed: list[Any] = []

    def stored(error: Any, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for record, headers in these:
        producer.produce(topics.DESTINATION_DLT.name, record.value, record.key, headers=headers, on_delivery=stored)
        producer.poll(0)
    left = producer.flush(_FLUSH)
    if failed:
        raise KafkaException(failed[0])
    if left:
        raise TimeoutError(f"Kafka did not take {left} dead letters within {_FLUSH:.0f} s")


def _headers(
    name: str, record: Record, error: str, message: str, status: int, attempts: int
) -> list[tuple[str, str | bytes | None]]:
    found = {
        "destination": name,
        "source_topic": record.topic,
        "source_partition": str(record.partition),
        "source_offset": str(record.offset),
        "source_timestamp": str(record.timestamp),
        "error": error,
        "message": message,
        "status": str(status) if status else "",
        "attempts": str(attempts),
        "ce_id": record.headers.get("ce_id", ""),
    }
    return [(key, value.encode()) for key, value in found.items()]
