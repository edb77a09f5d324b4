"""Artifacts on their way: signed bytes, and every rule that they must hold before a model is made of them."""

from __future__ import annotations

import math
from itertools import chain
from typing import Final

import msgspec

from schemas import newcomer
from schemas.artifact import FORMAT, PROSPECT, Artifact, Golden, RejectedModel, identified, least_reader
from schemas.features import FEATURES
from schemas.model import Model
from schemas.signing import BadSignature, Keyring, Signer

MAX_BYTES: Final = 16_000_000
"""The largest artifact we read."""
GUESS_OFF: Final = 1e-9
"""How far the guess at a golden row may be from the trainer's."""


class _Header(msgspec.Struct):
    """What is read before all else, whatever later formats make of the rest."""

    min_reader: int = 1


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
    return Model(artifact, identified(body))


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
        values += [known.n, known.nulls, *known.edges, *known.shares, *chain.from_iterable(known.leaning)]
    if artifact.coherence is not None:
        values += [artifact.coherence.n, *artifact.coherence.spread, *chain.from_iterable(artifact.coherence.rest)]
    for segment in artifact.segments:
        values += [segment.share, *segment.medians.values(), *segment.traits.values(), *segment.named_for.values()]
    if not all(map(math.isfinite, values)):
        raise RejectedModel("the model holds values that are not finite numbers")
