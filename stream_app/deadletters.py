"""What could not be used, kept with its reason and where it came from, so that it can be read again once the cause is mended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from stream_app.segmenter import Position

MAX_VALUE: Final = 4 * 1024 * 1024
"""A larger message is kept in part; the whole one is where the headers say."""

ATTEMPT: Final = "segstream_attempt"
"""Header that counts how often a message was sent to its source again."""


def attempts(headers: Iterable[tuple[str, bytes | None]] | None) -> int:
    """How often a message was sent to its source again; what cannot be read counts as never.

    >>> attempts([("segstream_attempt", b"2")]), attempts([("segstream_attempt", b"?")]), attempts(None)
    (2, 0, 0)
    """
    found = dict(headers or ()).get(ATTEMPT) or b"0"
    return int(found) if found.isdigit() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that could not be used."""

    source: Position
    key: bytes | None
    value: bytes | None
    timestamp: int
    error: str
    message: str
    attempt: int = 0
    """How often it was sent to its source again before."""

    @classmethod
    def of(cls, record: Any, source: Position, error: Exception) -> DeadLetter:
        """The dead letter of a Kafka record and the reason it could not be used."""
        return cls(
            source=source,
            key=record.key,
            value=record.value,
            timestamp=record.timestamp,
            error=type(error).__name__,
            message=str(error)[:1000],
            attempt=attempts(getattr(record, "headers", None)),
        )

    def payload(self) -> bytes | None:
        """The message as received, cut where it is too large."""
        return self.value if self.value is None else self.value[:MAX_VALUE]

    def headers(self, group: str) -> list[tuple[str, bytes]]:
        """Where it came from and why it is here."""
        found = [
            ("source_topic", self.source.topic),
            ("source_partition", str(self.source.partition)),
            ("source_offset", str(self.source.offset)),
            ("source_timestamp", str(self.timestamp)),
            ("error", self.error),
            ("message", self.message),
            ("group", group),
            (ATTEMPT, str(self.attempt)),
        ]
        if self.value is not None and len(self.value) > MAX_VALUE:
            found.append(("truncated", "true"))
        return [(name, value.encode("utf-8", "backslashreplace")) for name, value in found]
