"""Every metric of the worker, in base units, without any user id."""

from __future__ import annotations

from collections import Counter as Times
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_app.work import Work

_LATENCY: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600)
PAIRS: Final = 400
"""Pairs of segments whose migrations are counted one by one: twenty segments, each to each."""
OTHERS: Final = ("other", "other")
_HELD: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


class Metrics:
    """The worker's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.events = Counter("segstream_events", "Events read, stored and acknowledged.", registry=r)
        self.repeated = Counter("segstream_events_repeated", "Events below the fence: applied before.", registry=r)
        self.changes = Counter("segstream_changes", "Segment changes sent.", ["cause"], registry=r)
        self.dead_letters = Counter("segstream_dead_letters", "Messages that could not be used.", ["error"], registry=r)
        self.erased = Counter("segstream_customers_erased", "Customers erased.", registry=r)
        self.ignored = Counter(
            "segstream_events_ignored", "Events of erased customers, for which nothing was done.", registry=r
        )
        self.latency = Histogram(
            "segstream_event_to_change_seconds",
            "From a record's production to the acknowledgement of what it caused, last record of each chunk.",
            buckets=_LATENCY,
            registry=r,
        )
        self.customers = Gauge("segstream_customers", "Customers held by this worker.", registry=r)
        self.partitions = Gauge("segstream_partitions_owned", "Partitions this worker owns.", registry=r)
        self.migrating = Gauge(
            "segstream_customers_to_migrate", "Customers still to be looked at after a new model.", registry=r
        )
        self.expired = Gauge(
            "segstream_records_expired", "Records deleted by retention before they were read.", registry=r
        )
        self.restored = Gauge(
            "segstream_restored_records",
            "Records read from the changelog since the start, as a standby too.",
            registry=r,
        )
        self.to_restore = Gauge("segstream_records_to_restore", "Changelog records still to be read.", registry=r)
        self.seconds_to_ready = Gauge(
            "segstream_seconds_to_ready", "From the start to the first complete state; 0 before.", registry=r
        )
        self.loop_held = Histogram(
            "segstream_loop_held_seconds",
            "How late the event loop's timers come: how long something else kept it.",
            buckets=_HELD,
            registry=r,
        )
        self.projected = Counter("segstream_projected", "Customers written to Redis.", registry=r)
        self.unprojected = Gauge("segstream_projection_pending", "Customers still to be written to Redis.", registry=r)
        self.redis_up = Gauge("segstream_redis_up", "1 while Redis takes the projection.", registry=r)
        self.ready = Gauge("segstream_ready", "1 while the worker is ready.", registry=r)
        self.model = Gauge("segstream_model_info", "1 for the model in use.", ["model_id", "recipe"], registry=r)
        self.refused = Counter("segstream_models_refused", "Artifacts that were refused.", registry=r)
        self.migrations = Counter(
            "segstream_migrations", "Customers whom a new model moved.", ["from_segment", "to_segment"], registry=r
        )
        self._pairs: set[tuple[str, str]] = set()
        self.shadowed = Counter(
            "segstream_shadowed", "Looks at customers by a candidate beside the active model.", registry=r
        )
        self.alerts = Counter("segstream_drift_alerts", "Drift alerts raised.", ["signal"], registry=r)
        self.drift_owner = Gauge("segstream_drift_owner", "1 on the worker that has the drift check.", registry=r)
        self.drift_blocks = Counter("segstream_drift_blocks", "Blocks folded by the drift check.", registry=r)
        self.drift_errors = Counter(
            "segstream_drift_errors",
            "Times the drift check had to begin again, and blocks it could not read.",
            registry=r,
        )
        self.drift_open = Gauge("segstream_drift_alerts_open", "Drift alerts that are open.", ["level"], registry=r)
        self.drift_psi = Gauge(
            "segstream_drift_psi",
            "PSI of a feature or of the segment mix over the last window.",
            ["feature"],
            registry=r,
        )

    def show_drift(self, shown: Mapping[str, float], levels: Sequence[str]) -> None:
        """Bring the gauges of the drift check up to date: feature -> PSI, and the levels of open alerts."""
        for name, psi in shown.items():
            self.drift_psi.labels(name).set(psi)
        for level in ("warning", "drift"):
            self.drift_open.labels(level).set(levels.count(level))

    def stored(self, work: Work, now: int) -> None:
        """Count a piece of work that is stored; `now` in milliseconds since 1970."""
        if work.events:
            self.events.inc(work.events)
            self.repeated.inc(work.repeated)
            self.ignored.inc(work.ignored)
            self.latency.observe(max(0, now - work.produced_at) / 1000)
        causes = Times([change.cause for change in work.changes])
        for cause, times in causes.items():
            self.changes.labels(cause).inc(times)
        for change in work.changes if "model" in causes else ():
            if change.cause == "model":
                self.migrated(change.from_segment, change.to_segment)
        for letter in work.dead_letters:
            self.dead_letters.labels(letter.error).inc()
        self.erased.inc(work.erased)

    def migrated(self, before: str | None, after: str | None) -> None:
        """Count a customer whom a new model moved; the pairs beyond PAIRS together, so that years of models cannot swell the metrics."""
        pair = (before or "", after or "")
        if pair not in self._pairs:
            if len(self._pairs) >= PAIRS:
                pair = OTHERS
            self._pairs.add(pair)
        self.migrations.labels(*pair).inc()
