"""What counts as standing still, without servers: time and looks are passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.offsets import Place
from stream_app.stalls import LOOP, Look, Memory, findings, follow

P = ("orders", 0)


def look(at: float, done: int = 0, end: int = 0, **more: Any) -> Look:
    ends: Mapping[Place, int] | None = {P: end}
    return Look(**({"at": at, "beat": at, "ends": ends, "acknowledged": {P: done}, "committed": {P: done}} | more))


def longest(looks: Iterable[Look]) -> dict[str, float]:
    """How long each thing has stood after the last look."""
    memory: Memory | None = None
    for one in looks:
        memory = follow(memory or Memory(one.at, beat=one.beat), one)
    assert memory is not None
    return {finding.what: finding.seconds for finding in findings(memory) if finding.seconds}


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(0, 10))
def test_a_partition_has_stood_since_it_last_moved_or_was_at_the_end(steps: list[int], lag: int) -> None:
    done, looks, since = 0, [], 0
    for second, step in enumerate(steps):
        done += step
        if step or not lag:
            since = second
        looks.append(look(float(second), done, done + lag))
    stood = len(steps) - 1 - since
    assert longest(looks) == ({"orders-0": stood} if lag and stood else {})


def test_whoever_waits_for_a_broker_stands_still_for_no_time() -> None:
    away = [look(float(n), 5, 9, ends=None) for n in range(2, 200)]
    assert longest([look(0.0, 5, 9), look(1.0, 5, 9), *away]) == {}
    assert longest([look(0.0, 5, 9), *away, look(200.0, 5, 9), look(201.0, 5, 9)]) == {"orders-0": 1.0}


def test_whoever_was_stopped_as_a_whole_begins_to_count_anew() -> None:
    before = [look(float(n), 5, 9) for n in range(50)]
    assert longest(before) == {"orders-0": 49.0}
    assert longest([*before, look(120.0, 5, 9, beat=49.0)]) == {}
    assert longest([*before, look(120.0, 5, 9, beat=49.0), look(121.0, 5, 9)]) == {"orders-0": 1.0}


def test_going_back_is_not_standing_still() -> None:
    assert longest([look(0.0, 50, 90), look(4.0, 50, 90), look(8.0, 40, 90)]) == {}


def test_a_commit_that_does_not_follow_is_seen_although_the_work_goes_on() -> None:
    assert longest(look(float(n), n, n, committed={P: 0}) for n in range(30)) == {"commit orders-0": 28.0}


def test_a_held_loop_a_restore_without_records_and_a_group_without_us_are_seen() -> None:
    held = longest(look(float(n), beat=0.0) for n in range(30))
    assert held == {LOOP: 29.0}
    restore = longest(look(float(n), acknowledged={}, restoring=True, restored=max(n, 5)) for n in range(6))
    assert restore == {"restore": 5.0}
    assert longest(look(float(n), acknowledged={}, outside="unknown") for n in range(9)) == {"group": 8.0}


def test_a_partition_that_is_another_s_now_is_forgotten() -> None:
    assert longest([look(0.0, 5, 9), look(3.0, 5, 9, acknowledged={}), look(4.0, 5, 9)]) == {}
