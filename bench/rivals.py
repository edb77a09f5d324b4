"""Other drift detectors with their defaults on the same streams: river's, one per numeric column, and Evidently's tests per window.

Evidently's rules are those of its documentation for more than 1,000 rows: a number has drifted where the Wasserstein distance in standard
deviations of the reference is 0.1 or more, a category where the Jensen-Shannon distance is. Each is computed here by SciPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from river.drift import ADWIN, PageHinkley
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from bench.planted import Array, Pool

WINDOW: Final = 1000


class River:
    """One of river's detectors per numeric column."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        self._detectors: dict[str, Any] = {}

    def update(self, of: Pool, rows: Array) -> Iterator[tuple[int, str]]:
        """Detections among these events: place in them, and the column."""
        for name, column in of.numbers.items():
            detector = self._detectors.setdefault(name, self._kind())
            for i, x in enumerate(column[rows].tolist()):
                if x == x:  # a missing value poisons river's detectors
                    detector.update(x)
                    if detector.drift_detected:
                        yield i, name


class Evidently:
    """The column tests on windows of 1,000 events against a sample of the reference."""

    def __init__(self, reference: Pool, rows: Array) -> None:
        self._numbers = {name: _known(column[rows]) for name, column in reference.numbers.items()}
        self._labels = {name: _shares(column[rows]) for name, column in reference.labels.items()}
        self._waiting: list[tuple[Pool, Array]] = []

    def update(self, of: Pool, rows: Array) -> Iterator[tuple[int, str]]:
        """Columns that have drifted, once a window is full."""
        self._waiting.append((of, rows))
        if sum(len(part) for _, part in self._waiting) < WINDOW:
            return
        window, self._waiting = self._waiting, []
        for name, before in self._numbers.items():
            now = _known(np.concatenate([pool.numbers[name][part] for pool, part in window]))
            if not len(now) or wasserstein_distance(before, now) / max(float(before.std()), 0.001) >= 0.1:
                yield len(rows) - 1, name
        for name, shares in self._labels.items():
            now_shares = _shares(np.concatenate([pool.labels[name][part] for pool, part in window]))
            every = sorted(shares.keys() | now_shares.keys())
            p, q = [shares.get(k, 0.0) for k in every], [now_shares.get(k, 0.0) for k in every]
            if float(jensenshannon(p, q)) >= 0.1:
                yield len(rows) - 1, name


def _known(column: Array) -> Array:
    return column[~np.isnan(column)]


def _shares(column: Array) -> dict[str, float]:
    values, counts = np.unique([str(v) for v in column], return_counts=True)
    return {v: c / len(column) for v, c in zip(values.tolist(), counts.tolist(), strict=True)}


RIVER: Final = {"river ADWIN": ADWIN, "river PageHinkley": PageHinkley}
