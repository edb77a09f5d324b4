"""A retraining on later data leaves alone those who have not changed, and the same data gives the same model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from batch_trainer import fit
from batch_trainer.recipes import RECIPES
from batch_trainer.trainer import train
from batch_trainer.warehouse import open_warehouse
from bench.model import ALIKE, KEPT, NOW, SNAPSHOTS, UCI, invent, recovered, retrained
from sandbox.personas import PERSONAS
from schemas.sealed import to_bytes
from tests.batch_trainer.shops import regulars
from tests.schemas.models import SIGNER


@pytest.mark.skipif(not UCI.is_dir(), reason=f"UCI Online Retail is not at {UCI}")
@pytest.mark.parametrize(("first", "later"), SNAPSHOTS[-1:])  # the earlier ones: `make bench ARGS="--only model"`
def test_who_has_not_changed_stays_in_her_segment(first: str, later: str) -> None:
    found = retrained(first, later)
    assert found.customers > 1000
    assert found.share >= KEPT
    assert found.publishable


def test_two_trainings_of_the_same_data_are_the_same_model_on_one_thread_and_on_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, source = regulars(300).write(tmp_path)
    made = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        with open_warehouse(f"{url}?threads={threads}", source) as warehouse:
            made.append(train(warehouse, RECIPES["behaviour"], now=NOW))
    assert len({training.model_id for training in made}) == 1
    assert len({to_bytes(training.artifact, SIGNER) for training in made}) == 1, "byte by byte, signature and all"
    reports = [training.report | {"warehouse": ""} for training in made]  # its URL says how many threads
    assert reports[0] == reports[1] == reports[2]


def test_equally_good_segments_are_carried_on_and_better_ones_are_not() -> None:
    chance = np.random.default_rng(1)
    blobs = [chance.normal(at, 0.05, (40, 2)) for at in ((0, 0), (0, 3), (3, 0), (3, 3))]
    points = np.concatenate(blobs)
    best = fit.cluster(points, 4, 1)
    mine = np.repeat([2, 0, 3, 1], 40)
    kept = fit.carried_on(points, best, mine)
    assert (kept.predict(points) == mine).all(), "the same partition under the present numbers"
    torn = np.repeat([0, 1, 2, 2], 40)
    torn[:20] = 3
    found = fit.carried_on(points, best, torn)
    assert adjusted_rand_score(found.labels_, best.labels_) == pytest.approx(1.0), "a poor start is not carried on"
    assert fit.carried_on(points, best, np.zeros(160, dtype=np.intp)) is best, "a segment without customers"


def test_a_dimension_more_or_less_is_not_changed_lightly() -> None:
    import pandas as pd

    from schemas.features import Column, FeatureSpec

    chance = np.random.default_rng(2)
    one, two = chance.normal(size=400), chance.normal(size=400)
    columns = pd.DataFrame(
        {"orders": one, "gross_spend": one + 0.2 * two, "categories": two, "items": chance.normal(size=400)}
    )
    spec = FeatureSpec("x", tuple(Column(name) for name in columns), ())
    recipe = RECIPES["behaviour"]
    explained = np.cumsum(fit.project(recipe, spec, columns, 4).explained_variance())
    free = len(fit.project(recipe, spec, columns).explained_variance())
    assert free == int(np.searchsorted(explained, 0.8)) + 1
    assert len(fit.project(recipe, spec, columns, free + 1).explained_variance()) == free + 1
    assert len(fit.project(recipe, spec, columns, 2).explained_variance()) == (2 if explained[1] >= 0.75 else free)


@pytest.mark.parametrize("seed", [1, 5, 444])
def test_the_planted_personas_are_found_again(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    made = invent(path, seed)
    training, alike = recovered(made, path)
    assert training.choice.stable
    assert {made.persona(user).name for user in range(1, 1501)} == {persona.name for persona in PERSONAS}
    assert alike >= ALIKE, training.choice.reason
