"""The pages' charts as Vega-Lite specifications: plain data, drawn in the browser; `var(--s0)` is painted by the style sheet's palette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from segment_api.index import Index
from segment_api.pages.words import SHADES
from segment_api.segments import SpendPoint, Trend

CELLS: Final = 56
"""Cells of the map along its wider side."""
_OUTSIDE: Final = 0.5
"""Percent of the customers at each edge that may lie outside the frame."""


def shades(segments: Sequence[str], names: Mapping[str, int]) -> list[str]:
    """The colours of segments."""
    return [f"var(--s{names.get(segment, SHADES - 1)})" for segment in segments]


def trend(found: Trend, places: Mapping[str, int]) -> dict[str, Any]:
    """Customers per segment over time, one line each."""
    order = [segment for segment in found.names if any(p.customers.get(segment) for p in found.points)]
    known = next((i for i, p in enumerate(found.points) if any(p.customers.values())), 1)
    points = found.points[max(0, known - 1) :]  # nothing is drawn of the time before there was anyone
    rows = [{"at": p.at, "segment": found.names[s], "customers": p.customers.get(s, 0)} for p in points for s in order]
    scale = {"domain": [found.names[s] for s in order], "range": shades(order, places)}
    return {
        "data": {"values": rows},
        "height": 260,
        "mark": {"type": "line", "strokeWidth": 2, "interpolate": "step-after"},
        "encoding": {
            "x": {"field": "at", "type": "temporal", "title": None, "axis": {"grid": False, "tickCount": 6}},
            "y": {
                "field": "customers",
                "type": "quantitative",
                "title": None,
                "axis": {"tickCount": 5, "format": ",d"},
            },
            "color": {
                "field": "segment",
                "type": "nominal",
                "scale": scale,
                "legend": {"columns": 2, "symbolType": "stroke"},
            },
        },
    }


def spend(points: Sequence[SpendPoint], segment: str, places: Mapping[str, int]) -> dict[str, Any] | None:
    """What the customers of a segment have spent together, over time; None where fewer than two counts are known."""
    rows = [{"at": p.at, "spend": p.spend[segment]} for p in points if segment in p.spend]
    if len(rows) < 2:
        return None
    return {
        "data": {"values": rows},
        "height": 180,
        "mark": {"type": "line", "strokeWidth": 2, "color": shades([segment], places)[0]},
        "encoding": {
            "x": {"field": "at", "type": "temporal", "title": None, "axis": {"grid": False, "tickCount": 6}},
            "y": {
                "field": "spend",
                "type": "quantitative",
                "title": None,
                "scale": {"zero": False},
                "axis": {"tickCount": 4, "format": ",.3~s"},
            },
        },
    }


def landscape(index: Index, places: Mapping[str, int]) -> dict[str, Any] | None:
    """Where everyone is in the first two dimensions: cells coloured by their prevailing segment, and the centres. None of nobody."""
    z, codes, ids = index.plane()
    inside = np.isfinite(z).all(axis=0)
    z, codes = z[:, inside], codes[inside]
    if not z.shape[1]:
        return None
    model = index.model
    centres = [(c[0], c[1] if len(c) > 1 else 0.0) for c in model.artifact.centroids]
    low, high = np.percentile(z, [_OUTSIDE, 100 - _OUTSIDE], axis=1)
    low, high = np.minimum(low, np.min(centres, axis=0)), np.maximum(high, np.max(centres, axis=0))
    room = np.maximum((high - low) * 0.04, 1e-6)
    low, high = low - room, high + room
    width = (high - low) / CELLS
    cell = np.floor((z - low[:, None]) / width[:, None]).astype(int)
    shown = ((cell >= 0) & (cell < CELLS)).all(axis=0)
    place = cell[0, shown] * CELLS + cell[1, shown]
    counts = np.zeros((len(ids), CELLS * CELLS), dtype=int)
    np.add.at(counts, (codes[shown], place), 1)
    total = counts.sum(axis=0)
    rows = [
        {
            "x": float(low[0] + at // CELLS * width[0]),
            "x2": float(low[0] + (at // CELLS + 1) * width[0]),
            "y": float(low[1] + at % CELLS * width[1]),
            "y2": float(low[1] + (at % CELLS + 1) * width[1]),
            "segment": ids[int(counts[:, at].argmax())],
            "customers": int(total[at]),
        }
        for at in np.flatnonzero(total).tolist()
    ]
    colour = {
        "field": "segment",
        "type": "nominal",
        "scale": {"domain": ids, "range": shades(ids, places)},
        "legend": None,
    }
    points = [{"x": x, "y": y, "segment": s.id} for (x, y), s in zip(centres, model.segments, strict=True)]
    explained = model.artifact.explained_variance

    def axis(dimension: int) -> dict[str, Any]:
        share = f" ({explained[dimension]:.0%} of the variance)" if dimension < len(explained) else ""
        edge = [float(low[dimension]), float(high[dimension])]
        return {
            "type": "quantitative",
            "title": f"dimension {dimension + 1}{share}",
            "scale": {"domain": edge, "nice": False, "zero": False},
            "axis": {"grid": False, "tickCount": 6},
        }

    at_centre: dict[str, Any] = {
        "data": {"values": points},
        "encoding": {"x": {"field": "x", **axis(0)}, "y": {"field": "y", **axis(1)}},
    }
    circle = {"type": "point", "filled": True, "size": 560, "opacity": 1, "color": "var(--card)"}
    circle |= {"stroke": "var(--ink)", "strokeWidth": 1.5}
    return {
        "height": 480,
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "rect"},
                "encoding": {
                    "x": {"field": "x", **axis(0)},
                    "x2": {"field": "x2"},
                    "y": {"field": "y", **axis(1)},
                    "y2": {"field": "y2"},
                    "color": colour,
                    "opacity": {
                        "field": "customers",
                        "type": "quantitative",
                        "scale": {"type": "log", "range": [0.25, 1]},
                        "legend": None,
                    },
                },
            },
            at_centre | {"mark": circle},
            at_centre
            | {"mark": {"type": "text", "fontSize": 12, "fontWeight": 600, "color": "var(--ink)"}}
            | {"encoding": at_centre["encoding"] | {"text": {"field": "segment", "type": "nominal"}}},
        ],
    }


def sparkline(values: Sequence[float], width: int = 120, height: int = 28) -> str:
    """The points of a polyline in a box of this size; empty where there are fewer than two values.

    >>> sparkline([0.0, 1.0], 10, 10)
    '0.0,9.0 10.0,1.0'
    """
    if len(values) < 2:
        return ""
    top = max(values) or 1.0
    step = width / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{height - 1 - (height - 2) * v / top:.1f}" for i, v in enumerate(values))
