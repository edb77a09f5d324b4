"""What pages show beside the live figures: how far customers are from the training data, and the API's own description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segment_api.access import needed
from segment_api.index import Index


def shifts(index: Index | None) -> list[tuple[str, float]]:
    """How far the mean of each numeric column is from the training data's, in its standard deviations; the largest first."""
    if index is None or not len(index):
        return []
    columns, _, _ = index.columns()
    weights = _appearances(columns, len(index))
    known = index.model.artifact.reference
    found = []
    for column in index.model.spec.numbers():
        reference = known.get(column.feature)
        there = ~np.isnan(columns[column.feature])
        values = columns[column.feature][there]
        if reference is None or reference.std <= 0.0 or not len(values):
            continue
        x = np.log1p(np.maximum(values, 0.0)) if column.transform == "log1p" else values
        found.append((column.feature, float((np.average(x, weights=weights[there]) - reference.mean) / reference.std)))
    return sorted(found, key=lambda pair: -abs(pair[1]))


def _appearances(columns: Mapping[str, Any], customers: int) -> Any:
    """How often the stream has seen each customer, as `schemas.reference.appearances` but for cancellations, of which the API knows nothing."""
    orders = columns.get("placed_orders", columns.get("orders", np.ones(customers)))
    returned = np.nan_to_num(columns.get("return_rate", np.zeros(customers)))
    return np.maximum(1.0, np.nan_to_num(orders) * (1.0 + returned))


def calls(openapi: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Every call by its group: method, path, what it does, parameters, the scope it needs."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in openapi["paths"].items():
        for method, call in methods.items():
            parameters = [
                {"name": p["name"], "text": p.get("description", "")}
                for p in call.get("parameters", ())
                if p["in"] != "path"
            ]
            row = {
                "method": method.upper(),
                "path": path,
                "text": call.get("description", call.get("summary", "")),
                "parameters": parameters,
                "scope": needed(method.upper(), path),
            }
            groups.setdefault(call.get("tags", ["other"])[0], []).append(row)
    return groups
