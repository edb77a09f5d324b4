"""What the warehouse says of all customers together: how often, how much, how things go with each other. PCA needs no more.

Values are rounded to a fixed point and summed as integers, so that the moments do not depend on the order in which a warehouse adds,
nor on the number of its threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import ibis
import numpy as np
import numpy.typing as npt
from ibis.expr.types import Table, Value

from batch_trainer import formulas
from batch_trainer.engine import Engine
from schemas.features import FeatureSpec

Array = npt.NDArray[np.float64]
POINT: Final = 2.0**20
"""Fixed point of the sums: a value is off by at most 5e-7, and the mean of many by far less."""
BATCH: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Of all customers who are segmented. D columns: the numbers, then for each category its frequent values and the rare ones pooled."""

    rows: int
    means: Array
    """Of the numbers, transformed, over those for whom they are known: shape (numbers,)."""
    scales: Array
    """Their standard deviations with the mean in place of what is not known; 1 where there is none, and of shares."""
    frequent: tuple[tuple[str, ...], ...]
    """The values of each category that are a column, in order."""
    pooled: tuple[bool, ...]
    """Whether a category has rare values too, pooled into one more column."""
    centre: Array
    """The means of the D encoded columns."""
    covariance: Array
    """Their covariances, shape (D, D)."""


def measure(engine: Engine, facts: Table, spec: FeatureSpec, rare: float) -> Moments:
    """Ask the warehouse for the moments over `facts`; values with less than the share `rare` are pooled."""
    numbers = [(c.feature, c.transform) for c in spec.numbers()]
    values = {f"x{i}": formulas.number(feature, transform, facts) for i, (feature, transform) in enumerate(numbers)}
    labels = {f"c{i}": formulas.label(column.feature, facts) for i, column in enumerate(spec.categories())}
    table = facts.select(**values, **labels, one=ibis.literal(1))
    means = _means(engine, table, len(numbers))
    centred = table.mutate(
        **{f"q{i}": _fixed((table[f"x{i}"] - float(mean)).fill_null(0.0)) for i, mean in enumerate(means)}
    )
    rows, offsets, products = _products(engine, centred, len(numbers))
    spread = np.sqrt(np.maximum(np.diag(products) - offsets**2, 0.0))
    scaled = np.array([transform != "share" for _, transform in numbers], dtype=bool)
    scales = np.where((spread > 0.0) & scaled, spread, 1.0)
    seen = [_by_value(engine, centred, f"c{i}", len(numbers)) for i in range(len(labels))]
    frequent = [sorted(v for v, row in values.items() if row[0] >= rare * rows) for values in seen]
    pooled = [len(kept) < len(values) for kept, values in zip(frequent, seen, strict=True)]
    blocks = [_block(values, kept) for values, kept in zip(seen, frequent, strict=True)]
    centre = np.concatenate([offsets / scales, *(block[:, 0] / rows for block in blocks)])
    second = np.zeros((len(centre), len(centre)))
    n = len(numbers)
    second[:n, :n] = products / np.outer(scales, scales)
    starts = np.cumsum([n, *(len(block) for block in blocks)])
    for i, block in enumerate(blocks):
        span = slice(starts[i], starts[i + 1])
        second[span, :n] = block[:, 1:] / rows / scales
        second[:n, span] = second[span, :n].T
        second[span, span] = np.diag(block[:, 0] / rows)
    for i, j in combinations(range(len(blocks)), 2):
        joint = _joint(
            engine, centred, (f"c{i}", frequent[i]), (f"c{j}", frequent[j]), (len(blocks[i]), len(blocks[j]))
        )
        second[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = joint / rows
        second[starts[j] : starts[j + 1], starts[i] : starts[i + 1]] = joint.T / rows
    return Moments(
        rows=rows,
        means=means + offsets,
        scales=scales,
        frequent=tuple(map(tuple, frequent)),
        pooled=tuple(pooled),
        centre=np.concatenate([np.zeros(n), centre[n:]]),
        covariance=second - np.outer(centre, centre),
    )


def _fixed(value: Value) -> Value:
    return (value * POINT + 0.5).floor().cast("int64").cast("decimal(19, 0)")


def _sum(value: Value) -> Value:
    return value.sum().fill_null(0).cast("decimal(38, 0)")


def _means(engine: Engine, table: Table, numbers: int) -> Array:
    """The means of what is known."""
    asked = {f"s{i}": _sum(_fixed(table[f"x{i}"])) for i in range(numbers)}
    asked |= {f"n{i}": table[f"x{i}"].count() for i in range(numbers)}
    if not asked:
        return np.zeros(0)
    found = engine.one(table.aggregate(**asked))
    return np.array([int(s) / max(n, 1) / POINT for s, n in zip(found[:numbers], found[numbers:], strict=True)])


def _products(engine: Engine, centred: Table, numbers: int) -> tuple[int, Array, Array]:
    """Rows, and the means of the centred numbers and of their products."""
    pairs = [(i, j) for i in range(numbers) for j in range(i, numbers)]
    asked = {"n": centred.count()}
    asked |= {f"s{i}": _sum(centred[f"q{i}"]) for i in range(numbers)}
    asked |= {f"p{i}_{j}": _sum(centred[f"q{i}"] * centred[f"q{j}"]) for i, j in pairs}
    rows, *sums = engine.one(centred.aggregate(**asked))
    offsets = np.array([int(s) / rows / POINT for s in sums[:numbers]])
    products = np.zeros((numbers, numbers))
    for (i, j), total in zip(pairs, sums[numbers:], strict=True):
        products[i, j] = products[j, i] = int(total) / rows / POINT**2
    return int(rows), offsets, products


def _rows(engine: Engine, table: Table) -> Iterator[tuple[Any, ...]]:
    for columns in engine.batches(table, BATCH):
        yield from zip(*columns.values(), strict=True)


def _by_value(engine: Engine, centred: Table, column: str, numbers: int) -> dict[str, list[float]]:
    """For each value of a category: rows, and the sums of the centred numbers."""
    sums = {f"s{i}": _sum(centred[f"q{i}"]) for i in range(numbers)}
    grouped = centred.group_by(column).agg(n=centred.one.count(), **sums)
    return {row[0]: [float(row[1]), *(int(s) / POINT for s in row[2:])] for row in _rows(engine, grouped)}


def _block(values: dict[str, list[float]], frequent: Sequence[str]) -> Array:
    """Rows and sums per encoded column of a category: its frequent values, then all others together."""
    kept = [values[value] for value in frequent]
    others = [row for value, row in values.items() if value not in set(frequent)]
    return np.array([*kept, *([np.sum(others, axis=0)] if others else [])])


def _joint(
    engine: Engine, table: Table, one: tuple[str, list[str]], other: tuple[str, list[str]], shape: tuple[int, int]
) -> Array:
    """How many customers have each pair of values of two categories."""
    pooled = table.select(
        a=table[one[0]].isin(one[1]).ifelse(table[one[0]], ibis.null("string")) if one[1] else ibis.null("string"),
        b=table[other[0]].isin(other[1]).ifelse(table[other[0]], ibis.null("string"))
        if other[1]
        else ibis.null("string"),
        one=table.one,
    )
    joint = np.zeros(shape)
    for a, b, n in _rows(engine, pooled.group_by("a", "b").agg(n=pooled.one.count())):
        joint[_at(one[1], a), _at(other[1], b)] += n
    return joint


def _at(values: Sequence[str], value: str | None) -> int:
    return len(values) if value is None else values.index(value)
