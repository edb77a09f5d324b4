"""Whether the customers still look like those the model was trained on: river's ADWIN over block means of the log distance.

The mean of 50 log distances is close to normal, so that ADWIN with delta 1e-5 raises no false alarm on a million stationary events and
sees a shift of one standard deviation within about 950.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from schemas.changes import DriftAlert
from schemas.model import Model, Reference
from schemas.times import rfc3339


def _adwin() -> type[Any]:
    """River's ADWIN, without its neighbours: example data sets and a detector that we don't use bring scikit-learn, pandas and scipy into
    the process, more than everything else of a worker's start together."""
    unused = {"river.drift.datasets": (), "river.drift.kswin": ("KSWIN",)}
    added = [name for name in unused if name not in sys.modules]
    for name in added:
        stand_in = ModuleType(name)
        stand_in.__dict__.update(dict.fromkeys(unused[name]))
        sys.modules[name] = stand_in
    try:
        from river.drift import ADWIN
    finally:
        for name in added:
            del sys.modules[name]
    return ADWIN


ADWIN: Final = _adwin()

BLOCK: Final = 50
"""Events per block mean."""
DELTA: Final = 1e-5
"""ADWIN's confidence."""
SIGNAL: Final = "log_distance"
_FLOOR: Final = 1e-9


class DriftMonitor:
    """Watches one signal of the live events that this worker scores."""

    def __init__(self, cooldown: float) -> None:
        self._cooldown = int(cooldown * 1_000_000)
        self._quiet_until = 0
        self._model: Model | None = None
        self._reset()

    def _reset(self) -> None:
        self._adwin = ADWIN(delta=DELTA, clock=1, min_window_length=5, grace_period=10)
        self._block: list[float] = []
        self._count = 0

    def install(self, model: Model) -> None:
        """Start anew: distances to another model's centroids are another signal."""
        self._model = model
        self._quiet_until = 0
        self._reset()

    def observe(self, distances: Iterable[float], event_time: int, partition: int, now: int) -> list[DriftAlert]:
        """Take in distances (model units, in order); the alerts they raise. Times in microseconds."""
        alerts = []
        for distance in distances:
            self._block.append(math.log(max(distance, _FLOOR)))
            self._count += 1
            if len(self._block) == BLOCK:
                mean = math.fsum(self._block) / BLOCK
                self._block.clear()
                alert = self._block_mean(mean, event_time, partition, now)
                if alert is not None:
                    alerts.append(alert)
        return alerts

    def _block_mean(self, mean: float, event_time: int, partition: int, now: int) -> DriftAlert | None:
        before = self._adwin.estimation
        self._adwin.update(mean)
        if not self._adwin.drift_detected or self._model is None:
            return None
        after = self._adwin.estimation
        count, self._count = self._count, 0
        if event_time < self._quiet_until:
            return None
        self._quiet_until = event_time + self._cooldown
        return self._alert(self._model, before, after, count, event_time, partition, now)

    def _alert(
        self, model: Model, before: float, after: float, count: int, event_time: int, partition: int, now: int
    ) -> DriftAlert:
        reference = model.artifact.reference.get(SIGNAL, Reference(n=0, mean=before, std=1.0))
        up = after > before
        away = (after - reference.mean) / reference.std if reference.std > 0 else 0.0
        text = f"{model.id}:{SIGNAL}:{event_time}:{partition}:{after!r}"
        return DriftAlert(
            alert_id=hashlib.sha256(text.encode()).hexdigest()[:16],
            level="drift",
            signal=SIGNAL,
            model_id=model.id,
            direction="up" if up else "down",
            partition=partition,
            statistic=away,
            reference_mean=reference.mean,
            reference_std=reference.std,
            n=count,
            event_time=rfc3339(event_time),
            raised_at=rfc3339(now),
            cooldown_until=rfc3339(self._quiet_until),
            message=(
                f"Customers who are active now lie {'farther from' if up else 'closer to'} the centres of their segments than before "
                f"(log distance {before:.2f} -> {after:.2f}; {away:+.2f} standard deviations from the training data)."
            ),
            suggested_action="Look at what changed in the shop or its data; if it is real, retrain: `segstream train --publish`.",
        )
