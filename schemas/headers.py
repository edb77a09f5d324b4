"""Headers of a Kafka record, as text."""

from __future__ import annotations

from typing import cast

from confluent_kafka import Message


def texts(message: Message) -> dict[str, str]:
    """What the headers say, by name; of several of one name the last one, and whatever is no UTF-8 with a sign in its place."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return {name: (value or b"").decode("utf-8", "replace") for name, value in pairs}
