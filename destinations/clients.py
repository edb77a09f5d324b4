"""Kafka as destinations use it: a consumer group each, and a producer of dead letters."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import Consumer, Producer

from schemas import connections
from schemas.settings import Settings

TIMEOUT: Final = 10.0
"""Seconds for a question to Kafka."""


class NoTopic(RuntimeError):
    """The topic does not exist."""


def base(settings: Settings) -> dict[str, Any]:
    """What every client is set up with."""
    return connections.kafka(settings, log_level=2)


def group(settings: Settings, name: str) -> str:
    """The consumer group of a destination: how far it is.

    >>> group(Settings(), "campaigns")
    'segstream-destination-campaigns'
    """
    return f"{settings.app_id}-destination-{name}"


def consumer(settings: Settings, name: str) -> Consumer:
    """A member of a destination's group that commits nothing by itself."""
    return Consumer(
        base(settings)
        | {
            "group.id": group(settings, name),
            "enable.auto.commit": False,
            # Only where there is no offset: a partition that has just been added, or records that retention has overtaken.
            "auto.offset.reset": "earliest",
            "session.timeout.ms": int(settings.session_timeout * 1000),
            "max.poll.interval.ms": 300_000,
            "queued.max.messages.kbytes": 8_192,
        }
    )


def producer(settings: Settings) -> Producer:
    """A producer whose records are stored in order and once."""
    return Producer(
        base(settings)
        | {
            "acks": "all",
            "partitioner": "murmur2_random",
            "enable.idempotence": settings.producer_max_batch_size > 1,
            "linger.ms": 5,
        }
    )


def partitions(consumer: Consumer, topic: str) -> list[int]:
    """The partitions of a topic. Raises NoTopic."""
    listed = consumer.list_topics(topic, timeout=TIMEOUT).topics[topic]
    if listed.error is not None or not listed.partitions:
        raise NoTopic(f"the topic {topic} does not exist: `segstream topics create`")
    return list(listed.partitions)
