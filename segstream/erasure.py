"""Erasing a customer: the order is signed, written into the audit topic, sent, and waited for until her state is gone."""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import TopicPartition

from schemas import erasure, topics
from schemas.customer import Customer, from_bytes
from schemas.events import decode
from schemas.settings import Settings
from schemas.times import rfc3339
from segstream import audit, context, kafka
from segstream.outcome import No, Usage

LOOK: Final = 0.2
"""Seconds between looks whether the order was read."""


def erase(settings: Settings, user_id: str, reason: str, *, by: str = "", wait: float = 30.0) -> dict[str, Any]:
    """Order it, and wait until the worker that owns her has done it; `applied` says whether it has within `wait` seconds.

    Raises Usage where the id is none, No where this machine's signing key is not trusted by itself, and KafkaUnreachable.
    """
    now = context.now_micros()
    try:
        value = erasure.order(user_id, now, settings.erasure_days, context.signer(settings))
        order = decode(user_id.encode(), value)
    except ValueError as error:
        raise Usage(f"this is no user id: {type(error).__name__}; expected 1 to 200 printable characters") from error
    if not erasure.is_signed(order, context.keyring(settings)):  # type: ignore[arg-type]
        raise No("the signing key of this machine is not among the trusted keys: workers would not follow the order")
    kafka.require(settings, topics.SIGNUPS.name, topics.USERS.name)
    entry = audit.note(settings, "erase", audit.customer(settings, user_id), reason, by)
    partition, offset = kafka.deliver(settings, topics.SIGNUPS.name, user_id.encode(), value)
    applied = _is_read(settings, partition, offset, wait) and _is_gone(state(settings, user_id), now)
    return {
        "subject": entry.subject,
        "ordered_at": rfc3339(now),
        "ignored_until": rfc3339(now + settings.erasure_days * erasure.DAY),
        "order": f"{topics.SIGNUPS.name}:{partition}:{offset}",
        "applied": applied,
    }


def state(settings: Settings, user_id: str) -> Customer | None:
    """A customer as the changelog has her; None where it has nothing."""
    found = None
    for message in kafka.of_key(settings, topics.USERS.name, user_id.encode()):
        found = message.value()
    return None if found is None else from_bytes(found)


def _is_read(settings: Settings, partition: int, offset: int, wait: float) -> bool:
    deadline = time.monotonic() + wait
    client = kafka.consumer(settings, settings.app_id)
    try:
        while kafka.committed(client, [TopicPartition(topics.SIGNUPS.name, partition)])[0].offset <= offset:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK)
    finally:
        client.close()
    return True


def _is_gone(customer: Customer | None, ordered_at: int) -> bool:
    return customer is not None and customer.erased is not None and customer.erased.at >= ordered_at
