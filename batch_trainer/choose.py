"""How many segments: as many as come out the same from either half of the customers, if there is anything to segment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

from batch_trainer.structure import Habit, Silhouette

STABLE: Final = 0.85
"""A number of segments is good where the median agreement of the halves reaches this."""
UNSTABLE: Final = 0.75
"""Below this the scan ends."""
SMALLEST: Final = 0.03
"""A segment with a smaller share of the customers is too small to work with."""
SCAN: Final = range(3, 9)
REPEATS: Final = 10
"""Random halves at a time."""
MOST_REPEATS: Final = 40
STARTS: Final = 5

Points = npt.NDArray[np.float64]
Cluster = Callable[[Points, int, int, int], Any]
"""points, k, seed, starts -> something fitted that has `predict`."""
Each = Callable[[Callable[[int], float], Iterable[int]], Iterable[float]]
"""`map`, or one that uses several threads."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one number of segments."""

    k: int
    sse: float
    smallest_share: float
    stability: float | None = None
    """Median adjusted Rand index of the two halves; None where it was not measured."""
    elbow: bool = False
    """The bend of the SSE curve: advice only, it shows one even in noise."""
    silhouette: Silhouette | None = None
    """How well the segments are separated, beside shuffled customers; None where it was not measured."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The number of segments and why."""

    k: int
    stable: bool | None
    """Whether the halves agree on it; None where it was given, not chosen."""
    reason: str
    table: tuple[Candidate, ...]
    habits: tuple[Habit, ...] = ()

    def chosen(self) -> Candidate:
        """The row of the table that was chosen."""
        return next(row for row in self.table if row.k == self.k)


def stability(points: Points, k: int, cluster: Cluster, seed: int, each: Each = map) -> float:
    """Median agreement (adjusted Rand index, over all points) of models fitted on two random halves.

    1 is the same segments from either half, 0 is chance. Halves are drawn until it is certain on which side of the thresholds the
    median lies, or MOST_REPEATS of them. `each` may run them side by side; the result is the same.
    """
    scores: list[float] = []
    while len(scores) < MOST_REPEATS and (not scores or not _decided(scores)):
        repeats = range(len(scores), len(scores) + REPEATS)
        scores += each(lambda repeat: _agreement(points, k, cluster, seed, repeat), repeats)
    return float(np.median(scores))


def _agreement(points: Points, k: int, cluster: Cluster, seed: int, repeat: int) -> float:
    order = np.random.default_rng([seed, k, repeat]).permutation(len(points))
    half = len(points) // 2
    first = cluster(points[order[:half]], k, seed + repeat, STARTS)
    second = cluster(points[order[half:]], k, seed + repeat, STARTS)
    return float(adjusted_rand_score(first.predict(points), second.predict(points)))


