"""The customers as a map: how many are where in the first two dimensions, where the segments' centres lie, and which way the features point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from schemas.features import FEATURES, Facts, number, transformed
from schemas.model import Model

FINEST: Final = 36
"""Cells along each side, at most."""
LEAST: Final = 3
"""Cells with fewer customers are not shown: the map shows where people are, not persons."""
EDGE: Final = 0.5
"""Percent of the customers that may lie outside on each side, so that outliers do not shrink the rest."""


def landscape(model: Model, rows: Sequence[Facts]) -> dict[str, Any]:
    """Cells (place, customers, prevailing segment), centres, and per numeric column the step that one standard deviation makes.

    Aggregates only; `rows` are a sample.
    """
    z = model.project_many(rows)
    flat = z[:, :2] if z.shape[1] > 1 else np.column_stack([z[:, 0], np.zeros(len(z))])
    low, high = np.percentile(flat, [EDGE, 100.0 - EDGE], axis=0)
    high = np.where(high > low, high, low + 1.0)
    cells = int(np.clip(np.sqrt(len(rows)) / 1.5, 8, FINEST))
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
    """The first two weights of each numeric column times its standard deviation."""
    found = []
    for term in model.artifact.numbers:
        known = [value for row in rows if (value := number(term.feature, row)) is not None]
        spread = float(np.std([transformed(term.transform, value) for value in known])) if known else 0.0
        x, y = (*term.weights, 0.0)[:2]
        label = FEATURES[term.feature].label
        found.append({"feature": term.feature, "label": label, "x": x * spread, "y": y * spread})
    return found
