"""Streams for the drift check, drawn from a shop's real customers, with a week's rhythm and planted changes; vectorised, without Kafka."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.drift import DISTANCE, HOUR, RECONSTRUCTION, SCALE, Block, Hour, Sums, Tally
from schemas.features import FEATURES, Facts
from schemas.model import Model
from schemas.reference import MIX, Bins, Residuals, appearances

BLOCK: Final = 50
PER_DAY: Final = 20_000
DAY: Final = 24 * HOUR
BEGIN: Final = 1_767_225_600_000_000
RHYTHM: Final = 0.1
"""How much the hour of the day moves who orders: standard deviations of spend, at most."""
WEEKEND: Final = 0.05
SALE: Final = 0.2
"""How much a sale day, one in thirty, moves it; it brings three times the orders."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is planted: one feature shifted (standard deviations), multiplied, emptied, or given a new label; or a segment that doubles."""

    name: str
    feature: str = ""
    shift: float = 0.0
    times: float = 1.0
    nulls: bool = False
    label: float = 0.0
    doubled: str = ""


NOTHING: Final = Change(name="none")


@dataclass
class Pool:
    """Customers in the bins of their model, after a change; one row each, to be drawn by weight."""

    bins: dict[str, Array]
    logs: Array
    errors: Array | None
    segments: Array
    numbers: dict[str, Array]
    """Transformed values (NaN: not known), for detectors that look at single values."""
    labels: dict[str, Array]
    weights: Array
    lean: Array
    """Spend, standardised: who orders by night and on sale days differs in it."""


def pool(model: Model, rows: list[Facts], change: Change = NOTHING, seed: int = 1) -> Pool:
    """The customers of a shop after a change."""
    rng = np.random.default_rng(seed)
    known, reference = model.artifact.distributions, model.artifact.reference
    columns: dict[str, Array] = {}
    for name in model.feature_names:
        values = [FEATURES[name].formula(row) for row in rows]
        if FEATURES[name].kind == "number":
            columns[name] = np.array([math.nan if v is None else v for v in values], dtype=float)
        else:
            columns[name] = np.array(values, dtype=object)
    weights = np.array([appearances(row) for row in rows], dtype=float)
    spend = (
        np.log1p(np.maximum(columns["gross_spend"], 0.0))
        if "gross_spend" in columns
        else columns[model.feature_names[0]]
    )
    lean = np.nan_to_num((spend - np.nanmean(spend)) / (np.nanstd(spend) or 1.0)).clip(-3, 3)
    logged = {t.feature for t in model.artifact.numbers if t.transform == "log1p"}
    if change.feature:
        columns[change.feature] = _changed(columns[change.feature], change, change.feature in logged, reference, rng)
    numbers = {
        t.feature: np.log1p(np.maximum(columns[t.feature], 0.0)) if t.feature in logged else columns[t.feature]
        for t in model.artifact.numbers
    }
    z = np.tile(np.array(model.artifact.bias), (len(rows), 1))
    for term in model.artifact.numbers:
        x = np.where(np.isnan(numbers[term.feature]), term.default, numbers[term.feature])
        z += x[:, None] * np.array(term.weights)
    for category in model.artifact.categories:
        z += np.array([category.table.get(v or "(unknown)", category.unseen) for v in columns[category.feature]])
    d2 = ((z[:, None, :] - np.array(model.artifact.centroids)) ** 2).sum(axis=2)
    segments = d2.argmin(axis=1)
    if change.doubled:
        weights = np.where(segments == [s.id for s in model.segments].index(change.doubled), 2.0 * weights, weights)
    bins = {}
    for name, distribution in known.items():
        if name == MIX:
            values = [model.segments[i].id for i in segments.tolist()]
        else:
            raw = columns[name].tolist()
            values = [None if isinstance(v, float) and math.isnan(v) else v for v in raw]
        bins[name] = Bins(distribution).places(values)
    errors = Residuals(model.artifact.numbers, reference).logs(numbers) if RECONSTRUCTION in reference else None
    return Pool(
        bins=bins,
        logs=np.log(np.maximum(np.sqrt(d2.min(axis=1)), 1e-9)),
        errors=errors,
        segments=segments,
        numbers=numbers,
        labels={name: column for name, column in columns.items() if FEATURES[name].kind == "category"},
        weights=weights,
        lean=lean,
    )


