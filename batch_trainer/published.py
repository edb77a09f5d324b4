"""The walk-through exactly as it was published, faults and all, so that an analyst can hold her old numbers against ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import LabelEncoder, StandardScaler

from batch_trainer.fit import SWEEP, one_thread, sweep
from batch_trainer.warehouse import Customers, Warehouse
from schemas.features import Facts

COLUMNS: Final = (
    "USER_ID",
    "AGE",
    "GENDER",
    "COUNTRY",
    "TRAFFIC_SOURCE",
    "TOTAL_ORDERS",
    "MOST_FREQUENT_BRAND",
    "MOST_FREQUENT_CATEGORY",
)
_LABELS: Final = ("GENDER", "COUNTRY", "TRAFFIC_SOURCE", "MOST_FREQUENT_BRAND", "MOST_FREQUENT_CATEGORY")
_NEEDS: Final = ("age", "gender", "country", "traffic_source", "items", "brand", "category")
_K: Final = 5

FAULTS: Final = (
    "USER_ID is a feature, so that neighbours in the user table count as alike",
    "TOTAL_ORDERS counts the rows of the join with the items, not the orders",
    "categories are label codes: their distances are those of the alphabet",
    "rows with an unknown value are dropped",
)


def walk_through(warehouse: Warehouse, customers: Customers, done: Callable[[int], None]) -> dict[str, Any]:
    """The published numbers on this warehouse, or why they cannot be had."""
    if lacking := [fact for fact in _NEEDS if fact not in warehouse.known]:
        return {"available": False, "reason": f"the source does not give {', '.join(lacking)}"}
    if not all(user_id.isascii() and user_id.isdigit() for user_id in customers.user_ids):
        return {
            "available": False,
            "reason": "user ids are not integers, and the walk-through takes them for a feature",
        }
    ordered = sorted((int(u), f) for u, f in zip(customers.user_ids, customers.facts, strict=True) if f.placed_orders)
    rows = [row for user_id, facts in ordered if None not in (row := _row(user_id, facts))]
    if len(rows) <= max(SWEEP):
        return {"available": False, "reason": f"only {len(rows)} customers have a value in every column"}
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    encoded = [
        LabelEncoder().fit_transform(np.array(values, dtype=object))
        if name in _LABELS
        else np.array(values, dtype=np.int64)
        for name, values in columns.items()
    ]
    with one_thread():
        scaled = StandardScaler().fit_transform(np.column_stack(encoded).astype(np.int64))
        pca = PCA(n_components=2, random_state=444)
        points = pca.fit_transform(scaled)
    fitted = sweep(points, SWEEP, 222, done)
    sizes = np.bincount(fitted[_K].labels_, minlength=_K)
    return {
        "available": True,
        "columns": list(COLUMNS),
        "faults": list(FAULTS),
        "rows_before_dropna": len(ordered),
        "rows": len(rows),
        "explained_variance": [float(v) for v in pca.explained_variance_ratio_],
        "sse": {str(k): float(model.inertia_) for k, model in fitted.items()},
        "k": _K,
        "inertia": float(fitted[_K].inertia_),
        "sizes": sizes.tolist(),
        "shares": [round(float(size) / len(rows), 6) for size in sizes],
    }


def _row(user_id: int, facts: Facts) -> tuple[Any, ...]:
    return (
        user_id,
        facts.age,
        facts.gender,
        facts.country,
        facts.traffic_source,
        facts.items,
        facts.brand,
        facts.category,
    )
