"""What could not be used, kept with its reason and where it came from, so that it can be read again once the cause is mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from stream_app.segmenter import Position

MAX_VALUE: Final = 4 * 1024 * 1024
"""A larger message is kept in part; the whole one is where the headers say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that could not be used."""

    source: Position
    key: bytes | None
    value: bytes | None
    timestamp: int
    error: str
    message: str

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
        ]
        if self.value is not None and len(self.value) > MAX_VALUE:
            found.append(("truncated", "true"))
        return [(name, value.encode("utf-8", "backslashreplace")) for name, value in found]
