"""How much one caller may ask: requests per second, and bytes per request."""

from __future__ import annotations

from typing import Final

MAX_BODY: Final = 1024 * 1024
"""The largest request body, bytes: 500 ids and a thousand orders fit."""
_CALLERS: Final = 10_000
"""Callers whose pace is remembered."""


class Pace:
    """A bucket of tokens per caller, refilled at `rate` per second up to two seconds' worth. Time is passed in, seconds."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = max(1.0, 2.0 * rate)
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str, now: float) -> float:
        """0 where the request may pass, which is then counted; else the seconds until one may.

        >>> pace = Pace(1.0)
        >>> [round(pace.wait("shop", 0.0), 1) for _ in range(3)], pace.wait("shop", 1.0)
        ([0.0, 0.0, 1.0], 0.0)
        """
        if self._rate <= 0.0:
            return 0.0
        left, at = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        missing = 1.0 - left
        self._buckets[caller] = (left if missing > 0.0 else left - 1.0, now)
        if len(self._buckets) > _CALLERS:
            del self._buckets[next(iter(self._buckets))]  # who has been quiet the longest: her bucket is full again
        return max(0.0, missing / self._rate)
