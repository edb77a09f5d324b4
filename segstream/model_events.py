"""Telling `model-events` what has happened to the models."""

from __future__ import annotations

from schemas import changes, topics
from schemas.changes import ModelEvent
from schemas.settings import Settings
from schemas.times import parse_rfc3339
from segstream import kafka


def tell(settings: Settings, event: ModelEvent, within: float = 10.0) -> None:
    """Send an event and wait until Kafka has it. Raises kafka.KafkaUnreachable, or outcome.No where the topic is missing."""
    kafka.require(settings, topics.MODEL_EVENTS.name)
    key = (event.model_id or event.run_id).encode()
    headers = changes.headers(event, event.event_id, event.model_id or event.run_id, parse_rfc3339(event.at))
    kafka.deliver(settings, topics.MODEL_EVENTS.name, key, changes.encode(event), headers, within)


def read(settings: Settings) -> list[ModelEvent]:
    """Every event that the topic holds, each once, in the order they were told."""
    found: dict[str, ModelEvent] = {}
    for message in kafka.read(settings, topics.MODEL_EVENTS.name):
        event = changes.decode_model_event(message.value())
        found.setdefault(event.event_id, event)
    return list(found.values())
