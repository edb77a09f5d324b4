"""The drift check is silent while nothing changes and speaks when the customers do; and it costs a worker's start nothing."""

from __future__ import annotations

import random
import subprocess
import sys

from stream_app.drift import BLOCK, DriftMonitor
from tests.schemas.models import model

DAY = 86_400_000_000


def distances(count: int, shift: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(shift, 0.6) for _ in range(count)]


def test_a_steady_stream_raises_no_alert() -> None:
    monitor = DriftMonitor(cooldown=3600)
    monitor.install(model())
    assert [monitor.observe(distances(500, 0.0, n), n * DAY, 0, 0) for n in range(100)] == [[]] * 100


def test_a_shift_raises_one_alert_until_the_cooldown_is_over() -> None:
    monitor = DriftMonitor(cooldown=3600)
    monitor.install(model())
    for n in range(20):
        assert monitor.observe(distances(500, 0.0, n), DAY, 0, 0) == []
    alerts = [alert for n in range(20) for alert in monitor.observe(distances(500, 0.8, 100 + n), DAY + n, 0, 0)]
    assert len(alerts) == 1
    assert (alerts[0].direction, alerts[0].model_id) == ("up", model().id)
    assert alerts[0].n >= BLOCK


def test_a_worker_starts_without_the_training_libraries() -> None:
    program = (
        "import sys, stream_app.worker; print([m for m in ('sklearn', 'pandas', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    program = "import stream_app.drift, river.datasets, river.drift.datasets; from river.drift.kswin import KSWIN; print(KSWIN.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "KSWIN", "what was left out can still be had"
