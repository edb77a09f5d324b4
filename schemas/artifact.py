"""A model as it is published: everything it is, readable as JSON, and its id."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import msgspec

from schemas.coherence import Coherence
from schemas.features import Facts, FeatureSpec
from schemas.newcomer import Newcomers
from schemas.reference import Distribution

FORMAT: Final = 2
"""The newest format that this version reads. 2: `holds` may be "returns"; features by days, places and shares."""
PROSPECT: Final = "prospect"
"""The reserved segment of those who are not segmented: customers without orders, or who tell nothing of what a model looks at."""


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
    coherence: Coherence | None = None
    """How the numeric features hang together over the training events."""
    libraries: dict[str, str] = {}
    parent: str | None = None
    """The model whose segment ids this one has carried on."""
    retired: tuple[str, ...] = ()
    """Segment ids used by earlier models, never to be used again."""
    newcomers: Newcomers | None = None
    """The guess at customers who have only signed up; None in artifacts made before there was one."""


def least_reader(artifact: Artifact) -> int:
    """The oldest format whose readers decide as this version does: those of format 1 hold every way over a boundary, and a feature
    has a format in which it came."""
    held = 2 if artifact.hysteresis > 0.0 and artifact.holds != "every" else 1
    return max(held, artifact.spec.since())


def declared(artifact: Artifact) -> Artifact:
    """The artifact with the `min_reader` that what it uses asks for."""
    return msgspec.structs.replace(artifact, min_reader=least_reader(artifact))


def model_id(artifact: Artifact) -> str:
    """The id of an artifact: a hash of its content, so that equal ids mean equal models."""
    return identified(msgspec.json.encode(artifact))


def identified(body: bytes) -> str:
    """The id of an artifact that is encoded already."""
    return "m-" + hashlib.sha256(body).hexdigest()[:12]
