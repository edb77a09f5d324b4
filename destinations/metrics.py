"""Every metric of the destinations' process, labelled by destination, without any user id."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600, 86_400)


class Metrics:
    """The metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r, by = self.registry, ["destination"]
        self.delivered = Counter("segstream_destination_delivered", "Events that the receiver took.", by, registry=r)
        self.requests = Counter("segstream_destination_requests", "Batches that the receiver took.", by, registry=r)
        self.failed = Counter(
            "segstream_destination_failed_attempts",
            "Attempts that failed and may be repeated.",
            [*by, "reason"],
            registry=r,
        )
        self.dead_letters = Counter(
            "segstream_destination_dead_letters", "Events that nobody took.", [*by, "reason"], registry=r
        )
        self.restarts = Counter(
            "segstream_destination_restarts",
            "Times a destination was started anew after an error of its own.",
            by,
            registry=r,
        )
        self.lag = Gauge(
            "segstream_destination_lag", "Records of the topic that the destination has not done with.", by, registry=r
        )
        self.oldest = Gauge(
            "segstream_destination_oldest_undelivered_seconds",
            "Age of the oldest event that is being delivered; 0 where none is.",
            by,
            registry=r,
        )
        self.age = Histogram(
            "segstream_destination_event_to_delivery_seconds",
            "From an event's record in Kafka to the receiver's answer.",
            by,
            buckets=_SECONDS,
            registry=r,
        )


@dataclass(slots=True, kw_only=True)
class Standing:
    """How a destination is doing: written by its own thread, read by others."""

    name: str
    state: str = "starting"
    """starting, reading, delivering, retrying, broken, stopped."""
    since: float = 0.0
    """Seconds since 1970."""
    delivered: int = 0
    dead_letters: int = 0
    last_error: str = ""
    oldest: int = 0
    """Milliseconds since 1970 of the oldest event that is being delivered; 0: none is."""
    lag: int | None = None
    partitions: frozenset[int] = frozenset()
    thread: threading.Thread | None = None

    def to(self, state: str) -> None:
        """It is in this state now."""
        if state != self.state:
            self.state, self.since = state, time.time()

    def age(self, now: float) -> float:
        """Seconds since the oldest undelivered event was written."""
        return max(0.0, now - self.oldest / 1000) if self.oldest else 0.0

    def document(self, now: float) -> dict[str, Any]:
        """For people."""
        return {
            "state": self.state,
            "since": int(self.since),
            "delivered": self.delivered,
            "dead_letters": self.dead_letters,
            "lag": self.lag,
            "oldest_undelivered_seconds": round(self.age(now), 1),
            "partitions": sorted(self.partitions),
            "last_error": self.last_error,
        }
