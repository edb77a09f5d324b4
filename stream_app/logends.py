"""What Kafka's logs hold between two offsets, asked over a connection that has nothing to do with the worker's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from schemas import connections, topics
from schemas.offsets import Place
from schemas.settings import Settings

RECREATED: Final = (
    "the topic was deleted and created anew, and customers remember the old one. Stop the workers, delete "
    f"{topics.USERS.name} too, `segstream topics create`, start the workers and `segstream replay`"
)
"""What to do where a log ends before what was read of it."""


def reader(settings: Settings, group: str, **more: object) -> Consumer:
    """A consumer that commits nothing by itself and reads what the workers read."""
    options: dict[str, object] = {
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_uncommitted",
        "fetch.wait.max.ms": 20,
        "log_level": 2,
    }
    return Consumer(connections.kafka(settings, **options | more))


def without_records(
    client: Consumer, starts: Mapping[Place, int], to: Mapping[Place, int], timeout: float
) -> set[Place]:
    """Those of the logs that hold no record from `starts` to `to`: the marker that ends a transaction has an offset and is none.

    What is not known after `timeout` seconds is taken to hold one.
    """
    empty: set[Place] = set()
    left = dict(starts)
    client.assign([TopicPartition(*place, offset) for place, offset in left.items()])
    until = time.monotonic() + timeout
    while left and time.monotonic() < until:
        for message in client.consume(1, timeout=0.05):
            place = message.topic(), message.partition()
            if message.error() is None and left.pop(place, None) is not None:
                client.incremental_unassign([TopicPartition(*place)])
        for part in client.position([TopicPartition(*place) for place in left]) if left else ():
            if part.offset >= to[part.topic, part.partition]:
                empty.add((part.topic, part.partition))
                del left[part.topic, part.partition]
    client.unassign()
    return empty
