"""Kafka as destinations use it: a consumer group each, and a producer of dead letters."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from schemas import connections
from schemas.settings import Settings

TIMEOUT: Final = 10.0
"""Seconds for a question to Kafka."""
_SOON: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError._WAIT_COORD,
)


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


def _is_soon(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _SOON


patiently: Final = retry(
    retry=retry_if_exception(_is_soon), stop=stop_after_delay(3 * TIMEOUT), wait=wait_fixed(0.2), reraise=True
)
"""Decorates what asks a group's coordinator, which may have to be found first."""
