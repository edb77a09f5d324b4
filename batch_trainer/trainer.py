"""Training: from a warehouse to an artifact and the report that explains it. Knows nothing of Redis or of the clock."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from batch_trainer import fit, identity, names, published, report, segments, selection
from batch_trainer.choose import Choice
from batch_trainer.gates import Gate, failing, gates
from batch_trainer.identity import Identity
from batch_trainer.landscape import landscape
from batch_trainer.migration import migration
from batch_trainer.progress import Progress, counted
from batch_trainer.recipes import Recipe
from batch_trainer.sample import hash_sample
from batch_trainer.warehouse import Customers, Warehouse
from schemas.features import FEATURES, Facts, FeatureSpec, available
from schemas.model import PROSPECT_NAME, Artifact, Golden, Model, Reference, model_id
from schemas.times import rfc3339

FIT_ON: Final = 100_000
"""KMeans learns from at most this many customers: more change nothing but the time it takes."""
MATCH_ON: Final = 20_000
GOLDEN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A trained model, the report on it, and whether it may be published."""

    artifact: Artifact
    model_id: str
    choice: Choice
    identity: Identity
    gates: tuple[Gate, ...]
    report: dict[str, Any]

    @property
    def publishable(self) -> bool:
        """Whether no gate forbids it."""
        return not self.refusal()

    def refusal(self) -> str:
        """Why it must not be published, empty where it may."""
        return failing(self.gates)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Population:
    """The customers who are segmented."""

    spec: FeatureSpec
    user_ids: list[str]
    rows: list[Facts]
    left_out: dict[str, str]


def train(
    warehouse: Warehouse,
    recipe: Recipe,
    *,
    now: int,
    k: int | None = None,
    seed: int | None = None,
    previous: Model | None = None,
    on_progress: Progress = lambda stage, share: None,
) -> Training:
    """Train a model; `now` in microseconds, `k` fixes the number of segments, `previous` hands on its segment ids and names.

    The same warehouse, seed and `now` give the same artifact, whatever the number of threads. Raises TooFewCustomers and other
    TrainingErrors where there is no model to be had.
    """
    if k is not None and k < 2:
        raise fit.TrainingError(f"{k} segments asked for; there must be at least 2")
    start = recipe.seed if seed is None else seed
    on_progress("counting customers", 0.0)
    customers = warehouse.facts()
    people = _population(warehouse, customers, recipe)
    wanted = k or recipe.default_k
    if len(people.rows) < wanted:
        raise fit.TooFewCustomers(
            f"{len(people.rows)} customers with orders cannot make {wanted} segments; ask for fewer (--k) or train when there are more"
        )
    on_progress("projecting", 0.0)
    columns = fit.frame(people.spec, people.rows)
    learnt = hash_sample(people.user_ids, FIT_ON)
    alike = previous if previous is not None and _comparable(previous, recipe, people.spec) else None
    projection = fit.project(
        recipe, people.spec, columns.iloc[learnt], None if alike is None else len(alike.artifact.bias)
    )
    with fit.one_thread():
        points = projection.points(columns)
    fit.require(points, wanted)
    fitted = _sweep(points[learnt], wanted, start, on_progress)
    if alike is not None and (present := len(alike.segments)) in fitted:
        before = alike.score_many([people.rows[i] for i in learnt])[0]
        fitted[present] = fit.carried_on(points[learnt], fitted[present], before)
    choice = selection.select(
        warehouse,
        selection.Ground(recipe, people.spec, people.user_ids, people.rows, points, fitted, start),
        asked_for=k,
        present=len(previous.segments) if previous is not None and previous.artifact.recipe == recipe.name else None,
        on_progress=on_progress,
    )
    on_progress("folding", 0.0)
    kmeans = fitted[choice.k]
    with fit.one_thread():
        raw = np.asarray(kmeans.predict(points), dtype=np.intp)
    order = np.argsort(-np.bincount(raw, minlength=choice.k), kind="stable")
    labels = np.argsort(order)[raw]
    matched = hash_sample(people.user_ids, MATCH_ON)
    same = identity.carry_on(previous, labels[matched].tolist(), choice.k, [people.rows[i] for i in matched])
    members = segments.split(people.rows, labels, choice.k)
    portraits = segments.portraits(people.spec, columns, labels, members)
    named = names.name_segments(portraits, [same.names.get(name) for name in same.ids], [PROSPECT_NAME])
    bias, numbers, categories = fit.fold(projection)
    artifact = Artifact(
        recipe=recipe.name,
        spec=people.spec,
        spec_hash=people.spec.hash(),
        trained_at=rfc3339(now),
        data_until=rfc3339(warehouse.data_until),
        rows=len(people.rows),
        bias=bias,
        numbers=numbers,
        categories=categories,
        centroids=tuple(tuple(float(v) for v in kmeans.cluster_centers_[i]) for i in order),
        segments=segments.segments(people.spec, members, same, named, portraits),
        explained_variance=projection.explained_variance(),
        golden=(),
        libraries=_libraries(),
        parent=same.parent,
        retired=same.retired,
    )
    model = Model(artifact, "")
    fit.hold(model, people.rows, points, labels)
    artifact = msgspec.structs.replace(
        artifact,
        golden=_golden(model, people, labels),
        reference=_reference(model, people, columns),
    )
    identified = model_id(artifact)
    moves = None
    if previous is not None:
        moves = migration(previous, Model(artifact, identified), [people.rows[i] for i in matched])
    found = gates(artifact, recipe, choice, previous, moves, k)
    published_numbers = _published(recipe, warehouse, customers, on_progress)
    on_progress("reporting", 0.0)
    content = report.content(
        artifact,
        identified,
        warehouse,
        customers=len(customers),
        everyone=people.rows,
        members=members,
        left_out=people.left_out,
        choice=choice,
        identity=same,
        moves=moves,
        gates=found,
        fitted_on=len(learnt),
        seed=start,
        published=published_numbers,
        mapped=landscape(Model(artifact, identified), [people.rows[i] for i in matched]),
    )
    on_progress("done", 1.0)
    return Training(
        artifact=artifact,
        model_id=identified,
        choice=choice,
        identity=same,
        gates=found,
        report=content,
    )


