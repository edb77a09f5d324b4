"""The labels whose shares make a distance: the most frequent ones of a family, chosen when a model is trained and carried by its spec.

What has none of these labels is pooled: it is what the shares lack to one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from batch_trainer.canon import Canon
from batch_trainer.recipes import Recipe
from batch_trainer.warehouse import Warehouse
from schemas.features import SHARES, Column, is_share
from schemas.model import Model

MOST: Final = {"category_share": 12, "brand_share": 8}
"""Labels of each family."""
KEEPS: Final = 0.9
"""The active model's labels are kept while they stand for this share of the items that the most frequent ones stand for: with other
labels every customer would be somewhere else."""


def settled(warehouse: Warehouse, recipe: Recipe, previous: Model | None = None) -> Recipe:
    """The recipe with labels in place of each `*`. From now on the warehouse counts the shares that it and `previous` need."""
    before = previous.shares if previous is not None else ()
    alike = previous is not None and previous.artifact.recipe == recipe.name
    columns: list[Column] = []
    for column in recipe.spec.columns:
        family, _, label = column.feature.partition(":")
        if label != "*" or SHARES[family] not in warehouse.known:
            columns.append(column)
            continue
        present = [name.partition(":")[2] for name in before if name.startswith(f"{family}:")] if alike else []
        columns += [Column(f"{family}:{found}", column.transform) for found in _labels(warehouse, family, present)]
    wanted = [column.feature for column in columns if is_share(column.feature)]
    warehouse.count_shares([*wanted, *before])
    return replace(recipe, spec=msgspec.structs.replace(recipe.spec, columns=tuple(columns)))


def _labels(warehouse: Warehouse, family: str, present: list[str]) -> list[str]:
    """The most frequent labels among the items, or the `present` ones where these are nearly as good."""
    if warehouse.items is None:
        return []
    label = warehouse.items[SHARES[family]]
    items = warehouse.items.filter(label.notnull())
    counted = items.group_by(label=items[SHARES[family]]).agg(n=items.count())
    order = [counted.n.desc(), Canon(warehouse.engine.kind).sortable(counted.label)]
    most = counted.order_by(order).limit(MOST[family])
    frequent = [row for rows in warehouse.batches(most) for row in zip(rows["label"], rows["n"], strict=True)]
    if present:
        kept = counted.filter(counted.label.isin(present))
        [still] = warehouse.engine.one(kept.aggregate(n=kept.n.sum().fill_null(0).cast("decimal(38, 0)")))
        if int(still) >= KEEPS * sum(n for _, n in frequent):
            return present
    return [label for label, _ in frequent]
