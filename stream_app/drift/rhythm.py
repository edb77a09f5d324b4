"""The shop's week: how many events an hour brings, and how many of them late; learnt from the weeks before, silent until then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from schemas.drift import Hour
from schemas.reference import Z
from stream_app.drift.detectors import Finding, Thresholds, at_least

WEEK: Final = 168
WEEKS: Final = 4
"""Weeks that are remembered."""
LEAST: Final = 2
"""Weeks from which on there is an expectation."""
FEW: Final = 20
"""Hours that usually bring fewer events are not judged."""
TOGETHER: Final = 6
"""A partition that is so many hours behind is not waited for."""


class Rhythm(msgspec.Struct, kw_only=True):
    """What the last weeks were like, and the hours that are not over yet."""

    running: dict[int, Hour] = {}
    past: dict[int, list[Hour]] = {}
    """Hour of the week -> that hour of the weeks before, the latest last."""
    reached: dict[str, int] = {}
    """Source partition -> the latest hour seen of it."""
    closed: int = 0
    """The first hour that is not closed; 0: none was seen."""

    def add(self, place: str, hours: Mapping[int, Hour], limits: Thresholds) -> list[list[Finding]]:
        """Take in a block's hours; for each hour that is over with it, what is unusual about it. Changes this in place."""
        if not hours:
            return []
        for hour, seen in hours.items():
            if hour >= self.closed:
                self.running[hour] = self.running.get(hour, Hour()) + seen
        self.reached[place] = max(self.reached.get(place, 0), *hours)
        latest = max(self.reached.values())
        until = min(hour for hour in self.reached.values() if hour >= latest - TOGETHER)
        found = []
        if not self.closed:
            self.closed = min(self.running)
        begin = max(self.closed, until - 4 * WEEK)  # after a month without events there is nothing to compare
        for hour in range(begin, until):
            found.append(self._close(hour, self.running.pop(hour, Hour()), limits))
        self.closed = max(self.closed, until)
        return found

    def _close(self, hour: int, seen: Hour, limits: Thresholds) -> list[Finding]:
        before = self.past.setdefault(hour % WEEK, [])
        found: list[Finding] = []
        if len(before) >= LEAST:
            usual = sorted(one.events for one in before)[len(before) // 2]
            n, late = sum(one.looked_at for one in before), sum(one.late for one in before)
            found = _rate(seen.events, usual, limits) + _late(seen, late / n if n else 0.0, limits)
        self.past[hour % WEEK] = [*before, seen][-WEEKS:]  # the median forgives an unusual week
        return found


def _rate(events: int, usual: float, limits: Thresholds) -> list[Finding]:
    if usual < FEW:
        return []
    low, high = limits.low * usual - Z * math.sqrt(limits.low * usual), limits.high * usual + Z * math.sqrt(usual + 1.0)
    if low <= events <= high:
        return []
    ratio = events / usual
    return [
        Finding(
            signal="event_rate", statistic=ratio, threshold=limits.low if events < low else limits.high,
            n=events, direction="down" if events < low else "up", drastic=events < low / 3, likely=1.0,
        )
    ]  # fmt: skip


def _late(seen: Hour, usual: float, limits: Thresholds) -> list[Finding]:
    threshold = usual + limits.late
    surely = at_least(seen.late, seen.looked_at) if seen.looked_at else 0.0
    if surely <= threshold:
        return []
    return [
        Finding(
            signal="lateness", statistic=seen.late / seen.looked_at, threshold=threshold, n=seen.looked_at,
            direction="up", drastic=surely > 2 * threshold, likely=surely / threshold,
        )
    ]  # fmt: skip
