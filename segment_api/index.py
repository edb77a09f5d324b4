"""All customers at once: their places in model space as one matrix, for neighbours, the map and live medians.

Doubles, column by column, in the model's own order of operations: neighbours are exact, to the last bit of the distance. Floats of 32
bits would halve the memory (a million customers in five dimensions: 40 MB) and save a third of the time, but not know neighbours apart
that the model does.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.artifact import PROSPECT
from schemas.features import FEATURES
from schemas.model import Model
from segment_api.forest import Forest, Places

By = Literal["euclidean", "cosine"]
Floats = npt.NDArray[np.float64]
_ROOM: Final = 1024


class Row(NamedTuple):
    """One customer as projected: features in raw units."""

    user_id: str
    segment: str
    features: Mapping[str, Any]


class Neighbour(NamedTuple):
    """Someone like her: distance in model units, or the cosine of the angle in the first two dimensions."""

    user_id: str
    segment: str
    score: float


class Index:
    """The customers who have ordered, by one model. Writers and readers may be threads of their own."""

    def __init__(self, model: Model, trees_from: int = 1_000_000, forest: Forest | None = None) -> None:
        self.model = model
        self._trees_from = trees_from
        self._forest = forest or Forest()
        """Empty until there are `trees_from` customers."""
        self.numbers = tuple(name for name in model.feature_names if FEATURES[name].kind == "number")
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._at: dict[str, int] = {}
        self._prospects: dict[str, None] = {}
        self._codes = {s.id: i for i, s in enumerate(model.segments)}
        self._names = [s.id for s in model.segments]
        self._z: Floats = np.full((len(model.artifact.bias), _ROOM), np.nan)
        self._raw: Floats = np.full((len(self.numbers), _ROOM), np.nan)
        self._segment: npt.NDArray[np.int32] = np.full(_ROOM, -1, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, rows: Sequence[Row]) -> None:
        """Take in new or changed customers; who has become a prospect has no place any more."""
        places = self.model.project_features([row.features for row in rows])
        with self._lock:
            for row, place in zip(rows, places, strict=True):
                at = self._at.get(row.user_id)
                if row.segment == PROSPECT:
                    self._prospects[row.user_id] = None
                    if at is not None:
                        self._drop(row.user_id, at)
                    continue
                if at is None:
                    self._prospects.pop(row.user_id, None)
                    at = self._room(row.user_id)
                self._z[:, at] = place
                self._forest.note(at)
                self._raw[:, at] = [_number(row.features.get(name)) for name in self.numbers]
                self._segment[at] = self._code(row.segment)

        self._plant()

    def _plant(self) -> None:
        """Build the trees that are due: by the writer, so that nobody moves meanwhile, and without keeping readers waiting."""
        if len(self) < self._trees_from:
            return
        while (block := self._forest.due(len(self))) is not None:
            tree = self._forest.planted(self._z, block)
            with self._lock:
                self._forest.take(block, tree)

    def _room(self, user_id: str) -> int:
        at = len(self._ids)
        if at == self._z.shape[1]:
            self._z = np.concatenate([self._z, np.full_like(self._z, np.nan)], axis=1)
            self._raw = np.concatenate([self._raw, np.full_like(self._raw, np.nan)], axis=1)
            self._segment = np.concatenate([self._segment, np.full_like(self._segment, -1)])
        self._ids.append(user_id)
        self._at[user_id] = at
        return at

    def drop(self, user_ids: Sequence[str]) -> None:
        """Forget customers; those not known are passed over."""
        with self._lock:
            for user_id in user_ids:
                self._prospects.pop(user_id, None)
                at = self._at.get(user_id)
                if at is not None:
                    self._drop(user_id, at)

    def _drop(self, user_id: str, at: int) -> None:
        last = len(self._ids) - 1
        for columns in (self._z, self._raw):
            columns[:, at] = columns[:, last]
        self._segment[at] = self._segment[last]
        self._ids[at] = self._ids[last]
        self._forest.note(at)
        self._at[self._ids[at]] = at
        del self._at[user_id]
        self._ids.pop()

    def _code(self, segment: str) -> int:
        """The number of a segment; one of another model, about to be decided anew, gets a number of its own."""
        code = self._codes.get(segment)
        if code is None:
            code = self._codes[segment] = len(self._names)
            self._names.append(segment)
        return code

    def similar(self, place: Sequence[float], k: int, by: By = "euclidean", but: str = "") -> list[Neighbour]:
        """The k customers nearest to a place in model space; of equals, those with the smaller ids. `but` is left out."""
        with self._lock:
            n = len(self._ids)
            who: slice | Places = slice(n)
            if by == "euclidean" and n >= self._trees_from:
                who = self._forest.near(self._z, n, place, k + 1)  # one of them may be herself
            away = self._apart(place, who) if by == "euclidean" else -self._cosine(place, n)
            limit = np.partition(away, k)[k] if len(away) > k + 1 else np.inf
            near = np.flatnonzero(away <= limit)
            at = near if isinstance(who, slice) else who[near]
            self_at = self._at.get(but, -1)
            best = heapq.nsmallest(
                k,
                (
                    (value, self._ids[i], i)
                    for value, i in zip(away[near].tolist(), at.tolist(), strict=True)
                    if i != self_at and math.isfinite(value)
                ),
            )
            found = [(user_id, self._names[self._segment[i]], value) for value, user_id, i in best]
        euclidean = by == "euclidean"
        return [Neighbour(i, s, float(np.sqrt(v)) if euclidean else -v) for i, s, v in found]

    def _apart(self, place: Sequence[float], who: slice | Places) -> Floats:
        """Squared distances, in the model's own order of operations."""
        away: Floats = np.zeros(len(self._z[0, who]))
        for d, value in enumerate(place):
            difference = self._z[d, who] - value
            difference *= difference
            away += difference
        return away

    def _cosine(self, place: Sequence[float], n: int) -> Floats:
        x, y = self._z[0, :n], (self._z[1, :n] if len(self._z) > 1 else np.zeros(n))
        a, b = place[0], (place[1] if len(place) > 1 else 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            angle = (x * a + y * b) / (np.sqrt(x * x + y * y) * np.sqrt(a * a + b * b))
        return np.where(np.isfinite(angle), angle, -np.inf)  # at the origin there is no angle

    def plane(self) -> tuple[Floats, npt.NDArray[np.int32], list[str]]:
        """Everyone in the first two dimensions, shape (2, n); the number of her segment, shape (n,); the segments' ids by number."""
        with self._lock:
            n = len(self._ids)
            z = self._z[:2, :n].copy()
            if len(z) == 1:
                z = np.vstack([z, np.zeros(n)])
            return z, self._segment[:n].copy(), list(self._names)

    def places(self) -> tuple[Floats, list[str]]:
        """Everyone in model space, shape (dimensions, n), and their ids."""
        with self._lock:
            n = len(self._ids)
            return self._z[:, :n].copy(), self._ids[:n]

    def nearest_on_plane(self, x: float, y: float) -> str | None:
        """The customer nearest to a point of the map."""
        z, _, _ = self.plane()
        if not z.shape[1]:
            return None
        at = int(np.argmin((z[0] - x) ** 2 + (z[1] - y) ** 2))
        with self._lock:
            return self._ids[at] if at < len(self._ids) else None

    def columns(self) -> tuple[dict[str, Floats], npt.NDArray[np.int32], list[str]]:
        """Each numeric feature in raw units (NaN: not known), segments' numbers, and ids of the segments by number."""
        with self._lock:
            n = len(self._ids)
            return (
                dict(zip(self.numbers, self._raw[:, :n].copy(), strict=True)),
                self._segment[:n].copy(),
                list(self._names),
            )

    def members(self, segment: str, after: str = "", count: int | None = None) -> list[str]:
        """Customers of a segment in the order of their ids, those beyond the id `after`; all, or the first `count`."""
        with self._lock:
            code = self._codes.get(segment, -2)
            here = np.flatnonzero(self._segment[: len(self._ids)] == code).tolist()
            everyone = list(self._prospects) if segment == PROSPECT else [self._ids[i] for i in here]
        found = (user_id for user_id in everyone if user_id > after)
        return sorted(found) if count is None else heapq.nsmallest(count, found)

    def sums(self, feature: str) -> dict[str, float]:
        """The sum of a numeric feature, raw units, over the customers of each segment."""
        with self._lock:
            n = len(self._ids)
            values = np.nan_to_num(self._raw[self.numbers.index(feature), :n])
            found = np.bincount(self._segment[:n], values, len(self._names))
            return dict(zip(self._names, found.tolist(), strict=True))

    def sample(self, count: int) -> list[str]:
        """Ids of up to `count` customers, spread over all."""
        with self._lock:
            step = max(1, len(self._ids) // max(1, count))
            return self._ids[::step][:count]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
