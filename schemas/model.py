"""The segmentation model: an artifact that is readable JSON, and exact scoring by it.

Encoding, scaling and PCA are folded into z = bias + sum of weight_j * x_j + sum of table_c[value]; the segment is the nearest centroid
(squared Euclidean distance, strict `<`, in index order). One row and many rows are evaluated in the same order of operations and
without BLAS, so that they agree bit for bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas import newcomer, scoring
from schemas.features import FEATURES, POPULATIONS, TRANSFORMS, UNKNOWN, Countable, Facts, FeatureSpec, is_share
from schemas.newcomer import Likely, Newcomers
from schemas.reference import Distribution
from schemas.signing import BadSignature, Keyring, Signer

FORMAT: Final = 2
"""The newest format that this version reads. 2: `holds` may be "returns"; features by days, places and shares."""
MAX_BYTES: Final = 16_000_000
"""The largest artifact we read."""
PROSPECT: Final = "prospect"
"""The reserved segment of those who are not segmented: customers without orders, or who tell nothing of what a model looks at."""
GUESS_OFF: Final = 1e-9
"""How far the guess at a golden row may be from the trainer's."""
RETURN: Final = 5
"""Events after a change of segment during which the way back may be held."""


class RejectedModel(ValueError):
    """An artifact that must not be used: keep the model there is."""


class NumberTerm(msgspec.Struct, frozen=True):
    """A numeric column folded into the projection: z += weights * transform(value)."""

    feature: str
    transform: str
    default: float
    """Stands in for an unknown value, in transformed units."""
    weights: tuple[float, ...]


class CategoryTerm(msgspec.Struct, frozen=True):
    """A categorical column folded into the projection: z += table[value], or `unseen` for values not in the table."""

    feature: str
    table: dict[str, tuple[float, ...]]
    unseen: tuple[float, ...]


class Segment(msgspec.Struct, frozen=True):
    """A segment: its stable id, its name, and what describes it."""

    id: str
    name: str
    size: int
    share: float
    medians: dict[str, float] = {}
    """Median of each numeric feature, raw units."""
    top: dict[str, tuple[tuple[str, float], ...]] = {}
    """The most frequent values of each profile column with their share of the segment."""
    traits: dict[str, float] = {}
    """Mean of each numeric column against all customers', in standard deviations of the transformed values."""
    named_for: dict[str, float] = {}
    """The traits that it had its name for when this was given."""
    split_of: tuple[str, ...] = ()
    """Segments of the model trained before that have come apart, a considerable part of each into this one."""
    merged_from: tuple[str, ...] = ()
    """Segments of the model trained before that have come together in this one."""


class Golden(msgspec.Struct, frozen=True):
    """A customer of the training data and what the trainer computed for her."""

    facts: Facts
    z: tuple[float, ...]
    nearest: int
    guess: tuple[float, ...] = ()
    """What was guessed of her by her traits alone: a probability per segment; empty where newcomers are not guessed at."""


