"""River's ADWIN over means of log distances: sees a change of the stream against its own past.

The mean of 50 log distances is close to normal, so that ADWIN with delta 1e-5 raises no false alarm on a million stationary events and
sees a shift of one standard deviation within about 950.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final


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
"""Events per mean, at least."""
DELTA: Final = 1e-5
"""ADWIN's confidence."""
MOST: Final = 4000
KEPT: Final = 1000
"""Once MOST means are remembered, the detector begins anew with the latest KEPT."""


class Watch:
    """ADWIN that can be rebuilt exactly from the means it has been given since its last detection."""

    def __init__(self, means: Sequence[float] = ()) -> None:
        self._begin(list(means))

    def _begin(self, means: list[float]) -> None:
        self.means = means
        self._adwin = ADWIN(delta=DELTA, clock=1, min_window_length=5, grace_period=10)
        for mean in means:
            self._adwin.update(mean)

    def update(self, mean: float) -> tuple[float, float] | None:
        """Take in a finite mean; where the stream has changed, the level before and after."""
        before = self._adwin.estimation
        self._adwin.update(mean)
        self.means.append(mean)
        if self._adwin.drift_detected:
            after = self._adwin.estimation
            self._begin([])
            return before, after
        if len(self.means) >= MOST:
            self._begin(self.means[-KEPT:])
        return None
