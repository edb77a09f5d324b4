"""The segmentation model: exact scoring by an artifact.

Encoding, scaling and PCA are folded into z = bias + sum of weight_j * x_j + sum of table_c[value]; the segment is the nearest centroid
(squared Euclidean distance, strict `<`, in index order). One row and many rows are evaluated in the same order of operations and
without BLAS, so that they agree bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas import newcomer, scoring
from schemas.artifact import PROSPECT, Artifact
from schemas.features import FEATURES, POPULATIONS, TRANSFORMS, UNKNOWN, Countable, Facts, is_share
from schemas.newcomer import Likely

RETURN: Final = 5
"""Events after a change of segment during which the way back may be held."""


class Assignment(NamedTuple):
    """Where a customer belongs: index of the nearest centroid, distance to its boundary and to its centroid (model units)."""

    nearest: int
    margin: float
    distance: float


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a customer: segment, nearest segment, margin and distance (model units)."""

    segment: str
    nearest: str
    margin: float
    distance: float
    shallow: bool
    """Whether she has just left her segment without being further than the hysteresis beyond its boundary."""


class Model:
    """An artifact made ready for scoring. Immutable."""

    def __init__(self, artifact: Artifact, model_id: str) -> None:
        self.artifact = artifact
        self.id = model_id
        self.spec = artifact.spec
        self.segments = artifact.segments
        self.hysteresis = artifact.hysteresis
        self._newcomers = found if (found := artifact.newcomers) is not None and found.speaks else None
        self._holds_every = artifact.holds == "every"
        self.names = {segment.id: segment.name for segment in artifact.segments} | {
            PROSPECT: POPULATIONS[artifact.spec.population].reserved
        }
        self.feature_names = artifact.spec.features()
        self.shares = tuple(filter(is_share, self.feature_names))
        """The shares of labels that facts must have been asked for."""
        self._clocks = [due for name in self.feature_names if (due := FEATURES[name].due) is not None]
        self.clocked = bool(self._clocks)
        """Whether features change by time alone, so that `today` matters."""
        self.formulas = tuple(FEATURES[name].formula for name in self.feature_names)
        self.population = FEATURES[artifact.spec.population].formula
        self._centroids = artifact.centroids
        self._gaps = [[2.0 * math.sqrt(_squared(a, b)) for b in self._centroids] for a in self._centroids]
        self._nearest = scoring.nearest(self._gaps)
        self._ids = [segment.id for segment in artifact.segments]
        self._index = {name: i for i, name in enumerate(self._ids)}
        self._project, self._distances = scoring.compiled(
            artifact.bias, artifact.numbers, artifact.categories, artifact.centroids
        )

    def is_prospect(self, known: Countable) -> bool:
        """Whether the customer has nothing yet that could be segmented."""
        return not self.population(known)

    def likely(self, known: Countable) -> Likely | None:
        """The segment that a prospect will likely be in.

        None for everybody else, for one who has told nothing of herself, and where the model is silent on newcomers.
        """
        if self._newcomers is None or self.population(known):
            return None
        values = newcomer.traits(self._newcomers, known)
        if all(value == UNKNOWN for value in values):
            return None
        found = newcomer.by_traits(self._newcomers, values)
        probability = max(found)
        segment = self._newcomers.segments[found.index(probability)]  # the first of equals
        return Likely(segment, self.names[segment], probability)

    def due(self, known: Countable) -> int | None:
        """The day after `known.today` on which a feature of hers is another though nothing happens; None where none ever is."""
        days = [day for due in self._clocks if (day := due(known)) is not None]
        return min(days, default=None)

    def project(self, known: Countable) -> list[float]:
        """The customer's place in model space, shape (d,)."""
        return list(self._project(known))

    def score(self, known: Countable) -> Assignment:
        """The nearest centroid of one customer."""
        return Assignment(*self._nearest(self._distances(known)))

    def assign(self, known: Countable, current: str | None) -> tuple[str, str, float, float]:
        """Segment id, id of the nearest centroid, margin and distance, given the segment she is in."""
        found = self.decide(known, current, None)
        return found.segment, found.nearest, found.margin, found.distance

    def decide(self, known: Countable, current: str | None, left: str | None) -> Decision:
        """Where a customer belongs who is in `current` and has just left `left` (None: for neither)."""
        if not self.population(known):
            return Decision(PROSPECT, PROSPECT, 0.0, 0.0, False)
        return self.settle(self._distances(known), current, left)

    def squares(self, known: Countable) -> tuple[float, ...] | None:
        """Squared distances to the centroids, shape (k,), for `settle`; None for a prospect."""
        return self._distances(known) if self.population(known) else None

    def settle(self, d2: Sequence[float], current: str | None, left: str | None) -> Decision:
        """The decision on squared distances to the centroids.

        With hysteresis h > 0 and `holds` "every" she leaves `current` only when she is further than h beyond the bisecting plane; with
        "returns" that is asked only of the way back to `left`.
        """
        nearest, margin, distance = self._nearest(d2)
        nearest_id = self._ids[nearest]
        shallow = False
        if self.hysteresis > 0.0 and current is not None and current != nearest_id:
            here = self._index.get(current)
            if here is not None and (d2[here] - d2[nearest]) / self._gaps[here][nearest] <= self.hysteresis:
                if self._holds_every or left == nearest_id:
                    return Decision(current, nearest_id, margin, distance, False)
                shallow = True
        return Decision(nearest_id, nearest_id, margin, distance, shallow)

    def distances(self, known: Countable) -> list[float]:
        """Distance of one customer to every centroid, shape (k,), model units."""
        return [math.sqrt(d2) for d2 in self._distances(known)]

    def project_many(self, rows: Sequence[Facts]) -> npt.NDArray[np.float64]:
        """The customers' places in model space, shape (n, d)."""
        return self._places(len(rows), lambda name: [FEATURES[name].formula(known) for known in rows])

    def project_features(self, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        """The same from their features by name, in raw units as `features.raw` gives them; shape (n, d)."""
        return self._places(len(rows), lambda name: [row.get(name) for row in rows])

    def _places(self, n: int, values: Callable[[str], list[Any]]) -> npt.NDArray[np.float64]:
        z = np.tile(np.array(self.artifact.bias), (n, 1))
        for term in self.artifact.numbers:
            transform = TRANSFORMS[term.transform]
            found = [term.default if value is None else transform(value) for value in values(term.feature)]
            x = np.array(found, dtype=float)
            for d, weight in enumerate(term.weights):
                z[:, d] += weight * x
        for category in self.artifact.categories:
            labels = [UNKNOWN if value is None else value for value in values(category.feature)]
            rows = [category.table.get(label, category.unseen) for label in labels]
            z += np.array(rows, dtype=float).reshape(z.shape)
        return z

    def score_many(
        self, rows: Sequence[Facts]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Nearest centroid, margin and distance of many customers, each of shape (n,); bit-identical to `score`."""
        d2 = self._squares(self.project_many(rows))
        nearest = d2.argmin(axis=1)  # the first of equals, as in `scoring.nearest`
        best = d2[np.arange(len(rows)), nearest]
        gaps = np.array(self._gaps)[nearest]
        with np.errstate(divide="ignore", invalid="ignore"):
            margins = (d2 - best[:, None]) / gaps
        margins[np.arange(len(rows)), nearest] = np.inf
        margin = margins.min(axis=1)
        return nearest, np.where(np.isinf(margin), 0.0, margin), np.sqrt(best)

    def _squares(self, z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Squared distances to the centroids, shape (n, k)."""
        d2 = np.zeros((len(z), len(self._centroids)))
        for i, centroid in enumerate(self._centroids):
            for d, value in enumerate(centroid):
                difference = z[:, d] - value
                d2[:, i] += difference * difference
        return d2

    def assign_features(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """As `assign_many`, from features by name, in raw units."""
        if not rows:
            return []
        nearest = self._squares(self.project_features(rows)).argmin(axis=1).tolist()
        counted = self.spec.population
        return [self._ids[i] if row.get(counted) else PROSPECT for row, i in zip(rows, nearest, strict=True)]

    def assign_many(self, rows: Sequence[Facts]) -> list[str]:
        """The segment ids of many customers by the nearest centroid; prospects where there is nothing to segment."""
        return [segment for segment, _ in self.nearest_many(rows)]

    def nearest_many(self, rows: Sequence[Facts]) -> list[tuple[str, float]]:
        """The segment ids of many customers by the nearest centroid, and their margins; prospects where there is nothing to segment."""
        if not rows:
            return []
        nearest, margin, _ = self.score_many(rows)
        return [
            (self._ids[i] if self.population(known) else PROSPECT, beyond)
            for known, i, beyond in zip(rows, nearest.tolist(), margin.tolist(), strict=True)
        ]


def _squared(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((x - y) * (x - y) for x, y in zip(a, b, strict=True))
