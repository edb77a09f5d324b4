"""How good the features are: what is not known, and what lies far from everyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from schemas.features import FEATURES, UNKNOWN, Facts, FeatureSpec, label, number, transformed

FAR: Final = 4.0
"""Standard deviations (transformed units) from which a value is an outlier."""


def feature_quality(spec: FeatureSpec, rows: Sequence[Facts]) -> dict[str, dict[str, Any]]:
    """By feature: its kind, the share of customers for whom it is unknown, and for numbers the middle 98 % and the outliers."""
    transforms = {column.feature: column.transform for column in spec.columns}
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([*transforms, *spec.profile]):
        if FEATURES[name].kind == "category":
            values = [label(name, known) for known in rows]
            unknown = values.count(UNKNOWN) / len(rows)
            found[name] = {"kind": "category", "unknown": unknown, "different": len(set(values) - {UNKNOWN})}
            continue
        raw = [value for known in rows if (value := number(name, known)) is not None]
        found[name] = {"kind": "number", "unknown": 1.0 - len(raw) / len(rows)}
        if raw:
            transform = transforms.get(name, "identity")
            x = np.array([transformed(transform, value) for value in raw])
            spread = float(x.std()) if x.min() < x.max() else 0.0  # the mean of equal values may be off by a bit
            far = int((np.abs(x - x.mean()) > FAR * spread).sum()) if spread > 0.0 else 0
            low, middle, high = (float(v) for v in np.percentile(raw, [1, 50, 99]))
            found[name] |= {"low": low, "median": middle, "high": high, "outliers": far, "constant": spread == 0.0}
    return found
