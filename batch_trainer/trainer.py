"""Training from end to end: warehouse in; artifact, gates and report out. Nothing is published here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import msgspec
import numpy as np

from batch_trainer import choose, portrait, published
from batch_trainer.fit import SWEEP, Array, TrainingError, cluster, fold, frame, hold, project, require, sweep
from batch_trainer.gates import Gate, judge
from batch_trainer.identity import Identity, carry_on
from batch_trainer.names import name_segments
from batch_trainer.recipes import RECIPES, Recipe
from batch_trainer.sample import hash_sample
from batch_trainer.source import EmptyWarehouse, WarehouseError
from batch_trainer.warehouse import Customers, Warehouse
from schemas.features import FEATURES, Facts, FeatureSpec, available
from schemas.model import PROSPECT_NAME, Artifact, Golden, Model, Reference, Segment, check, model_id
from schemas.times import rfc3339

FIT: Final = 100_000
"""Customers that KMeans learns from; SSE on a hash sample of so many is within 0.01 % of the whole."""
SCAN: Final = 8_000
"""Customers on whom the stability of a number of segments is measured."""
COMPARED: Final = 20_000
"""Customers by whom old and new segments are matched."""
GOLDEN: Final = 100
_FLOOR: Final = 1e-9

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Training:
    """What training gave."""

    artifact: Artifact
    model_id: str
    gates: tuple[Gate, ...]
    report: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether every gate holds."""
        return all(gate.holds for gate in self.gates)


