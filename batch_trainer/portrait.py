"""What sets a segment apart: medians and top values in raw units, for its card and its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from batch_trainer.names import Portrait
from schemas.features import FEATURES, Facts, FeatureSpec, label, number

TOP = 3
"""Values told per profile column."""
Rows = npt.NDArray[np.intp]


def numeric(spec: FeatureSpec) -> list[str]:
    """The numeric features that describe a segment: those of the distance, then those of the profile."""
    names = dict.fromkeys([c.feature for c in spec.columns] + list(spec.profile))
    return [name for name in names if FEATURES[name].kind == "number"]


def medians(spec: FeatureSpec, rows: Sequence[Facts]) -> dict[str, float]:
    """Median of each numeric feature over the customers in whom it is known, raw units."""
    found = {}
    for name in numeric(spec):
        values = [v for known in rows if (v := number(name, known)) is not None]
        if values:
            found[name] = float(np.median(values))
    return found


def top(spec: FeatureSpec, rows: Sequence[Facts], most: int = TOP) -> dict[str, tuple[tuple[str, float], ...]]:
    """The most frequent values of each profile column with their share of the customers; ties in the order of the values."""
    found = {}
    for name in spec.profile:
        counts = Counter(_text(name, known) for known in rows)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        found[name] = tuple((value, count / len(rows)) for value, count in ranked)
    return found


def _text(name: str, known: Facts) -> str:
    if FEATURES[name].kind == "category":
        return label(name, known)
    value = number(name, known)
    return "(unknown)" if value is None else f"{value:g}"


def portraits(
    spec: FeatureSpec, columns: pd.DataFrame, rows: Sequence[Facts], members: Sequence[Rows]
) -> list[Portrait]:
    """What the names of the segments are made from; `members` are the row numbers of each segment."""
    numbers = [c.feature for c in spec.numbers()]
    spread = columns[numbers].std(ddof=0).replace(0.0, 1.0)
    centre = columns[numbers].mean()
    labels = [name for name in spec.profile if FEATURES[name].kind == "category"]
    overall = {name: Counter(label(name, known) for known in rows) for name in labels}
    found = []
    for member in members:
        own = [rows[i] for i in member]
        z = (columns.iloc[member][numbers].mean() - centre) / spread
        found.append(
            Portrait(
                medians=medians(spec, own),
                z={name: float(z[name]) for name in numbers},
                top={name: _lifted(name, own, overall[name], len(rows)) for name in labels if own},
            )
        )
    return found


def _lifted(name: str, own: Sequence[Facts], overall: Counter[str], total: int) -> tuple[str, float, float]:
    """The value that is most over-represented among those with a share worth telling."""
    counts = Counter(label(name, known) for known in own)
    frequent = [value for value, count in counts.items() if count >= 0.1 * len(own)] or list(counts)
    best = max(sorted(frequent), key=lambda value: counts[value] / len(own) / (overall[value] / total))
    return best, counts[best] / len(own), overall[best] / total
