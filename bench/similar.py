"""`--only similar`: neighbours among more customers than one looks at one by one: how soon, and how many of the true five are found.

Compared: every customer looked at (the truth), the API's trees, and a graph (HNSW, usearch) where that is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.calibration import TYPICAL, calibrated
from bench.footprint import footprint
from bench.report import Verdict, quantile
from schemas.artifact import model_id
from schemas.model import Model
from segment_api.index import Index, Row

K: Final = 5
P99_MS: Final = 25.0
_CHUNK: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    customers: int = 2_000_000
    searches: int = 300
    moved: int = 20_000
    """Customers who move after the trees were built."""
    held: int = 1_000_000
    """Customers of the API whose memory is looked at."""


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The part's result."""
    artifact, _ = calibrated(TYPICAL)
    model = Model(artifact, model_id(artifact))
    dice = np.random.default_rng(7)
    plain, trees = Index(model, plan.customers + 1), Index(model, 0)
    filling = {"one by one": 0.0, "trees": 0.0}
    say(f"{plan.customers:,} customers")
    for start in range(0, plan.customers, _CHUNK):
        rows = _rows(model, dice, start, min(_CHUNK, plan.customers - start))
        for name, index in (("one by one", plain), ("trees", trees)):
            begun = time.perf_counter()
            index.put(rows)
            filling[name] += time.perf_counter() - begun
    say("the same customers move in both")
    begun = time.perf_counter()
    for _ in range(0, plan.moved, 500):
        rows = [
            row._replace(user_id=str(i))
            for row, i in zip(_rows(model, dice, 0, 500), dice.integers(0, plan.customers, 500).tolist(), strict=True)
        ]
        trees.put(rows)
        plain.put(rows)
    moving = (time.perf_counter() - begun) / 2 / plan.moved
    places = [model.project_features([row.features])[0].tolist() for row in _rows(model, dice, 0, plan.searches)]
    say("searches")
    truth, slow = _searched(plain, places)
    found, fast = _searched(trees, places)
    same = sum(len({n.user_id for n in a} & {n.user_id for n in b}) for a, b in zip(truth, found, strict=True))
    exact = sum(a == b for a, b in zip(truth, found, strict=True))
    ways = {
        "one by one": {"ms": slow, "recall": 1.0, "build_s": 0.0},
        "trees": {
            "ms": fast,
            "recall": same / (K * plan.searches),
            "build_s": max(0.0, filling["trees"] - filling["one by one"]),
        },
    }
    graph = _graph(trees, places, truth, say)
    if graph:
        ways["graph (usearch, HNSW)"] = graph
    chunks = (_rows(model, dice, start, min(_CHUNK, plan.held - start)) for start in range(0, plan.held, _CHUNK))
    table = {
        name: {
            "build_s": way["build_s"],
            "p50_ms": quantile(way["ms"], 0.5),
            "p99_ms": quantile(way["ms"], 0.99),
            "recall_at_5": way["recall"],
        }
        for name, way in ways.items()
    }
    return {
        "part": "similar",
        "customers": plan.customers,
        "dimensions": len(artifact.bias),
        "moved": plan.moved,
        "move_us": moving * 1e6,
        "table": table,
        "footprint": footprint(artifact, chunks, directory, say),
        "verdicts": [
            Verdict.at_least("similar: recall@5 of the trees", ways["trees"]["recall"], 1.0).document(),
            Verdict.at_least("similar: answers equal to the last tie", exact / plan.searches, 1.0).document(),
            Verdict.at_most("similar: trees p99 ms", quantile(fast, 0.99), P99_MS).document(),
        ],
    }


def _rows(model: Model, dice: np.random.Generator, start: int, count: int) -> list[Row]:
    """Customers with habits of many kinds."""
    orders = dice.geometric(0.15, count)
    values = np.round(dice.lognormal(4.0, 0.8, count), 2)
    breadth = dice.integers(1, 10, count)
    returned = dice.binomial(orders, 0.08)
    return [
        Row(
            str(start + i),
            "s1",
            {
                "orders": float(n),
                "gross_spend": round(n * value, 2),
                "average_order_value": value,
                "categories": float(min(n, wide)),
                "return_rate": back / n,
            },
        )
        for i, (n, value, wide, back) in enumerate(
            zip(orders.tolist(), values.tolist(), breadth.tolist(), returned.tolist(), strict=True)
        )
    ]


def _searched(index: Index, places: Sequence[Sequence[float]]) -> tuple[list[Any], list[float]]:
    found, took = [], []
    for place in places:
        begun = time.perf_counter()
        found.append(index.similar(place, K))
        took.append((time.perf_counter() - begun) * 1000)
    return found, took


def _graph(
    index: Index, places: Sequence[Sequence[float]], truth: Sequence[Any], say: Callable[[str], None]
) -> dict[str, Any] | None:
    try:
        from usearch.index import Index as Graph
    except ImportError:
        say("usearch is not installed: the graph is left out")
        return None
    z, ids = index.places()
    say("the graph is built")
    graph = Graph(ndim=len(z), metric="l2sq", dtype="f32")
    begun = time.perf_counter()
    graph.add(np.arange(z.shape[1], dtype=np.uint64), np.ascontiguousarray(z.T, dtype=np.float32))
    built = time.perf_counter() - begun
    took, right = [], 0
    for place, true in zip(places, truth, strict=True):
        begun = time.perf_counter()
        keys = graph.search(np.array(place, dtype=np.float32), K).keys.tolist()
        took.append((time.perf_counter() - begun) * 1000)
        right += len({ids[key] for key in keys} & {n.user_id for n in true})
    return {"ms": took, "recall": right / (K * len(places)), "build_s": built}