def recipe_named(name: str) -> Recipe:
    """The recipe of this name. Raises WarehouseError, with a suggestion, where there is none."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise WarehouseError(f"recipe {name!r} is not known; there are {', '.join(RECIPES)}{hint}")


def train(
    warehouse: Warehouse,
    recipe_name: str,
    *,
    now: int,
    k: int | None = None,
    previous: Model | None = None,
    say: Say = lambda text: None,
) -> Training:
    """Train a recipe on a warehouse. `now` in microseconds UTC; `previous` is the model whose segment ids are carried on.

    Raises TrainingError (TooFewCustomers, FoldingError), EmptyWarehouse or WarehouseError, each with what to do.
    """
    recipe = recipe_named(recipe_name)
    if k is not None and k < 2:
        raise WarehouseError(f"--k {k}: a model has at least 2 segments")
    say("reading the customers")
    customers = warehouse.facts()
    spec = available(recipe.spec, set(warehouse.known))
    chosen = [i for i, known in enumerate(customers.facts) if FEATURES[spec.population].formula(known)]
    if not chosen:
        raise EmptyWarehouse("no customer of this warehouse has an order to learn from")
    rows = [customers.facts[i] for i in chosen]
    user_ids = [customers.user_ids[i] for i in chosen]
    say(f"projecting {len(rows)} customers")
    columns = frame(spec, rows)
    projection = project(recipe, spec, columns)
    points = projection.points(columns)
    learned = points[hash_sample(user_ids, FIT)]
    choice, fitted = _segments(recipe, learned, points, user_ids, k, previous, say)
    labels = fitted.predict(points)
    members = [np.flatnonzero(labels == i) for i in range(choice.k)]
    compared = hash_sample(user_ids, COMPARED)
    identity = carry_on(previous, labels[compared].tolist(), choice.k, [rows[i] for i in compared])
    portraits = portrait.portraits(spec, columns, rows, members)
    kept = [identity.names.get(name) for name in identity.ids]
    names = name_segments(portraits, kept, [PROSPECT_NAME])
    segments = tuple(
        Segment(
            id=segment_id,
            name=name,
            size=len(member),
            share=len(member) / len(rows),
            medians=drawn.medians,
            top=portrait.top(spec, [rows[i] for i in member]),
        )
        for segment_id, name, member, drawn in zip(identity.ids, names, members, portraits, strict=True)
    )
    bias, numbers, categories = fold(projection)
    draft = Artifact(
        recipe=recipe.name,
        spec=spec,
        spec_hash=spec.hash(),
        trained_at=rfc3339(now),
        data_until=rfc3339(warehouse.data_until),
        rows=len(rows),
        bias=bias,
        numbers=numbers,
        categories=categories,
        centroids=tuple(tuple(float(v) for v in row) for row in fitted.cluster_centers_),
        segments=segments,
        explained_variance=projection.explained_variance(),
        golden=(),
        libraries={name: version(name) for name in ("scikit-learn", "numpy", "duckdb", "segstream")},
        parent=identity.parent,
        retired=identity.retired,
    )
    model = Model(draft, "")
    say("holding the model against scikit-learn on every row")
    hold(model, rows, points, labels)
    golden = tuple(
        Golden(rows[i], tuple(model.project(rows[i])), model.score(rows[i]).nearest)
        for i in hash_sample(user_ids, GOLDEN)
    )
    artifact = msgspec.structs.replace(draft, golden=golden, reference=_reference(model, rows))
    check(artifact)
    gates = judge(
        recipe,
        rows=len(rows),
        k=choice.k,
        variance=float(sum(artifact.explained_variance)),
        smallest_share=min(segment.share for segment in segments),
    )
    report = _report(artifact, choice, gates, identity, customers, rows, members, warehouse)
    if recipe.name == "article" and published.applies(customers, warehouse.known):
        say("running the walk-through as it was published")
        report["published"] = published.run(customers, recipe.seed)
    return Training(artifact, report["model_id"], gates, report)


def _segments(
    recipe: Recipe,
    learned: Array,
    points: Array,
    user_ids: Sequence[str],
    k: int | None,
    previous: Model | None,
    say: Say,
) -> tuple[choose.Choice, Any]:
    require(points, k or (3 if recipe.chooses_k else recipe.default_k))
    most = len(np.unique(learned, axis=0))
    ks = sorted({n for n in SWEEP if n <= most} | ({k} if k else set()))
    say(f"fitting {ks[0]} to {ks[-1]} segments")
    fitted = sweep(learned, ks, recipe.seed, lambda done: None)
    sse = {n: float(model.inertia_) for n, model in fitted.items()}
    smallest = {n: float(np.bincount(model.labels_, minlength=n).min() / len(learned)) for n, model in fitted.items()}
    if k is not None:
        return choose.fixed(choose.tabulate(sse, smallest, {}), k, f"{k} segments were asked for"), fitted[k]
    if not recipe.chooses_k:
        reason = f"recipe {recipe.name!r} makes {recipe.default_k} segments, as published"
        return choose.fixed(choose.tabulate(sse, smallest, {}), recipe.default_k, reason), fitted[recipe.default_k]
    say("measuring how stable each number of segments is")
    sample = points[hash_sample(user_ids, SCAN)]
    scanned = [n for n in choose.SCAN if n in fitted and 4 * n <= len(sample)]
    present = len(previous.segments) if previous is not None else None
    stabilities = choose.scan(lambda n: choose.stability(sample, n, cluster, recipe.seed), scanned, present)
    choice = choose.choose(choose.tabulate(sse, smallest, stabilities), min(recipe.default_k, most), present)
    return choice, fitted[choice.k]


def _reference(model: Model, rows: Sequence[Facts]) -> dict[str, Reference]:
    """How the log distance to the centroid is distributed over orders: a customer counts as often as she has ordered."""
    _, _, distances = model.score_many(rows)
    values = np.array([math.log(max(d, _FLOOR)) for d in distances.tolist()])
    weights = np.array([known.placed_orders for known in rows], dtype=float)
    mean = float(np.average(values, weights=weights))
    std = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    return {"log_distance": Reference(n=int(weights.sum()), mean=mean, std=std)}


def _report(
    artifact: Artifact,
    choice: choose.Choice,
    gates: Sequence[Gate],
    identity: Identity,
    customers: Customers,
    rows: Sequence[Facts],
    members: Sequence[Any],
    warehouse: Warehouse,
) -> dict[str, Any]:
    spend = sum(known.spend for known in rows)
    cards = [
        {
            **msgspec.to_builtins(segment),
            "revenue_share": sum(rows[i].spend for i in member) / spend if spend else None,
        }
        for segment, member in zip(artifact.segments, members, strict=True)
    ]
    return {
        "model_id": model_id(artifact),
        "recipe": artifact.recipe,
        "trained_at": artifact.trained_at,
        "source": {
            "name": warehouse.name,
            "data_from": rfc3339(warehouse.data_from),
            "data_until": artifact.data_until,
        },
        "rows": len(rows),
        "prospects": len(customers) - len(rows),
        "features": [c.feature for c in artifact.spec.columns],
        "profile": list(artifact.spec.profile),
        "left_out": _left_out(artifact.spec, RECIPES[artifact.recipe].spec, warehouse),
        "quality": dict(warehouse.quality),
        "explained_variance": list(artifact.explained_variance),
        "k": choice.k,
        "choice": msgspec.to_builtins(choice),
        "sse": {str(row.k): row.sse for row in choice.table},
        "overall": portrait.medians(artifact.spec, rows),
        "segments": cards,
        "gates": msgspec.to_builtins(gates),
        "identity": {
            "parent": identity.parent,
            "overlap": identity.overlap,
            "flows": msgspec.to_builtins(identity.flows),
            "retired": list(identity.retired),
        },
        "reference": msgspec.to_builtins(artifact.reference),
        "libraries": artifact.libraries,
    }


def _left_out(used: FeatureSpec, whole: FeatureSpec, warehouse: Warehouse) -> dict[str, str]:
    """The features of the recipe that this source cannot give, and why."""
    there = {c.feature for c in used.columns} | set(used.profile)
    missing = [name for name in [*(c.feature for c in whole.columns), *whole.profile] if name not in there]
    return {
        name: "; ".join(warehouse.left_out[need] for need in FEATURES[name].needs if need in warehouse.left_out)
        for name in dict.fromkeys(missing)
    }


__all__ = ["Training", "TrainingError", "recipe_named", "train"]