def _population(warehouse: Warehouse, customers: Customers, recipe: Recipe) -> _Population:
    counts = FEATURES[recipe.spec.population].formula
    chosen = [i for i, known in enumerate(customers.facts) if counts(known)]
    rows = [customers.facts[i] for i in chosen]
    missing = dict(warehouse.left_out)
    for fact in ("age", "gender", "country", "traffic_source", "brand", "category"):
        if fact in warehouse.known and rows and all(getattr(known, fact) is None for known in rows):
            missing[fact] = "no customer with orders has a known value"
    spec = available(recipe.spec, set(Facts.__struct_fields__) - missing.keys())
    wanted = dict.fromkeys([c.feature for c in recipe.spec.columns] + list(recipe.spec.profile))
    left_out = {
        name: "; ".join(missing[need] for need in FEATURES[name].needs if need in missing)
        for name in wanted
        if any(need in missing for need in FEATURES[name].needs)
    }
    return _Population(spec=spec, user_ids=[customers.user_ids[i] for i in chosen], rows=rows, left_out=left_out)


def _comparable(previous: Model, recipe: Recipe, spec: FeatureSpec) -> bool:
    return previous.artifact.recipe == recipe.name and previous.artifact.spec_hash == spec.hash()


def _sweep(points: fit.Array, wanted: int, seed: int, on_progress: Progress) -> dict[int, Any]:
    most = len(np.unique(points, axis=0))
    ks = sorted({k for k in fit.SWEEP if k <= most} | {wanted})
    return fit.sweep(points, ks, seed, counted("clustering", len(ks), on_progress))


def _golden(model: Model, people: _Population, labels: segments.Labels) -> tuple[Golden, ...]:
    """Customers by hash, and for each segment at least one."""
    picked = set(hash_sample(people.user_ids, GOLDEN))
    picked |= {int(np.flatnonzero(labels == i)[0]) for i in range(len(model.segments)) if (labels == i).any()}
    rows = [people.rows[i] for i in sorted(picked)]
    return tuple(Golden(known, tuple(model.project(known)), model.score(known).nearest) for known in rows)


def _reference(model: Model, people: _Population, columns: pd.DataFrame) -> dict[str, Reference]:
    """How distances and numeric columns are distributed over orders: the stream sees a customer once per order."""
    weights = np.array([model.population(known) for known in people.rows], dtype=float)
    distances = model.score_many(people.rows)[2].tolist()
    logs = np.array([math.log(max(distance, 1e-9)) for distance in distances])
    found = {"log_distance": _weighted(logs, weights)}
    for column in people.spec.numbers():
        found[column.feature] = _weighted(columns[column.feature].to_numpy(), weights)
    return found


def _weighted(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> Reference:
    known = ~np.isnan(values)
    values, weights = values[known], weights[known]
    total = math.fsum(weights)
    mean = math.fsum(values * weights) / total
    variance = math.fsum(weights * (values - mean) ** 2) / total
    return Reference(int(total), mean, math.sqrt(variance))


def _published(
    recipe: Recipe, warehouse: Warehouse, customers: Customers, on_progress: Progress
) -> dict[str, Any] | None:
    if recipe.name != "article":
        return None
    done = counted("the walk-through as published", len(fit.SWEEP), on_progress)
    return published.walk_through(warehouse, customers, done)


def _libraries() -> dict[str, str]:
    found = {name: version(name) for name in ("scikit-learn", "numpy", "scipy", "ibis-framework", "duckdb")}
    return {"python": platform.python_version(), **found}
