"""A retraining on later data leaves alone those who have not changed, and the same data gives the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from batch_trainer import fit
from batch_trainer.recipes import RECIPES
from batch_trainer.source import Source, read_source
from batch_trainer.trainer import train
from batch_trainer.warehouse import Customers, open_warehouse
from sandbox import warehouse as shop_warehouse
from sandbox.personas import PERSONAS
from sandbox.shop import Shop
from schemas.model import PROSPECT, Model
from tests.batch_trainer.shops import UCI, regulars

NOW = 1_790_000_000_000_000


def until(day: str) -> Source:
    """UCI Online Retail as it was on a day."""
    given = read_source("uci_online_retail", {"dir": str(UCI)})
    table = f"read_parquet('{UCI}/transactions.parquet')"
    then = f"(SELECT * FROM {table} WHERE invoice_ts < TIMESTAMP '{day}')"
    relations = {name: sql.replace(table, then) for name, sql in given.relations.items()}
    assert all(then in sql for sql in relations.values())
    return Source(name="uci_online_retail", relations=relations)


@pytest.mark.skipif(not UCI.is_dir(), reason=f"UCI Online Retail is not at {UCI}")
@pytest.mark.parametrize(("first", "later"), [("2011-09-10", "2011-11-09"), ("2011-11-09", "2011-12-10")])
def test_who_has_not_changed_stays_in_her_segment(first: str, later: str) -> None:
    with open_warehouse("duckdb://", until(first)) as warehouse:
        before = train(warehouse, RECIPES["behaviour"], now=NOW)
        old: Customers = warehouse.facts()
    model = Model(before.artifact, before.model_id)
    with open_warehouse("duckdb://", until(later)) as warehouse:
        after = train(warehouse, RECIPES["behaviour"], now=NOW + 1, previous=model)
        new = dict(zip(*(lambda c: (c.user_ids, c.facts))(warehouse.facts()), strict=True))
    same = [f for u, f in zip(old.user_ids, old.facts, strict=True) if new[u] == f and f.orders]
    assert len(same) > 1000
    here, there = model.assign_many(same), Model(after.artifact, after.model_id).assign_many(same)
    assert sum(a == b for a, b in zip(here, there, strict=True)) / len(same) >= 0.97
    assert after.publishable


def test_two_trainings_of_the_same_data_are_the_same_model(tmp_path: Path) -> None:
    where = regulars(300).write(tmp_path)
    ids = set()
    for _ in range(2):
        with open_warehouse(*where) as warehouse:
            ids.add(train(warehouse, RECIPES["behaviour"], now=NOW).model_id)
    assert len(ids) == 1


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
    made = Shop(seed, 1500, 365, NOW)
    path = tmp_path / "shop.duckdb"
    shop_warehouse.create(path, made.catalogue)
    shop_warehouse.append(path, made.history)
    with open_warehouse(f"duckdb:///{path}", "thelook") as warehouse:
        training = train(warehouse, RECIPES["behaviour"], now=NOW)
        known = warehouse.facts()
    assert training.choice.stable
    segments = Model(training.artifact, training.model_id).assign_many(known.facts)
    pairs = [
        (made.persona(int(user)).name, segment)
        for user, segment in zip(known.user_ids, segments, strict=True)
        if segment != PROSPECT
    ]
    assert {name for name, _ in pairs} == {persona.name for persona in PERSONAS}
    assert adjusted_rand_score(*zip(*pairs, strict=True)) >= 0.9, training.choice.reason
