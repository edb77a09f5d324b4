"""The customers who are segmented: how many there are, the sample we learn from, and a census that needs little memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import ibis
import numpy as np
import numpy.typing as npt
from ibis.expr.types import Table

from batch_trainer.canon import Canon
from batch_trainer.formulas import counted
from batch_trainer.recipes import Recipe
from batch_trainer.warehouse import BATCH, Warehouse, customers_of, read
from schemas.features import FEATURES, POPULATIONS, Facts, FeatureSpec, available
from schemas.model import Model

_TRAITS: Final = ("age", "gender", "country", "traffic_source", "brand", "category")


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The customers who are segmented; `user_ids` and `rows` are the sample, by user id in ascending order."""

    spec: FeatureSpec
    left_out: dict[str, str]
    customers: int
    """All customers, prospects too."""
    size: int
    """Customers who are segmented."""
    user_ids: list[str]
    rows: list[Facts]
    facts: Table
    """All who are segmented, in the warehouse."""

    @property
    def complete(self) -> bool:
        """Whether the sample is everybody."""
        return self.size == len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Every segmented customer, scored: per segment how many and how much they spent (minor units); and the model's SSE."""

    sizes: npt.NDArray[np.int64]
    spend: npt.NDArray[np.int64]
    sse: float


def look(warehouse: Warehouse, recipe: Recipe, most: int) -> Population:
    """Who is segmented; the sample is everybody, or the `most` whose digests are the smallest.

    MD5 is the same in every warehouse, so that they all give the same sample, and a customer stays in it while others come and go.
    """
    facts = warehouse.everyone()
    people = facts.filter(counted(recipe.spec, facts))
    customers, size, *known = warehouse.engine.one(
        facts.aggregate(n=facts.count()).cross_join(
            people.aggregate(people=people.count(), **{f"with_{name}": people[name].count() for name in _TRAITS})
        )
    )
    missing = dict(warehouse.left_out)
    for name, n in zip(_TRAITS, known, strict=True):
        if name in warehouse.known and size and not n:
            missing[name] = f"no customer {POPULATIONS[recipe.spec.population].inside} has a known value"
    wanted = recipe.spec.features()
    left_out = {
        name: "; ".join(missing[need] for need in FEATURES[name].needs if need in missing)
        for name in wanted
        if any(need in missing for need in FEATURES[name].needs)
    }
    sample = read(warehouse, people if size <= most else scattered(warehouse, people, most))
    return Population(
        spec=available(recipe.spec, set(Facts.__struct_fields__) - missing.keys()),
        left_out=left_out,
        customers=customers,
        size=size,
        user_ids=sample.user_ids,
        rows=sample.facts,
        facts=people,
    )


def segmented(warehouse: Warehouse, specs: Sequence[FeatureSpec]) -> Table:
    """The facts of the customers whom a model of any of these specs segments."""
    facts = warehouse.everyone()
    return facts.filter(ibis.or_(*(counted(spec, facts) for spec in specs)))


def scattered(warehouse: Warehouse, people: Table, most: int) -> Table:
    """The `most` customers whose digests are the smallest: the same in every warehouse."""
    canon = Canon(warehouse.engine.kind)
    by = [canon.sortable(canon.digest(people.user_id)), canon.sortable(people.user_id)]
    return people.order_by(by).limit(most)


def census(warehouse: Warehouse, people: Population, model: Model) -> Census:
    """Score everyone, a batch at a time."""
    k = len(model.segments)
    sizes, spend, sse = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64), 0.0
    for columns in warehouse.batches(people.facts, BATCH):
        rows = customers_of(columns, warehouse.shares).facts
        nearest, _, distance = model.score_many(rows)
        sizes += np.bincount(nearest, minlength=k)
        np.add.at(spend, nearest, np.array([known.spend for known in rows], dtype=np.int64))
        sse += float(distance @ distance)
    return Census(sizes=sizes, spend=spend, sse=sse)
