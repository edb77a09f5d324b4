"""The customers as a map: how many are where in the first two dimensions, where the segments' centres lie, and which way the features point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from schemas.features import FEATURES, Facts, label, number, transformed
from schemas.model import Model

FINEST: Final = 36
"""Cells along each side, at most."""
LEAST: Final = 3
"""Cells with fewer customers are not shown: the map shows where people are, not persons."""
WAYS: Final = 10
"""Ways that are drawn, at most."""
EDGE: Final = 0.5
"""Percent of the customers that may lie outside on each side, so that outliers do not shrink the rest."""


def landscape(model: Model, rows: Sequence[Facts]) -> dict[str, Any]:
    """Cells (place, customers, prevailing segment), centres, and the ways of the features.

    Aggregates only; `rows` are a sample.
    """
    z = model.project_many(rows)
    flat = z[:, :2] if z.shape[1] > 1 else np.column_stack([z[:, 0], np.zeros(len(z))])
    low, high = np.percentile(flat, [EDGE, 100.0 - EDGE], axis=0)
    high = np.where(high > low, high, low + 1.0)
    cells = int(np.clip(np.sqrt(len(rows)) / 1.5, 8, FINEST))
    margin = (high - low) / (2 * (cells - 1))  # what lies on an edge is in the middle of its cell
    low, high = low - margin, high + margin
    place = np.floor((flat - low) / (high - low) * cells).astype(int)
    inside = ((flat >= low) & (flat <= high)).all(axis=1)
    place = np.minimum(place, cells - 1)
    counts = np.zeros((cells, cells, len(model.segments)), dtype=int)
    np.add.at(counts, (place[inside, 0], place[inside, 1], model.score_many(rows)[0][inside]), 1)
    total = counts.sum(axis=2)
    step = (high - low) / cells
    return {
        "customers": len(rows),
        "dimensions": z.shape[1],
        "cell": [round(float(v), 4) for v in step],
        "cells": [
            {
                "x": round(float(low[0] + i * step[0]), 4),
                "y": round(float(low[1] + j * step[1]), 4),
                "customers": int(total[i, j]),
                "segment": model.segments[int(counts[i, j].argmax())].id,
            }
            for i, j in np.argwhere(total >= LEAST).tolist()
        ],
        "outside": round(float(1.0 - inside.mean()), 4),
        "centres": [
            {"segment": segment.id, "x": float(row[0]), "y": float(row[1]) if len(row) > 1 else 0.0}
            for segment, row in zip(model.segments, model.artifact.centroids, strict=True)
        ],
        "loadings": _loadings(model, rows),
    }


def _loadings(model: Model, rows: Sequence[Facts]) -> list[dict[str, Any]]:
    """How far one standard deviation more of a numeric column leads in the first two dimensions, or of belonging to a category's value; the longest."""
    found = []
    for term in model.artifact.numbers:
        known = [value for row in rows if (value := number(term.feature, row)) is not None]
        spread = float(np.std([transformed(term.transform, value) for value in known])) if known else 0.0
        x, y = (*term.weights, 0.0)[:2]
        found.append(_way(term.feature, FEATURES[term.feature].label, x * spread, y * spread))
    for category in model.artifact.categories:
        counts = Counter(label(category.feature, row) for row in rows)
        flat = {value: np.array((*category.table.get(value, category.unseen), 0.0)[:2]) for value in counts}
        mean = sum((counts[value] * flat[value] for value in counts), np.zeros(2)) / len(rows)
        for value, count in sorted(counts.items()):
            if value in category.table and count < len(rows):
                share = count / len(rows)
                step = (flat[value] - mean) * np.sqrt(share / (1.0 - share))
                found.append(_way(category.feature, f"{FEATURES[category.feature].label} {value}", *step.tolist()))
    longest = sorted(found, key=lambda way: (-np.hypot(way["x"], way["y"]), way["label"]))[:WAYS]
    return [way for way in found if way in longest]


def _way(feature: str, name: str, x: float, y: float) -> dict[str, Any]:
    return {"feature": feature, "label": name, "x": x, "y": y}
