"""Records as workers write them, for tests of what becomes of them."""

from __future__ import annotations

from typing import Any

from destinations.configuration import Destination
from destinations.subscription import Event, Record, wanted
from schemas import topics
from schemas.changes import DriftAlert, SegmentChanged, encode

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def destination(**more: Any) -> Destination:
    given = {"name": "one", "wants": "segment-changes", "url": "https://hooks.example.com/", "secret_env": ("SECRET",)}
    return Destination(**(given | more))


def change(number: int = 1, **more: Any) -> SegmentChanged:
    given: dict[str, Any] = {
        "change_id": f"7:orders:0:{number}:{number}",
        "user_id": "7",
        "from_segment": "s1",
        "from_name": "Regulars",
        "to_segment": "s2",
        "to_name": "Big spenders",
        "cause": "behaviour",
        "caused_by": f"orders:0:{number}",
        "model_id": "m-1",
        "feature_spec": "behaviour",
        "margin": 0.5,
        "features": {"orders": 2.0},
        "event_time": "2026-01-01T00:00:00Z",
        "decided_at": "2026-01-01T00:00:01Z",
        "sequence": number,
    }
    return SegmentChanged(**(given | more))


def alert(**more: Any) -> DriftAlert:
    given: dict[str, Any] = {
        "alert_id": "a1",
        "level": "drift",
        "signal": "log_distance",
        "model_id": "m-1",
        "direction": "up",
        "partition": 0,
        "statistic": 2.0,
        "reference_mean": 0.0,
        "reference_std": 1.0,
        "n": 500,
        "event_time": "2026-01-01T00:00:00Z",
        "raised_at": "2026-01-01T00:00:05Z",
        "cooldown_until": "2026-01-01T01:00:00Z",
        "message": "Customers lie farther from their centres.",
        "suggested_action": "Look at what changed.",
    }
    return DriftAlert(**(given | more))


def record(value: SegmentChanged | DriftAlert | bytes | None, offset: int = 0, **headers: str) -> Record:
    topic = topics.DRIFT_ALERTS.name if isinstance(value, DriftAlert) else topics.CHANGES.name
    body = encode(value) if isinstance(value, SegmentChanged | DriftAlert) else value
    return Record(topic=topic, partition=0, offset=offset, timestamp=1000, key=b"7", value=body, headers=headers)


def events(count: int, one: Destination | None = None) -> list[Event]:
    found = [wanted(one or destination(), record(change(number), number)) for number in range(count)]
    return [event for event in found if isinstance(event, Event)]
