"""The evidence for a number of segments, gathered from the customers: stability, silhouettes, habits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from batch_trainer import choose, fit, structure
from batch_trainer.choose import Choice
from batch_trainer.habits import habits
from batch_trainer.progress import Progress, counted
from batch_trainer.recipes import Recipe
from batch_trainer.sample import hash_sample
from batch_trainer.structure import Silhouette
from batch_trainer.warehouse import Warehouse
from schemas.features import Facts, FeatureSpec

STABILITY_ON: Final = 8_000
"""Customers whose halves are compared."""
SILHOUETTE_ON: Final = 1_500
"""Customers whose silhouette is taken: its cost grows with their square."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the number of segments is chosen from."""

    recipe: Recipe
    spec: FeatureSpec
    user_ids: Sequence[str]
    rows: Sequence[Facts]
    points: fit.Array
    """The customers in model space, parallel to the rows."""
    fitted: Mapping[int, Any]
    """KMeans by number of segments."""
    seed: int


def select(
    warehouse: Warehouse, ground: Ground, *, asked_for: int | None, present: int | None, on_progress: Progress
) -> Choice:
    """Choose the number of segments, or take the one `asked_for` or of the recipe; `present` is that of the active model."""
    sse = {k: float(model.inertia_) for k, model in ground.fitted.items()}
    smallest = {k: float(np.bincount(m.labels_, minlength=k).min() / len(m.labels_)) for k, m in ground.fitted.items()}
    sample = ground.points[hash_sample(ground.user_ids, STABILITY_ON)]
    # Each half must be able to hold the segments, or there is nothing to compare.
    different, judged = len(np.unique(sample, axis=0)), ground.recipe.judged_by
    most = min(different if "shuffled" not in judged else different // 4, len(sample) // 4)
    given = asked_for or (None if ground.recipe.chooses_k else ground.recipe.default_k)
    ks = [k for k in ([given] if given else choose.SCAN) if k in ground.fitted and k <= most]
    done = counted("choosing", len(ks) or 1, on_progress)

    def measure(k: int) -> float:
        value = choose.stability(sample, k, fit.cluster, ground.seed, pool.map)
        done(k)
        return value

    with fit.one_thread(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        stabilities = choose.scan(measure, ks, present)
    silhouettes = {}
    if "shuffled" in judged:
        on_progress("comparing with shuffled customers", 0.0)
        silhouettes = _silhouettes(ground, list(stabilities))
    table = choose.tabulate(sse, smallest, stabilities, silhouettes)
    if asked_for:
        return choose.fixed(table, asked_for, f"{asked_for} segments were asked for")
    if given:
        return choose.fixed(table, given, f"recipe {ground.recipe.name!r} makes {given} segments")
    found = habits(warehouse, ground.user_ids, ground.seed) if "habits" in judged else ()
    return choose.choose(table, ground.recipe.default_k, present, found)


def _silhouettes(ground: Ground, ks: Sequence[int]) -> dict[int, Silhouette]:
    """Of the numbers of segments, on a sample, each beside the same customers shuffled and projected anew."""
    sample = hash_sample(ground.user_ids, SILHOUETTE_ON)
    rows = [ground.rows[i] for i in sample]
    # As many dimensions as the data has: a silhouette falls with each.
    recipe = replace(ground.recipe, variance=None, dimensions=ground.points.shape[1])
    nothing = []
    for shuffle in range(structure.SHUFFLES if ks else 0):
        columns = fit.frame(ground.spec, structure.shuffled(rows, ground.seed + shuffle))
        projection = fit.project(recipe, ground.spec, columns)
        with fit.one_thread():
            nothing.append(projection.points(columns))
    with fit.one_thread():
        return {k: structure.silhouette(ground.points[sample], nothing, k, fit.cluster, ground.seed) for k in ks}
