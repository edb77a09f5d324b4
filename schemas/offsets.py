"""How far Kafka's logs reach: one question for any number of them."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

Place = tuple[str, int]
"""Topic and partition."""


def ends(admin: AdminClient, places: Iterable[Place], timeout: float) -> dict[Place, int]:
    """The offset behind the last record of each log. Raises KafkaException when Kafka does not answer within `timeout` seconds."""
    return _offsets(admin, places, OffsetSpec.latest(), timeout)  # type: ignore[no-untyped-call]


def begins(admin: AdminClient, places: Iterable[Place], timeout: float) -> dict[Place, int]:
    """The offset of the first record that each log still holds. Raises KafkaException as `ends` does."""
    return _offsets(admin, places, OffsetSpec.earliest(), timeout)  # type: ignore[no-untyped-call]


def _offsets(admin: AdminClient, places: Iterable[Place], spec: OffsetSpec, timeout: float) -> dict[Place, int]:
    asked = {TopicPartition(*place): spec for place in sorted(places)}
    if not asked:
        return {}
    found = admin.list_offsets(asked, request_timeout=timeout)
    return {(part.topic, part.partition): answer.result().offset for part, answer in found.items()}
