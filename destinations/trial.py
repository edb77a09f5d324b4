"""One made-up event for a receiver, to see whether it listens, verifies and answers; it says of itself that it is a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from destinations.configuration import Destination, Target
from destinations.connection import Client
from destinations.delivery import Taken, TryAgain, attempt
from destinations.subscription import TOPICS, Event, Record, wanted
from schemas.changes import DriftAlert, SegmentChanged, encode
from schemas.times import rfc3339


def example(one: Destination, now: int) -> Event:
    """An event as this destination gets them, about nobody; `now` in microseconds."""
    at = rfc3339(now)
    made: SegmentChanged | DriftAlert
    if one.wants == "segment-changes":
        made = SegmentChanged(
            change_id=f"test:{now}",
            user_id="segstream-test",
            from_segment=next(iter(one.segments.left), "s0"),
            from_name="Test: from",
            to_segment=next(iter(one.segments.entered), "s1"),
            to_name="Test: to",
            cause=one.causes[0],
            caused_by="segstream destinations test",
            model_id="m-test",
            feature_spec="test",
            margin=0.0,
            features={},
            event_time=at,
            decided_at=at,
            sequence=0,
        )
        kind = "segment.changed"
    else:
        made = DriftAlert(
            alert_id=f"test:{now}",
            level=one.levels[0],  # type: ignore[arg-type]
            signal="test",
            model_id="m-test",
            direction="up",
            partition=0,
            statistic=0.0,
            reference_mean=0.0,
            reference_std=1.0,
            n=0,
            event_time=at,
            raised_at=at,
            cooldown_until=at,
            message="This is a test of the connection; nothing has drifted.",
            suggested_action="Nothing is to be done.",
        )
        kind = "drift.alert"
    record = Record(
        topic=TOPICS[one.wants],
        partition=0,
        offset=0,
        timestamp=now // 1000,
        key=None,
        value=encode(made),
        headers={"ce_type": kind},
    )
    event = wanted(one, record)
    assert isinstance(event, Event)
    return event


def send(one: Destination, target: Target, clock: Callable[[], float]) -> dict[str, Any]:
    """Send a test once; whether it was taken, why not, and how long it took."""
    client = Client(allow_private=one.allow_private, ca_file=one.ca_file)
    begun = time.monotonic()
    reason = ""
    try:
        verdict = attempt(one, target, client, [example(one, int(clock() * 1_000_000))], clock())
        if not isinstance(verdict, Taken):
            reason = verdict.reason
    except TryAgain as error:
        reason = str(error)
    finally:
        client.close()
    return {
        "destination": one.name,
        "taken": not reason,
        "reason": reason,
        "seconds": round(time.monotonic() - begun, 3),
    }
