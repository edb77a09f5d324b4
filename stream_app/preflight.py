"""What a worker needs before it starts: Kafka and its topics; and what it should have: Redis and a model that it may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from schemas import connections, granted, topics
from schemas.registry import Registry
from schemas.sealed import from_bytes
from schemas.settings import Settings
from schemas.signing import Keyring

LOOK: Final = 5.0
"""Seconds that Redis may take to answer."""
FULL: Final = 0.95
"""Of maxmemory: beyond it writes will soon be refused."""

_log: Final = structlog.get_logger(__name__)


class KafkaUnreachable(RuntimeError):
    """No broker answered in time."""


class NoModel(LookupError):
    """Nothing was published yet."""


class WrongTopics(RuntimeError):
    """The topics are not what the worker needs: `segstream topics create` or mend by hand."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is well, and what was seen or is to be done."""

    name: str
    ok: bool
    detail: str
    unreachable: bool = False


def redis_answers(settings: Settings) -> str:
    """What is seen of Redis. Raises redis.RedisError."""
    client = connections.redis_client(settings, timeout=LOOK)
    memory: dict[str, Any] = client.info("memory")  # type: ignore[assignment]
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    if most and used > FULL * most:
        return f"answers, but is nearly full: {used} of {most} bytes (maxmemory)"
    return "answers"


def active_model(settings: Settings, keys: Keyring) -> str:
    """What is seen of the active model. Raises NoModel, schemas.artifact.RejectedModel or redis.RedisError."""
    client = connections.redis_client(settings, timeout=LOOK)
    registry = Registry(client, settings.prefix)
    active = registry.active()
    data = registry.load(active) if active else None
    if data is None:
        raise NoModel("no model is active: `segstream train --publish`")
    model = from_bytes(data, keys)
    return f"{model.id}, recipe {model.artifact.recipe}, {len(model.segments)} segments, trained {model.artifact.trained_at}"


def report(settings: Settings, keys: Keyring) -> None:
    """Say in one place what a starting worker lacks that it can start without: it goes on, and gets it when it is there."""
    for name, look in (("redis", redis_answers), ("model", lambda s: active_model(s, keys))):
        try:
            _log.info("startup check", check=name, ok=True, detail=look(settings))
        except Exception as error:
            is_redis = isinstance(error, redis.RedisError)
            detail = connections.refusal(error) if is_redis else ""
            _log.warning("startup check", check=name, ok=False, detail=detail or str(error))
            if is_redis:  # the model lies there too
                return


def partitions(settings: Settings) -> int:
    """The number of partitions of the topics that are keyed by customer, once all that a worker needs is there.

    Waits up to `startup_timeout` seconds for a broker. Raises KafkaUnreachable or WrongTopics, and connections.KafkaRefuses or
    granted.Forbidden where waiting would not help.
    """
    client, found = _cluster(settings)
    missing = [topic.name for topic in topics.ALL if topic.name not in found]
    if missing and settings.kafka_security != "plaintext":
        unseen = granted.hidden(client, missing)
        missing = [name for name in missing if name not in unseen]
    keyed = {topic.name: found[topic.name] for topic in topics.ALL if topic.by_customer and topic.name in found}
    problems = []
    if missing:
        problems.append(f"topics are missing: {', '.join(missing)}. Create them: `segstream topics create`")
    if len(set(keyed.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(keyed.items()))
        problems.append(f"the topics keyed by customer must have equal partition counts; they have: {counts}")
    if problems:
        raise WrongTopics("; ".join(problems))
    granted.check(client, settings, "worker")
    return keyed[topics.ORDERS.name]


def _cluster(settings: Settings) -> tuple[AdminClient, dict[str, int]]:
    def waiting(state: RetryCallState) -> None:
        _log.warning("waiting for kafka", bootstrap=settings.kafka, attempt=state.attempt_number)

    timeout = settings.startup_timeout
    retrying = Retrying(
        retry=retry_if_exception_type(KafkaException),
        stop=stop_after_delay(timeout),
        wait=wait_exponential_jitter(multiplier=0.5, max=5),
        before_sleep=waiting,
        reraise=True,
    )
    try:
        client, listed = retrying(connections.cluster, settings, min(5.0, timeout))
    except KafkaException as error:
        raise KafkaUnreachable(
            f"no Kafka broker answers at {settings.kafka}; is SEGSTREAM_KAFKA right, and "
            f"SEGSTREAM_KAFKA_SECURITY={settings.kafka_security} for that port? ({error})"
        ) from error
    return client, {name: len(topic.partitions) for name, topic in listed.topics.items()}
