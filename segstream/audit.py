"""Writing down what people do before it is done, in Kafka and in the log; and reading it."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from schemas import audit, topics
from schemas.audit import Action, Audited
from schemas.settings import Settings
from schemas.times import rfc3339
from segstream import context, kafka


def note(settings: Settings, action: Action, subject: str, reason: str, by: str = "") -> Audited:
    """Write an entry down, in the log too, and wait until Kafka has it.

    Raises KafkaUnreachable, or No where the topic is missing: what cannot be written down is not done.
    """
    at = rfc3339(context.now_micros())
    entry = Audited(action=action, subject=subject, at=at, by=by or context.who(), reason=reason)
    kafka.require(settings, topics.AUDIT.name)
    kafka.deliver(settings, topics.AUDIT.name, None, audit.encode(entry))
    structlog.get_logger("segstream.audit").info("audit", **msgspec.to_builtins(entry))
    return entry


def customer(settings: Settings, user_id: str) -> str:
    """How the trail names a customer."""
    return audit.pseudonym(user_id, context.audit_key(settings))


def entries(settings: Settings, *, user_id: str = "", action: str = "") -> list[dict[str, Any]]:
    """The trail, the oldest first; of one customer, of one kind."""
    subject = customer(settings, user_id) if user_id else ""
    found = (audit.decode(message.value()) for message in kafka.read(settings, topics.AUDIT.name))
    return [
        msgspec.to_builtins(entry)
        for entry in found
        if (not subject or entry.subject == subject) and (not action or entry.action == action)
    ]
