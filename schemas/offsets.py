"""How far Kafka's logs reach: one question for any number of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import TimeoutError as NoAnswer

from confluent_kafka import KafkaError, KafkaException, TopicPartition
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
    until = time.monotonic() + timeout
    found = admin.list_offsets(asked, request_timeout=timeout)
    try:  # librdkafka first looks for the leaders, and takes its own time for that
        return {
            (part.topic, part.partition): answer.result(max(0.0, until - time.monotonic())).offset
            for part, answer in found.items()
        }
    except NoAnswer:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer within {timeout:g} s")) from None
