"""Training: from a warehouse to an artifact and the report that explains it. Knows nothing of Redis or of the clock."""

from __future__ import annotations

import math
import platform
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from batch_trainer import (
    fit,
    flapping,
    identity,
    moments,
    names,
    newcomers,
    population,
    published,
    report,
    segments,
    selection,
    vocabulary,
)
from batch_trainer.choose import Choice
from batch_trainer.gates import Gate, failing, gates
from batch_trainer.identity import Identity
from batch_trainer.landscape import landscape
from batch_trainer.migration import migration
from batch_trainer.population import Population
from batch_trainer.progress import Progress, counted
from batch_trainer.recipes import Recipe
from batch_trainer.sample import hash_sample
from batch_trainer.warehouse import Warehouse
from schemas.artifact import Artifact, Golden, Reference, model_id
from schemas.coherence import coherence
from schemas.drift import DISTANCE, RECONSTRUCTION
from schemas.features import FEATURES, POPULATIONS, FeatureSpec
from schemas.model import Model
from schemas.newcomer import probabilities
from schemas.reference import Bins, Residuals, appearances, distributions, is_clock
from schemas.times import DAY, rfc3339

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


def train(
    warehouse: Warehouse,
    recipe: Recipe,
    *,
    now: int,
    k: int | None = None,
    seed: int | None = None,
    previous: Model | None = None,
    on_progress: Progress = lambda stage, share: None,
    fit_on: int = FIT_ON,
    hysteresis: float | None = None,
    waived: Collection[str] = (),
) -> Training:
    """Train a model; `now` in microseconds, `k` fixes the number of segments, `previous` hands on its segment ids and names.

    The hysteresis is estimated from the history of a sample of customers, unless one is given (model units; 0: none). `waived` are the gates
    (`gates.NAMES`) that need not hold.

    Of more than `fit_on` customers a sample is learnt from and described; the projection is made from the moments of all, and the
    sizes of the segments count all, so that the memory needed does not grow with the number of customers.

    The same warehouse, seed and `now` give the same artifact, whatever the number of threads. Raises TooFewCustomers and other
    TrainingErrors where there is no model to be had.
    """
    if k is not None and k < 2:
        raise fit.TrainingError(f"{k} segments asked for; there must be at least 2")
    if hysteresis is not None and not 0.0 <= hysteresis < math.inf:
        raise fit.TrainingError(f"hysteresis {hysteresis} asked for; it must be 0 (none) or a distance in model units")
    start = recipe.seed if seed is None else seed
    on_progress("counting customers", 0.0)
    recipe = vocabulary.settled(warehouse, recipe, previous)
    people = population.look(warehouse, recipe, fit_on)
    wanted, who = k or recipe.default_k, POPULATIONS[recipe.spec.population]
    by_traits = k is None and not people.spec.numbers()
    if people.size < wanted:
        raise fit.TooFewCustomers(
            f"{people.size} customers {who.inside} cannot make {wanted} segments; ask for fewer (--k) or train when there are more"
        )
    on_progress("projecting", 0.0)
    columns = fit.frame(people.spec, people.rows)
    fit.require(columns, 2 if by_traits else wanted)
    alike = previous if previous is not None and _comparable(previous, recipe, people.spec) else None
    projection = _project(warehouse, recipe, people, columns, None if alike is None else len(alike.artifact.bias))
    with fit.one_thread():
        points = projection.points(columns)
    if by_traits:  # there are no more segments than combinations of traits
        wanted = max(2, min(wanted, len(np.unique(points, axis=0))))
        recipe = replace(recipe, default_k=wanted)
    fit.require(pd.DataFrame(points), wanted)
    starts = fit.STARTS if people.complete else fit.MORE_STARTS
    fitted = _sweep(points, wanted, start, starts, on_progress)
    if alike is not None and (present := len(alike.segments)) in fitted:
        before = alike.score_many(people.rows)[0]
        fitted[present] = fit.carried_on(points, fitted[present], before)
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
    named = names.name_segments(portraits, [same.names.get(name) for name in same.ids], [who.reserved])
    on_progress("learning from traits", 0.0)
    learnt = newcomers.learn(people.rows, labels, same.ids, start) if who.buyers else newcomers.nobody()
    bias, numbers, categories = fit.fold(projection)
    artifact = Artifact(
        recipe=recipe.name,
        spec=people.spec,
        spec_hash=people.spec.hash(),
        trained_at=rfc3339(now),
        data_until=rfc3339(warehouse.data_until),
        rows=people.size,
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
        newcomers=learnt.newcomers,
    )
    model = Model(artifact, "")
    fit.hold(model, people.rows, points, labels)
    artifact = msgspec.structs.replace(
        artifact, golden=_golden(model, people, labels), **_expectations(model, people, columns)
    )
    on_progress("replaying", 0.0)
    calmed = flapping.estimate(flapping.replay(warehouse, model), hysteresis)
    artifact = flapping.settled(artifact, calmed)
    everybody = None
    if not people.complete:
        on_progress("counting segments", 0.0)
        everybody = population.census(warehouse, people, model)
        sized = segments.resized(artifact.segments, everybody.sizes.tolist())
        artifact = msgspec.structs.replace(artifact, segments=sized)
    identified = model_id(artifact)
    moves = None
    if previous is not None:
        moves = migration(previous, Model(artifact, identified), [people.rows[i] for i in matched])
    found = gates(artifact, recipe, choice, previous, moves, k, waived)
    published_numbers = _published(recipe, warehouse, people, fit_on, on_progress)
    on_progress("reporting", 0.0)
    content = report.content(
        artifact,
        identified,
        warehouse,
        customers=people.customers,
        everyone=people.rows,
        members=members,
        left_out=people.left_out,
        choice=choice,
        identity=same,
        moves=moves,
        gates=found,
        fitted_on=len(people.rows),
        census=everybody,
        learnt=learnt,
        seed=start,
        published=published_numbers,
        calmed=calmed,
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


def _comparable(previous: Model, recipe: Recipe, spec: FeatureSpec) -> bool:
    return previous.artifact.recipe == recipe.name and previous.artifact.spec_hash == spec.hash()


def _project(
    warehouse: Warehouse, recipe: Recipe, people: Population, columns: pd.DataFrame, dimensions: int | None
) -> fit.Projection:
    if people.complete:
        return fit.project(recipe, people.spec, columns, dimensions)
    known = moments.measure(warehouse.engine, people.facts, people.spec, recipe.rare)
    return fit.project_moments(recipe, people.spec, known, dimensions)


def _sweep(points: fit.Array, wanted: int, seed: int, starts: int, on_progress: Progress) -> dict[int, Any]:
    most = len(np.unique(points, axis=0))
    ks = sorted({k for k in fit.SWEEP if k <= most} | {wanted})
    return fit.sweep(points, ks, seed, counted("clustering", len(ks), on_progress), starts)


def _golden(model: Model, people: Population, labels: segments.Labels) -> tuple[Golden, ...]:
    """Customers by hash, and for each segment at least one."""
    picked = set(hash_sample(people.user_ids, GOLDEN))
    picked |= {int(np.flatnonzero(labels == i)[0]) for i in range(len(model.segments)) if (labels == i).any()}
    rows = [people.rows[i] for i in sorted(picked)]
    guesses = model.artifact.newcomers
    return tuple(
        Golden(
            known,
            tuple(model.project(known)),
            model.score(known).nearest,
            tuple(probabilities(guesses, known)) if guesses is not None and guesses.speaks else (),
        )
        for known in rows
    )


def _expectations(model: Model, people: Population, columns: pd.DataFrame) -> dict[str, Any]:
    """What of an artifact the drift check compares with.

    Everything is counted over events: the stream sees a customer again with each of hers, on its day.
    """
    rows = people.rows
    if model.clocked:
        rows = [msgspec.structs.replace(known, today=(known.last_order_at or 0) // DAY) for known in rows]
        columns = fit.frame(people.spec, rows)
    weights = np.array([float(appearances(known)) for known in rows])
    nearest, _, distances = model.score_many(rows)
    logs = np.array([math.log(max(distance, 1e-9)) for distance in distances.tolist()])
    found = {DISTANCE: _weighted(logs, weights)}
    for column in people.spec.numbers():
        found[column.feature] = _weighted(columns[column.feature].to_numpy(), weights)
    errors = Residuals(model.artifact.numbers, found).logs({name: columns[name].to_numpy() for name in columns.columns})
    if errors is not None:
        found[RECONSTRUCTION] = _weighted(errors, weights)
    members = [model.segments[i].id for i in nearest.tolist()]
    known = distributions(model.feature_names, rows, weights, members)
    places = {
        column.feature: Bins(known[column.feature]).places([FEATURES[column.feature].formula(one) for one in rows])
        for column in people.spec.numbers()
        if column.feature in known and not is_clock(column.feature)
    }
    return {"reference": found, "distributions": known, "coherence": coherence(places, known, weights)}


def _weighted(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> Reference:
    known = ~np.isnan(values)
    values, weights = values[known], weights[known]
    total = math.fsum(weights)
    mean = math.fsum(values * weights) / total
    variance = math.fsum(weights * (values - mean) ** 2) / total
    return Reference(int(total), mean, math.sqrt(variance))


def _published(
    recipe: Recipe, warehouse: Warehouse, people: Population, most: int, on_progress: Progress
) -> dict[str, Any] | None:
    if recipe.name != "article":
        return None
    if people.customers > most:
        reason = f"it holds every customer in memory, and {people.customers} are more than {most}"
        return {"available": False, "reason": reason}
    done = counted("the walk-through as published", len(fit.SWEEP), on_progress)
    return published.walk_through(warehouse, population.read(warehouse, warehouse.everyone()), done)


def _libraries() -> dict[str, str]:
    found = {name: version(name) for name in ("scikit-learn", "numpy", "scipy", "ibis-framework", "duckdb")}
    return {"python": platform.python_version(), **found}
