"""How far Kafka's logs reach: one question for any number of them.

Asked by a consumer: an admin client of librdkafka ends the process (`eonce->refcnt > 0`, its issue 4605) when a broker goes away while it waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

Place = tuple[str, int]
"""Topic and partition."""

_LATEST: Final = -1
_EARLIEST: Final = -2
"""Times of Kafka's protocol that are no times (ListOffsets)."""


def ends(client: Consumer, places: Iterable[Place], timeout: float) -> dict[Place, int]:
    """The offset behind the last record of each log that `client` may read (one that reads only what is committed sees less).

    Raises KafkaException when Kafka does not answer within `timeout` seconds.
    """
    return _offsets(client, places, _LATEST, timeout)


def begins(client: Consumer, places: Iterable[Place], timeout: float) -> dict[Place, int]:
    """The offset of the first record that each log still holds. Raises KafkaException as `ends` does."""
    return _offsets(client, places, _EARLIEST, timeout)


def _offsets(client: Consumer, places: Iterable[Place], at: int, timeout: float) -> dict[Place, int]:
    asked = [TopicPartition(*place, at) for place in sorted(places)]
    found = {}
    for part in client.offsets_for_times(asked, timeout=timeout) if asked else ():
        if part.error is not None:
            raise KafkaException(part.error)
        found[part.topic, part.partition] = part.offset
    return found
