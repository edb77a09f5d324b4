"""Memory that grows is told from memory that does not."""

from __future__ import annotations

import random

import pytest

from tests.faults.memory import LEAST, SETTLED, Sample, Series, slope


def _samples(begin: float, seconds: float, level: float, grows: float) -> list[Sample]:
    """Each five seconds, with the unrest of an allocator."""
    chance = random.Random(round(begin))
    return [
        (begin + at, level + grows * at / 60 + chance.uniform(-0.5, 0.5))
        for at in (5.0 * n for n in range(int(seconds / 5)))
    ]


@pytest.mark.parametrize("grows", [0.0, 0.8, 3.0, -2.0])
def test_one_slope_is_found_through_processes_at_levels_of_their_own(grows: float) -> None:
    parts = [_samples(0, 900, 100, grows), _samples(900, 300, 250, grows), _samples(1200, 600, 60, grows)]
    found = slope(parts)
    assert found is not None
    assert abs(found - grows) < 0.1


def test_a_restart_is_no_growth_and_a_start_does_not_count() -> None:
    warming = [(float(at), 50.0 + at) for at in range(0, int(SETTLED), 5)]
    series = Series(1, warming + _samples(SETTLED, 600, 170, 0.0))
    found = slope([series.settled(0.0), Series(2, _samples(800, 600, 300, 0.0)).settled(0.0)])
    assert found is not None
    assert abs(found) < 0.1


def test_a_series_that_is_too_short_says_nothing() -> None:
    assert Series(1, _samples(0, SETTLED + LEAST - 10, 100, 50.0)).settled(0.0) == []
    assert Series(1).settled(0.0) == []
