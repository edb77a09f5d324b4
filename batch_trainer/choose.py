"""How many segments: as many as come out the same from either half of the customers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

STABLE: Final = 0.85
"""A number of segments is good where the median agreement of the halves reaches this."""
UNSTABLE: Final = 0.75
"""Below this the scan ends."""
SMALLEST: Final = 0.03
"""A segment with a smaller share of the customers is too small to work with."""
SCAN: Final = range(3, 9)
REPEATS: Final = 10
STARTS: Final = 5

Points = npt.NDArray[np.float64]
Cluster = Callable[[Points, int, int, int], Any]
"""points, k, seed, starts -> something fitted that has `predict`."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one number of segments."""

    k: int
    sse: float
    smallest_share: float
    stability: float | None = None
    """Median adjusted Rand index of the two halves; None where it was not measured."""
    elbow: bool = False
    """The bend of the SSE curve: advice only, it shows one even in noise."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The number of segments and why."""

    k: int
    stable: bool | None
    """Whether the halves agree on it; None where it was given, not chosen."""
    reason: str
    table: tuple[Candidate, ...]


def stability(points: Points, k: int, cluster: Cluster, seed: int, repeats: int = REPEATS) -> float:
    """Median agreement (adjusted Rand index, over all points) of models fitted on two random halves.

    1 is the same segments from either half, 0 is chance.
    """
    scores = []
    for repeat in range(repeats):
        order = np.random.default_rng([seed, k, repeat]).permutation(len(points))
        half = len(points) // 2
        first = cluster(points[order[:half]], k, seed + repeat, STARTS)
        second = cluster(points[order[half:]], k, seed + repeat, STARTS)
        scores.append(float(adjusted_rand_score(first.predict(points), second.predict(points))))
    return float(np.median(scores))


def scan(measure: Callable[[int], float], ks: Sequence[int] = SCAN, also: int | None = None) -> dict[int, float]:
    """The stability of each number of segments, up to the first that is unstable; `also` is measured in any case.

    >>> scan({3: 0.9, 4: 0.7, 5: 0.9}.__getitem__, range(3, 6))
    {3: 0.9, 4: 0.7}
    """
    found: dict[int, float] = {}
    for k in ks:
        found[k] = measure(k)
        if found[k] < UNSTABLE:
            break
    if also is not None and also not in found and also in ks:
        found[also] = measure(also)
    return found


def tabulate(
    sse: Mapping[int, float], smallest: Mapping[int, float], stabilities: Mapping[int, float]
) -> tuple[Candidate, ...]:
    """One row for each number of segments that was fitted."""
    bend = elbow(sse)
    return tuple(
        Candidate(k=k, sse=sse[k], smallest_share=smallest[k], stability=stabilities.get(k), elbow=k == bend)
        for k in sorted(sse)
    )


def elbow(sse: Mapping[int, float]) -> int | None:
    """Where the SSE curve lies furthest below the line between its ends; None for fewer than three points.

    >>> elbow({2: 100.0, 3: 40.0, 4: 30.0, 5: 25.0})
    3
    """
    ks = sorted(sse)
    if len(ks) < 3 or sse[ks[0]] <= sse[ks[-1]]:
        return None
    width, height = ks[-1] - ks[0], sse[ks[0]] - sse[ks[-1]]
    below = {k: 1.0 - (k - ks[0]) / width - (sse[k] - sse[ks[-1]]) / height for k in ks}
    return max(ks, key=lambda k: (below[k], -k))


def choose(table: Sequence[Candidate], default: int, previous: int | None = None) -> Choice:
    """The largest stable number of segments; the present one stays while it is not unstable.

    Where the scan finds none, the default is used and said to have no stable structure.
    """
    found = {row.k: row for row in table}
    present = found.get(previous) if previous is not None else None
    if present is not None and _holds(present, UNSTABLE):
        return Choice(
            k=present.k,
            stable=True,
            reason=f"the present {present.k} segments are still stable: the halves of the customers agree to {present.stability:.2f}",
            table=tuple(table),
        )
    good = []
    for row in sorted(table, key=lambda row: row.k):
        if row.stability is None:
            continue
        if row.stability < UNSTABLE:
            break
        if _holds(row, STABLE):
            good.append(row)
    if good:
        best = good[-1]
        reason = (
            f"{best.k} is the largest number of segments on which the halves of the customers agree to at least "
            f"{STABLE:.2f} ({best.stability:.2f}) with no segment below {SMALLEST:.0%}"
        )
        return Choice(k=best.k, stable=True, reason=reason, table=tuple(table))
    measured = ", ".join(f"{row.k}: {row.stability:.2f}" for row in table if row.stability is not None) or "none"
    return Choice(
        k=default,
        stable=False,
        reason=(
            f"no stable structure: no number of segments reaches an agreement of {STABLE:.2f} with segments of at least "
            f"{SMALLEST:.0%} (agreement by number: {measured}); the configured {default} are used"
        ),
        table=tuple(table),
    )


def fixed(table: Sequence[Candidate], k: int, reason: str) -> Choice:
    """A number of segments that was given."""
    return Choice(k=k, stable=None, reason=reason, table=tuple(table))


def _holds(row: Candidate, agreement: float) -> bool:
    return row.stability is not None and row.stability >= agreement and row.smallest_share >= SMALLEST
