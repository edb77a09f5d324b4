"""What must be true of Kafka before a worker starts: reachable, and every topic there with the right partitions."""

from __future__ import annotations

from typing import Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from schemas import topics

_log: Final = structlog.get_logger(__name__)


class KafkaUnreachable(RuntimeError):
    """No broker answered in time."""


class WrongTopics(RuntimeError):
    """The topics are not what the worker needs: `segstream topics create` or mend by hand."""


def partitions(bootstrap: str, timeout: float) -> int:
    """The number of partitions of the topics that are keyed by customer.

    Waits up to `timeout` seconds for a broker. Raises KafkaUnreachable or WrongTopics.
    """
    found = _metadata(bootstrap, timeout)
    missing = [topic.name for topic in topics.ALL if topic.name not in found]
    if missing:
        raise WrongTopics(f"topics are missing: {', '.join(missing)}. Create them: `segstream topics create`")
    keyed = {topic.name: found[topic.name] for topic in topics.ALL if topic.by_customer}
    if len(set(keyed.values())) != 1:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(keyed.items()))
        raise WrongTopics(f"the topics keyed by customer must have equal partition counts; they have: {counts}")
    return keyed[topics.ORDERS.name]


def _metadata(bootstrap: str, timeout: float) -> dict[str, int]:
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def waiting(state: RetryCallState) -> None:
        _log.warning("waiting for kafka", bootstrap=bootstrap, attempt=state.attempt_number)

    retrying = Retrying(
        retry=retry_if_exception_type(KafkaException),
        stop=stop_after_delay(timeout),
        wait=wait_exponential_jitter(initial=0.5, max=5),
        before_sleep=waiting,
        reraise=True,
    )
    try:
        listed = retrying(client.list_topics, timeout=min(5.0, timeout))
    except KafkaException as error:
        raise KafkaUnreachable(
            f"no Kafka broker answers at {bootstrap}; is SEGSTREAM_KAFKA right? ({error})"
        ) from error
    return {name: len(topic.partitions) for name, topic in listed.topics.items()}
