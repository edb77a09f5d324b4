"""The published walk-through exactly as printed, faults included: so that its numbers can be found again beside the corrected ones.

It takes the user id for a feature, counts item rows for orders, codes nominal columns as numbers and drops rows with gaps. Nothing of it is
ever published; see docs/model.md for what each fault does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import LabelEncoder, StandardScaler

from batch_trainer.fit import SWEEP, one_thread, sweep
from batch_trainer.warehouse import Customers

K = 5
MOST = 200_000
"""Beyond so many customers the walk-through is not run again."""


def matrix(customers: Customers) -> pd.DataFrame:
    """The walk-through's eight columns, by user id; customers with a gap are left out."""
    rows = [
        (int(user_id), f.age, f.gender, f.country, f.traffic_source, f.items, f.brand, f.category)
        for user_id, f in zip(customers.user_ids, customers.facts, strict=True)
        if f.placed_orders
    ]
    names = (
        "USER_ID",
        "AGE",
        "GENDER",
        "COUNTRY",
        "TRAFFIC_SOURCE",
        "TOTAL_ORDERS",
        "MOST_FREQUENT_BRAND",
        "MOST_FREQUENT_CATEGORY",
    )
    table = pd.DataFrame(rows, columns=names).sort_values("USER_ID").dropna().reset_index(drop=True)
    for name in ("GENDER", "COUNTRY", "TRAFFIC_SOURCE", "MOST_FREQUENT_BRAND", "MOST_FREQUENT_CATEGORY"):
        table[name] = LabelEncoder().fit_transform(table[name].astype(object))
    return table.astype(np.int64)


def applies(customers: Customers, known: frozenset[str]) -> bool:
    """Whether the walk-through can be run here: integer user ids, all of its columns, and not too many customers."""
    needed = {"age", "gender", "country", "traffic_source", "items", "brand", "category"}
    return needed <= known and 0 < len(customers) <= MOST and all(user_id.isdecimal() for user_id in customers.user_ids)


def run(customers: Customers, seed: int, done: Callable[[int], None] = lambda k: None) -> dict[str, Any]:
    """Its figures: rows, explained variance, SSE per number of segments, and inertia and sizes of five."""
    table = matrix(customers)
    if len(table) < max(SWEEP):
        return {"rows": len(table)}
    with one_thread():
        scaled = StandardScaler().fit_transform(table)
        pca = PCA(n_components=2, random_state=444)
        points = pca.fit_transform(scaled)
    fitted = sweep(points, SWEEP, seed, done)
    return {
        "rows": len(table),
        "explained_variance": [float(v) for v in pca.explained_variance_ratio_],
        "sse": {str(k): float(model.inertia_) for k, model in fitted.items()},
        "inertia": float(fitted[K].inertia_),
        "sizes": _sizes(fitted[K].labels_),
    }


def _sizes(labels: Sequence[int]) -> list[int]:
    return [int(count) for count in np.bincount(np.asarray(labels))]
