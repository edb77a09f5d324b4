"""A plan grows with the shop, and says what gives way first."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segstream.capacity import CORE_USE, GIB, RECOVERY_SECONDS, measured, plan
from segstream.outcome import Usage

sizes = st.integers(1, 2_000_000_000)
rates = st.floats(0.01, 2e6)


@given(sizes, rates)
def test_a_plan_keeps_to_its_bounds(customers: int, rate: float) -> None:
    constants = measured()
    made = plan(customers, rate, constants)
    assert made.cpu_cores / made.workers <= CORE_USE + 1e-9
    assert made.recovery_seconds <= RECOVERY_SECONDS + 1e-9
    assert made.memory_per_worker_gib <= 8.0 + 1e-9
    assert made.partitions >= 2 * made.workers
    assert [limit.load for limit in made.limits] == sorted((limit.load for limit in made.limits), reverse=True)


@given(sizes, rates, sizes, rates)
def test_a_larger_shop_never_needs_less(a: int, b: float, c: int, d: float) -> None:
    constants = measured()
    small, large = plan(min(a, c), min(b, d), constants), plan(max(a, c), max(b, d), constants)
    for name in ("events_disk_gib", "changes_disk_gib", "changelog_gib", "redis_gib", "cpu_cores"):
        assert getattr(small, name) <= getattr(large, name) * (1 + 1e-12)


def test_one_worker_is_enough_for_a_million_customers_at_a_thousand_events_per_second() -> None:
    made = plan(1_000_000, 1_000, measured())
    assert (made.workers, made.store) == (1, "memory")
    assert made.memory_gib < 1.2e9 / GIB


def test_the_command_prints_the_plan_and_where_its_constants_come_from() -> None:
    command = [sys.executable, "-m", "segstream", "plan", "--customers", "100000000", "--events-per-second", "100000"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert document["workers"] > 1
    assert document["limits"][0]["load"] > 1
    assert document["measured"]["date"] == measured().date
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "gives way first" in shown
    wrong = subprocess.run([*command, "--memory", "0"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "must be above zero" in wrong.stderr


def test_a_worker_needs_room_for_itself() -> None:
    with pytest.raises(Usage, match="already"):
        plan(1, 1.0, measured(), memory_per_worker=0.01)