def _decided(scores: Sequence[float]) -> bool:
    """Whether no threshold lies within the 95 % interval of the median (by order statistics, free of assumptions)."""
    ranked, count = sorted(scores), len(scores)
    lowest = max(0, math.floor((count - 1.96 * math.sqrt(count)) / 2))
    return not any(ranked[lowest] <= threshold <= ranked[count - 1 - lowest] for threshold in (STABLE, UNSTABLE))


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
    sse: Mapping[int, float],
    smallest: Mapping[int, float],
    stabilities: Mapping[int, float],
    silhouettes: Mapping[int, Silhouette] | None = None,
) -> tuple[Candidate, ...]:
    """One row for each number of segments that was fitted."""
    bend = elbow(sse)
    return tuple(
        Candidate(
            k=k,
            sse=sse[k],
            smallest_share=smallest[k],
            stability=stabilities.get(k),
            elbow=k == bend,
            silhouette=(silhouettes or {}).get(k),
        )
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


def choose(
    table: Sequence[Candidate], default: int, previous: int | None = None, habits: Sequence[Habit] = ()
) -> Choice:
    """The largest stable number of segments; the present one stays while it is not unstable.

    Where the scan finds none, where shuffled customers are separated as well, or where customers have no habits, there is no stable
    structure: said so with the evidence, and the present or default number is used.
    """
    rows = sorted(table, key=lambda row: row.k)
    found = {row.k: row for row in rows}
    present = found.get(previous) if previous is not None else None
    keeps = present is not None and _holds(present, UNSTABLE)
    sound = present is not None and keeps and _separated(present)
    good = [row for row in _before_unstable(rows) if _holds(row, STABLE) and _separated(row)]
    random = bool(habits) and not any(one.there for one in habits)
    if random or not (good or sound):
        k = present.k if present is not None and keeps else default
        used = f"the present {k} are kept" if keeps else f"the configured {k} are used"
        return _choice(k, False, f"no stable structure: {_evidence(rows, habits, random)}; {used}", rows, habits)
    if present is not None and keeps:
        reason = f"the present {present.k} segments are still stable: the halves of the customers agree to {present.stability:.2f}"
        return _choice(present.k, True, reason, rows, habits)
    best = good[-1]
    reason = (
        f"{best.k} is the largest number of segments on which the halves of the customers agree to at least "
        f"{STABLE:.2f} ({best.stability:.2f}) with no segment below {SMALLEST:.0%}{_told(best.silhouette)}"
    )
    return _choice(best.k, True, reason, rows, habits)


def fixed(table: Sequence[Candidate], k: int, reason: str) -> Choice:
    """A number of segments that was given; where shuffled customers are separated as well, the reason says so."""
    found = next((row.silhouette for row in table if row.k == k), None)
    if found is not None and not found.better:
        reason += f", but shuffled customers are separated as well (silhouette {found.data:.2f}, shuffled {found.shuffled:.2f})"
    return Choice(k=k, stable=None, reason=reason, table=tuple(table))


def _choice(k: int, stable: bool, reason: str, rows: Sequence[Candidate], habits: Sequence[Habit]) -> Choice:
    return Choice(k=k, stable=stable, reason=reason, table=tuple(rows), habits=tuple(habits))


def _before_unstable(rows: Sequence[Candidate]) -> list[Candidate]:
    """The measured rows up to the first unstable one."""
    found: list[Candidate] = []
    for row in rows:
        if row.stability is not None:
            if row.stability < UNSTABLE:
                break
            found.append(row)
    return found


def _holds(row: Candidate, agreement: float) -> bool:
    return row.stability is not None and row.stability >= agreement and row.smallest_share >= SMALLEST


def _separated(row: Candidate) -> bool:
    return row.silhouette is None or row.silhouette.better


def _told(found: Silhouette | None) -> str:
    return "" if found is None else f"; silhouette {found.data:.2f} against {found.shuffled:.2f} for shuffled customers"


def _evidence(rows: Sequence[Candidate], habits: Sequence[Habit], random: bool) -> str:
    if random:
        measured = ", ".join(
            f"{one.what} {max(0.0, one.correlation):.2f}, by chance up to {one.dealt:.2f}" for one in habits
        )
        return (
            "a customer's orders resemble each other no more than anyone's, so that segments would show little but "
            f"how often someone has ordered (share of the differences that lies between customers: {measured})"
        )
    known = [row for row in rows if row.stability is not None]
    measured = ", ".join(
        f"{row.k}: {row.stability:.2f}"
        + ("" if row.silhouette is None else f" ({row.silhouette.data:.2f}, shuffled {row.silhouette.shuffled:.2f})")
        for row in known
    )
    agreement, smallest = (
        f"an agreement of {STABLE:.2f} between the halves of the customers",
        f"segments of at least {SMALLEST:.0%}",
    )
    wanted = (
        f"{agreement}, {smallest} and a silhouette better than shuffled customers'"
        if any(row.silhouette for row in known)
        else f"{agreement} and {smallest}"
    )
    return f"no number of segments reaches {wanted} (agreement by number: {measured or 'none measured'})"
