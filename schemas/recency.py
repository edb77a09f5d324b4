"""How long ago something was, in steps of whole days: what grows while nothing happens, and when it grows next.

Days are those of UTC, counted from 1970, so that everybody who is asked on the same day gives the same answer. The steps are narrow at
first and wide later: a customer is looked at anew a score of times in her life and not every day.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from schemas.times import DAY

STEPS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 545, 730, 1095, 1825)
"""Days since; what lies between two counts as the lower one, whatever lies beyond the last as the last."""


def step(at: int, today: int) -> int:
    """How long ago `at` (microseconds) was on the day `today`; what is still to come counts as now.

    >>> step(0, 0), step(0, 13), step(0, 14), step(0, 9999), step(7 * DAY, 3)
    (0, 10, 14, 1825, 0)
    """
    return STEPS[bisect_right(STEPS, max(0, today - at // DAY)) - 1]


def due(at: int, today: int) -> int | None:
    """The first day after `today` on which `step` is another; None where it stays for ever.

    >>> due(0, 0), due(0, 13), due(0, 9999), due(7 * DAY, 3)
    (1, 14, None, 8)
    """
    day = at // DAY
    place = bisect_right(STEPS, max(0, today - day))
    return day + STEPS[place] if place < len(STEPS) else None
