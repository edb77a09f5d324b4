"""Recency changes on the days that are told beforehand, and on no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas import recency
from schemas.times import DAY


@given(at=st.integers(-(10**15), 4 * 10**15), after=st.integers(-400, 3000))
def test_recency_stays_until_the_day_it_is_due_and_is_another_then(at: int, after: int) -> None:
    today = at // DAY + after
    due = recency.due(at, today)
    for day in range(today, (today + 800) if due is None else due):
        assert recency.step(at, day) == recency.step(at, today)
    if due is None:
        assert recency.step(at, today) == recency.STEPS[-1]
    else:
        assert due > today
        assert recency.step(at, due) > recency.step(at, today)


def test_a_day_begins_at_midnight_utc() -> None:
    assert [recency.step(5 * DAY - 1, 5), recency.step(5 * DAY, 5), recency.step(-1, 0)] == [1, 0, 1]