class Reference(msgspec.Struct, frozen=True):
    """How a quantity was distributed over the training events."""

    n: int
    mean: float
    std: float


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a model is, as published. Arrays: d = dimensions of z, k = number of segments."""

    format: int = FORMAT
    min_reader: int = 1
    """The oldest format whose readers decide as this version does; see `declared`."""
    recipe: str
    spec: FeatureSpec
    spec_hash: str
    trained_at: str
    data_until: str
    rows: int
    bias: tuple[float, ...]
    numbers: tuple[NumberTerm, ...]
    categories: tuple[CategoryTerm, ...]
    centroids: tuple[tuple[float, ...], ...]
    hysteresis: float = 0.0
    """A customer who is not further than this beyond a boundary may be held on her side of it, model units; 0: nobody is."""
    holds: Literal["every", "returns"] = "every"
    """Which ways over a boundary are held: every one, or only the way back to the segment that she has just left (within RETURN events)."""
    segments: tuple[Segment, ...]
    explained_variance: tuple[float, ...]
    golden: tuple[Golden, ...]
    reference: dict[str, Reference] = {}
    distributions: dict[str, Distribution] = {}
    """Of the features and of the segments over the training events; empty in artifacts made before there were any."""
    libraries: dict[str, str] = {}
    parent: str | None = None
    """The model whose segment ids this one has carried on."""
    retired: tuple[str, ...] = ()
    """Segment ids used by earlier models, never to be used again."""
    newcomers: Newcomers | None = None
    """The guess at customers who have only signed up; None in artifacts made before there was one."""


class _Header(msgspec.Struct):
    """What is read before all else, whatever later formats make of the rest."""

    min_reader: int = 1


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
        self._others = [[(i, gap) for i, gap in enumerate(gaps) if i != j] for j, gaps in enumerate(self._gaps)]
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
        return Assignment(*self._assign(self._distances(known)))

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
        nearest, margin, distance = self._assign(d2)
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

    def _assign(self, d2: Sequence[float]) -> tuple[int, float, float]:
        best = min(d2)
        nearest = d2.index(best)  # the first of equals
        margin = min([(d2[i] - best) / gap for i, gap in self._others[nearest]], default=0.0)
        return nearest, margin, math.sqrt(best)

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
        nearest = d2.argmin(axis=1)  # the first of equals, as in `_assign`
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


def least_reader(artifact: Artifact) -> int:
    """The oldest format whose readers decide as this version does: those of format 1 hold every way over a boundary, and a feature
    has a format in which it came."""
    held = 2 if artifact.hysteresis > 0.0 and artifact.holds != "every" else 1
    return max(held, artifact.spec.since())


def declared(artifact: Artifact) -> Artifact:
    """The artifact with the `min_reader` that what it uses asks for."""
    return msgspec.structs.replace(artifact, min_reader=least_reader(artifact))


def to_bytes(artifact: Artifact, signer: Signer) -> bytes:
    """The signed artifact.

    Raises RejectedModel where it is not one that `from_bytes` would accept, or where older readers would take it for another.
    """
    check(artifact)
    if artifact.min_reader < (least := least_reader(artifact)):
        raise RejectedModel(
            f"readers of format {artifact.min_reader} would decide otherwise by this artifact; its min_reader must be {least}"
        )
    return signer.seal(msgspec.json.encode(artifact))


def from_bytes(data: bytes, keys: Keyring) -> Model:
    """The model of a signed artifact.

    Length, then signature, then whether this version is new enough, then schema, shapes, finiteness, feature definitions and golden
    rows: raises RejectedModel at the first rule that does not hold.
    """
    if len(data) > MAX_BYTES:
        raise RejectedModel(f"the artifact has {len(data)} bytes; the most accepted are {MAX_BYTES}")
    try:
        body = keys.open(data)
    except BadSignature as error:
        raise RejectedModel(str(error)) from error
    try:
        _check_reader(msgspec.json.decode(body, type=_Header).min_reader)
        artifact = msgspec.json.decode(body, type=Artifact)
    except RejectedModel:
        raise
    except (ValueError, RecursionError) as error:
        raise RejectedModel(f"the artifact does not follow the schema: {error}") from error
    check(artifact)
    return Model(artifact, _model_id(body))


def model_id(artifact: Artifact) -> str:
    """The id of an artifact: a hash of its content, so that equal ids mean equal models."""
    return _model_id(msgspec.json.encode(artifact))


def _model_id(body: bytes) -> str:
    return "m-" + hashlib.sha256(body).hexdigest()[:12]


def check(artifact: Artifact) -> None:
    """Raise RejectedModel unless every rule of a usable model holds."""
    _check_reader(artifact.min_reader)
    _check_features(artifact)
    _check_shapes(artifact)
    _check_finite(artifact)
    model = Model(artifact, "")
    for i, row in enumerate(artifact.golden):
        z = model.project(row.facts)
        if tuple(z) != row.z or model.score(row.facts).nearest != row.nearest:
            raise RejectedModel(
                f"golden row {i} gives segment {model.score(row.facts).nearest} at {z}; the trainer had {row.nearest} at {list(row.z)}"
            )
        _check_guess(artifact, i, row)


def _check_reader(least: int) -> None:
    if least > FORMAT:
        raise RejectedModel(
            f"the artifact needs a reader of format {least}; this version reads up to format {FORMAT}: update it, or publish a model "
            "that it can read"
        )


def _check_guess(artifact: Artifact, i: int, row: Golden) -> None:
    if artifact.newcomers is None or not artifact.newcomers.speaks or not row.guess:
        return
    guess = newcomer.probabilities(artifact.newcomers, row.facts)
    # Not bit by bit: the exponential function may be another one on the trainer's machine.
    if len(guess) != len(row.guess) or any(abs(a - b) > GUESS_OFF for a, b in zip(guess, row.guess, strict=True)):
        raise RejectedModel(f"golden row {i} gives the guess {guess}; the trainer had {list(row.guess)}")


def _check_features(artifact: Artifact) -> None:
    names = (
        [t.feature for t in artifact.numbers] + [t.feature for t in artifact.categories] + list(artifact.spec.profile)
    )
    missing = sorted({name for name in names + [c.feature for c in artifact.spec.columns] if name not in FEATURES})
    if missing:
        raise RejectedModel(f"the model uses features unknown to this version: {', '.join(missing)}")
    wanted = [(c.feature, c.transform) for c in artifact.spec.numbers()]
    if [(t.feature, t.transform) for t in artifact.numbers] != wanted or [t.feature for t in artifact.categories] != [
        c.feature for c in artifact.spec.categories()
    ]:
        raise RejectedModel("the model's terms are not the columns of its feature spec")
    wrong = [t.feature for t in artifact.numbers if FEATURES[t.feature].kind != "number"]
    wrong += [t.feature for t in artifact.categories if FEATURES[t.feature].kind != "category"]
    if wrong:
        raise RejectedModel(f"the model takes features for what they are not (number or category): {', '.join(wrong)}")
    if artifact.spec.hash() != artifact.spec_hash:
        raise RejectedModel(
            f"the model was trained on feature definitions {artifact.spec_hash}; this version computes {artifact.spec.hash()} for spec {artifact.spec.name!r}"
        )


def _check_shapes(artifact: Artifact) -> None:
    d, k = len(artifact.bias), len(artifact.centroids)
    if not 1 <= d <= 1000 or not 1 <= k <= 1000:
        raise RejectedModel(f"the model has {d} dimensions and {k} centroids; expected 1 to 1000 of each")
    rows = [*artifact.centroids, *(t.weights for t in artifact.numbers), *(t.unseen for t in artifact.categories)]
    rows += [row for t in artifact.categories for row in t.table.values()]
    rows += [g.z for g in artifact.golden]
    if any(len(row) != d for row in rows):
        raise RejectedModel(f"the model mixes vectors of other lengths with its {d} dimensions")
    ids = [s.id for s in artifact.segments]
    if len(ids) != k or len(set(ids)) != k or PROSPECT in ids:
        raise RejectedModel(
            f"the model has {k} centroids but segment ids {ids}; expected {k} different ones, none of them {PROSPECT!r}"
        )
    if len(set(artifact.centroids)) != k:
        raise RejectedModel("two centroids of the model are the same point")
    if artifact.newcomers is not None and (wrong := newcomer.problem(artifact.newcomers, ids)):
        raise RejectedModel(f"the model cannot guess at newcomers: {wrong}")
    if not artifact.golden:
        raise RejectedModel("the model has no golden rows, so that its scoring cannot be checked")


def _check_finite(artifact: Artifact) -> None:
    values = [*artifact.bias, artifact.hysteresis, *artifact.explained_variance]
    for number_term in artifact.numbers:
        values += [number_term.default, *number_term.weights]
    for term in artifact.categories:
        values += term.unseen
        for row in term.table.values():
            values += row
    for centroid in artifact.centroids:
        values += centroid
    for reference in artifact.reference.values():
        values += [reference.mean, reference.std]
    for known in artifact.distributions.values():
        values += [known.n, known.nulls, *known.edges, *known.shares]
    for segment in artifact.segments:
        values += [segment.share, *segment.medians.values(), *segment.traits.values(), *segment.named_for.values()]
    if not all(map(math.isfinite, values)):
        raise RejectedModel("the model holds values that are not finite numbers")
