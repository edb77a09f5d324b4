"""What the features of the same customers say about each other: who orders may change, but spend goes on to follow from orders.

Each numeric feature is held against its regression on all others, over the normal scores of the bins of its distribution: what is left of it
has the mean 0 in training, and nearly so whoever orders. A change of one feature alone, as a broken field makes it, shows in what is left of
that feature; a rhythm of day and week, which moves all of them together, does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.reference import Counts, Distribution

RIDGE: Final = 1e-3
"""Added to the variances: features that follow from each other exactly still have something left."""
_NORMAL: Final = NormalDist()


class Coherence(msgspec.Struct, frozen=True, kw_only=True):
    """How features hang together in training; d features."""

    features: tuple[str, ...]
    rest: tuple[tuple[float, ...], ...]
    """(d, d): what is left of feature i is the sum of rest[i][j] times the score of feature j; rest[i][i] is 1."""
    spread: tuple[float, ...]
    """Standard deviation of what is left of a feature."""
    n: float
    """How many independent customers stand behind it (Kish's effective size)."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of what the other features leave of one."""

    feature: str
    mean: float
    """Standard deviations of the feature: so much has it moved, if it has moved alone."""
    spread: float
    n: int


def scores(shares: Sequence[float]) -> tuple[float, ...]:
    """Where each bin would lie were the feature normal with mean 0 and standard deviation 1: its mean there.

    >>> [round(score, 2) for score in scores((0.5, 0.5, 0.0))]
    [-0.8, 0.8, 0.0]
    """
    found, below, density = [], 0.0, 0.0
    for share in shares:
        below += share
        after = _NORMAL.pdf(_NORMAL.inv_cdf(below)) if 1e-12 < below < 1.0 - 1e-12 else 0.0
        found.append((density - after) / share if share > 0.0 else 0.0)
        density = after
    return tuple(found)


def coherence(
    places: Mapping[str, npt.NDArray[np.intp]], known: Mapping[str, Distribution], weights: npt.NDArray[np.float64]
) -> Coherence | None:
    """How numbers hang together, by the bins in which each customer is (-1: not known); None where there are not two of them.

    Arrays have the shape (customers,).
    """
    names = [name for name in places if name in known and sum(share > 0.0 for share in known[name].shares) > 1]
    if len(names) < 2:
        return None
    x = np.column_stack([np.array([*scores(known[name].shares), 0.0])[places[name]] for name in names])
    shares = weights / weights.sum()
    covariance = np.einsum("i,ij,ik->jk", shares, x, x)  # in this order, whatever the threads
    inverse = np.linalg.inv(covariance + RIDGE * np.eye(len(names)))
    rest = inverse / np.diag(inverse)[:, None]
    spread = np.sqrt(np.einsum("ij,jk,ik->i", rest, covariance, rest))
    return Coherence(
        features=tuple(names),
        rest=tuple(tuple(float(v) for v in row) for row in rest),
        spread=tuple(float(v) for v in spread),
        n=float(1.0 / (shares * shares).sum()),
    )


def left(one: Coherence, known: Mapping[str, Distribution], seen: Mapping[str, Counts]) -> list[Left]:
    """What is left of each feature in a window; nothing where one of them was not counted."""
    means, n = [], math.inf
    for name in one.features:
        counted = seen.get(name)
        if counted is None or not counted.n:
            return []
        n = min(n, counted.n + counted.nulls)
        total = math.fsum(s * c for s, c in zip(scores(known[name].shares), counted.bins, strict=True))
        means.append(total / (counted.n + counted.nulls))
    return [
        Left(feature=name, mean=math.fsum(a * b for a, b in zip(row, means, strict=True)), spread=spread, n=int(n))
        for name, row, spread in zip(one.features, one.rest, one.spread, strict=True)
    ]
