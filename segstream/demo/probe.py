"""What a consumer of the changes sees: counts, the latest changes, alerts, and how long each change took."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from schemas import topics
from schemas.changes import DriftAlert, ModelEvent, SegmentChanged, decode_alert, decode_change, decode_model_event
from schemas.settings import Settings
from segstream import kafka


class Probe:
    """A thread that reads segment changes, drift alerts and model events from the start, as any service would."""

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._client = kafka.consumer(settings, "segstream-demo-probe")
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self.causes: Counter[str] = Counter()
        self.latest: deque[SegmentChanged] = deque(maxlen=8)
        self.alerts: list[DriftAlert] = []
        self.steps: list[ModelEvent] = []
        """What the trainer's loop did."""
        self.where: dict[str, str] = {}
        """Segment id of every customer."""
        self.names: dict[str, str] = {}
        self.received_at: dict[str, int] = {}
        """When a change by behaviour was read, microseconds, by the event that caused it."""
        self._ids: set[str] = set()

    def start(self) -> None:
        """Begin to read."""
        self._client.subscribe([topics.CHANGES.name, topics.DRIFT_ALERTS.name, topics.MODEL_EVENTS.name])
        self._thread.start()

    def stop(self) -> None:
        """End reading."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._client.poll(0.05)  # one by one: `consume` would wait for more and spoil the latency
            if message is not None and message.error() is None:
                now = self._clock()
                with self._lock:  # what is read here must not grow while someone counts it
                    self._take(message.topic(), message.value(), now)

    def _take(self, topic: str, value: bytes, now: int) -> None:
        if topic == topics.DRIFT_ALERTS.name:
            alert = decode_alert(value)
            if alert.event_id not in self._ids:
                self._ids.add(alert.event_id)
                self.alerts.append(alert)
            return
        if topic == topics.MODEL_EVENTS.name:
            event = decode_model_event(value)
            if event.run_id and event.event_id not in self._ids:
                self._ids.add(event.event_id)
                self.steps.append(event)
            return
        change = decode_change(value)
        if change.change_id in self._ids:
            return
        self._ids.add(change.change_id)
        self.causes[change.cause] += 1
        self.where[change.user_id] = change.to_segment
        self.names[change.to_segment] = change.to_name
        if change.cause != "bootstrap":
            self.latest.append(change)
        if change.cause == "behaviour":
            self.received_at[change.caused_by] = now

    def latency(self, produced_at: dict[str, int]) -> dict[str, float]:
        """Percentiles of the time from an event's production to its change being read here, milliseconds."""
        with self._lock:
            received = list(self.received_at.items())
        took = sorted((at - produced_at[event]) / 1000 for event, at in received if event in produced_at)
        if not took:
            return {}
        return {f"p{p}": round(took[min(len(took) - 1, len(took) * p // 100)], 2) for p in (50, 99)}

    def sizes(self) -> list[dict[str, Any]]:
        """Customers per segment, the largest first."""
        with self._lock:
            counts = Counter(self.where.values())
        return [{"id": s, "name": self.names[s], "customers": n} for s, n in counts.most_common()]