def _changed(column: Array, change: Change, logged: bool, reference: Any, rng: np.random.Generator) -> Array:
    if change.nulls:
        return np.full(len(column), math.nan) if column.dtype == float else np.full(len(column), None, dtype=object)
    if change.label:
        made = column.copy()
        made[rng.random(len(column)) < change.label] = "a new label"
        return made
    if change.times != 1.0:
        return column * change.times
    by = change.shift * reference[change.feature].std
    moved = np.expm1(np.log1p(np.maximum(column, 0.0)) + by) if logged else column + by
    known = column[~np.isnan(column)]
    if (known == np.rint(known)).all():  # a count stays one: rounded up or down by chance
        moved = np.floor(moved + rng.random(len(moved)))
    return moved


@dataclass
class Stream:
    """Events of a pool, by time: the rhythm of day and week decides how many come and who."""

    known: Any
    seed: int
    model_id: str
    offset: int = 0
    at: int = BEGIN
    steady: bool = False
    """Without rhythm: who orders is the same at any time."""
    drawn: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._bins = {name: Bins(distribution) for name, distribution in self.known.items()}
        self._ready: dict[tuple[int, int], Array] = {}

    def draw(self, of: Pool, n: int = BLOCK) -> Array:
        """Who orders next: row numbers."""
        lean = self._lean()
        key = id(of), round(lean * 100)
        reached = self._ready.get(key)
        if reached is None:
            reached = np.cumsum(of.weights * np.exp(lean * of.lean))
            self._ready[key] = reached = reached / reached[-1]
        return np.searchsorted(reached, self._rng.random(n))

    def _lean(self) -> float:
        if self.steady:
            return 0.0
        day, hour = (self.at - BEGIN) // DAY, (self.at % DAY) / HOUR
        weekend = WEEKEND if day % 7 in (2, 3) else 0.0
        return RHYTHM * math.sin(2 * math.pi * hour / 24) + weekend - (SALE if day % 30 == 14 else 0.0)

    def _pace(self) -> float:
        day, hour = (self.at - BEGIN) // DAY, (self.at % DAY) / HOUR
        pace = 1.0 + 0.8 * math.sin(2 * math.pi * (hour - 9) / 24)
        return pace * (0.7 if day % 7 in (2, 3) else 1.0) * (3.0 if day % 30 == 14 else 1.0)

    def blocks(self, of: Pool, events: int) -> Iterator[Block]:
        """So many events as blocks."""
        for _ in range(events // BLOCK):
            yield self.block(of, self.draw(of))

    def block(self, of: Pool, rows: Array) -> Block:
        """These events as a block."""
        n = len(rows)
        begin = self.at
        self.at += int(n / (PER_DAY * self._pace()) * DAY)
        features = {name: bins.count(of.bins[name][rows]) for name, bins in self._bins.items()}
        sums = {DISTANCE: _sums(of.logs[rows])}
        if of.errors is not None:
            sums[RECONSTRUCTION] = _sums(of.errors[rows])
        hours = {begin // HOUR: Hour(events=n, looked_at=n)}
        tally = Tally(events=n, looked_at=n, begin=begin, end=self.at, features=features, sums=sums, hours=hours)
        self.offset += n
        return Block(
            topic="orders",
            partition=0,
            first=self.offset - n,
            last=self.offset - 1,
            model_id=self.model_id,
            tally=tally,
        )


def _sums(values: Array) -> Sums:
    return Sums(
        n=len(values), total=round(float(values.sum()) * SCALE), squares=round(float((values**2).sum()) * SCALE)
    )
