"""Of more customers than fit into memory the trainer learns what it would have learnt of all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batch_trainer import fit, moments, population, vocabulary
from batch_trainer.recipes import RECIPES, Recipe
from batch_trainer.trainer import train
from batch_trainer.warehouse import Warehouse, open_warehouse
from schemas.model import Model
from tests.batch_trainer.backends import Backend, source
from tests.batch_trainer.shops import NOW, nasties, regulars

Servers = Callable[[str], Backend]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return regulars(1500).write(tmp_path_factory.mktemp("shop"))


@pytest.fixture(params=["behaviour", "article"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return RECIPES[request.param]


@pytest.mark.parametrize("nasty", [False, True], ids=["regulars", "nasties"])
def test_moments_give_the_projection_that_everybody_gives(nasty: bool, recipe: Recipe, tmp_path: Path) -> None:
    made = nasties() if nasty else regulars(800)
    with open_warehouse(*made.write(tmp_path)) as warehouse:
        people = population.look(warehouse, recipe, 10**6)
        assert people.complete
        known = moments.measure(warehouse.engine, people.facts, people.spec, recipe.rare)
    columns = fit.frame(people.spec, people.rows)
    whole = fit.project(recipe, people.spec, columns)
    asked = fit.project_moments(recipe, people.spec, known)
    assert known.rows == len(people.rows)
    assert asked.explained_variance() == pytest.approx(whole.explained_variance(), abs=1e-5)
    there, here = whole.points(columns), asked.points(columns)
    # Directions of equal variance may be turned into each other: distances are what counts.
    for i in range(0, len(here), 7):
        assert np.linalg.norm(here - here[i], axis=1) == pytest.approx(
            np.linalg.norm(there - there[i], axis=1), abs=1e-4
        )


def test_moments_do_not_depend_on_threads(shop: tuple[str, Path], recipe: Recipe) -> None:
    found = []
    for threads in (1, 4):
        with open_warehouse(f"{shop[0]}?threads={threads}", shop[1]) as warehouse:
            people = population.look(warehouse, recipe, 10)
            known = moments.measure(warehouse.engine, people.facts, people.spec, recipe.rare)
            found.append((known.covariance.tobytes(), known.means.tobytes(), known.frequent, people.user_ids))
    assert found[0] == found[1]


def test_a_training_on_a_sample_counts_everybody(shop: tuple[str, Path], recipe: Recipe) -> None:
    with open_warehouse(*shop) as warehouse:
        whole = train(warehouse, recipe, now=NOW, k=4)
        part = train(warehouse, recipe, now=NOW, k=4, fit_on=1000)
        people = population.look(warehouse, recipe, 1000)
        everybody = warehouse.facts()
    assert len(people.rows) == 1000 == part.report["fitted_on"]
    assert part.artifact.rows == whole.artifact.rows == people.size
    model = Model(part.artifact, "")
    rows = [known for known in everybody.facts if model.population(known)]
    nearest, _, distance = model.score_many(rows)
    assert [segment.size for segment in part.artifact.segments] == np.bincount(nearest, minlength=4).tolist()
    assert sum(segment.share for segment in part.artifact.segments) == pytest.approx(1.0)
    assert part.report["sse_of_all"] == pytest.approx(float(distance @ distance))
    assert part.report["sse_of_all"] <= whole.report["sse"]["4"] * 1.05
    spend = sum(known.spend for known in rows)
    for i, segment in enumerate(part.report["segments"]):
        own = sum(known.spend for known, n in zip(rows, nearest, strict=True) if n == i)
        assert segment["revenue_share"] == pytest.approx(own / spend)


def test_the_same_sample_gives_the_same_model(shop: tuple[str, Path]) -> None:
    ids = set()
    for _ in range(2):
        with open_warehouse(*shop) as warehouse:
            ids.add(train(warehouse, RECIPES["behaviour"], now=NOW, k=4, fit_on=500).model_id)
    assert len(ids) == 1


def test_a_retraining_on_a_sample_keeps_dimensions_segments_and_names(shop: tuple[str, Path]) -> None:
    with open_warehouse(*shop) as warehouse:
        whole = train(warehouse, RECIPES["behaviour"], now=NOW)
        active = Model(whole.artifact, whole.model_id)
        part = train(warehouse, RECIPES["behaviour"], now=NOW + 1, previous=active, fit_on=1000)
    assert part.choice.k == whole.choice.k
    assert len(part.artifact.bias) == len(whole.artifact.bias)
    assert {s.id: s.name for s in part.artifact.segments} == {s.id: s.name for s in whole.artifact.segments}
    assert part.artifact.parent == whole.model_id
    assert part.report["migration"]["share"] < 0.05
    assert part.publishable


@pytest.mark.parametrize("kind", ["postgres", "redshift", "spark"])
def test_every_warehouse_gives_the_same_model(kind: str, servers: Servers, tmp_path: Path) -> None:
    tables = regulars(120).tables()
    found = set()
    for name in ("duckdb", kind):
        with servers(name)(tables, tmp_path) as url, open_warehouse(url, source(tables)) as warehouse:
            trained = train(warehouse, RECIPES["behaviour"], now=NOW)
            found.add((trained.model_id, tuple(map(str, trained.choice.habits))))
    assert len(found) == 1


@pytest.mark.parametrize("kind", ["postgres", "spark"])
def test_every_warehouse_gives_the_same_sample_and_moments(kind: str, servers: Servers, tmp_path: Path) -> None:
    tables = nasties().tables()
    found = []
    for name in ("duckdb", kind):
        with servers(name)(tables, tmp_path) as url, open_warehouse(url, source(tables)) as warehouse:
            found.append(_learnt(warehouse))
    for one, other in zip(*found, strict=True):
        assert one[:3] == other[:3]
        assert one[3] == pytest.approx(other[3], abs=1e-6)


def _learnt(warehouse: Warehouse) -> list[tuple[object, ...]]:
    learnt: list[tuple[object, ...]] = []
    for named in RECIPES.values():
        recipe = vocabulary.settled(warehouse, named)
        people = population.look(warehouse, recipe, 4)
        known = moments.measure(warehouse.engine, people.facts, people.spec, recipe.rare)
        learnt.append((people.user_ids, people.rows, known.frequent, known.covariance))
    return learnt
