"""Whether there is anything to segment: silhouettes against shuffled customers, and habits against shuffled orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import silhouette_score

from schemas.features import Facts

SHUFFLES: Final = 5
STARTS: Final = 3
DEALS: Final = 39
"""How often the orders are dealt out: the highest of 39 is exceeded by chance once in 40."""
HABIT: Final = 0.05
"""A share of the differences between orders from which customers are said to have a habit."""
REPEATING: Final = 30
"""With fewer customers of two orders and more, habits are not measured."""

Points = npt.NDArray[np.float64]
Cluster = Callable[[Points, int, int, int], Any]
"""points, k, seed, starts -> something fitted that has `labels_`."""


class Silhouette(msgspec.Struct, frozen=True):
    """How well segments are separated (-1 to 1), and how well they are where there is nothing to find."""

    data: float
    shuffled: float
    """Mean over shuffled customers."""
    spread: float
    """Standard deviation over shuffled customers."""

    @property
    def better(self) -> bool:
        """Whether the customers are better separated than shuffled ones, beyond chance."""
        return self.data > self.shuffled + max(3.0 * self.spread, 0.01)


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """How far a customer's orders resemble each other."""

    what: str
    correlation: float
    """Intraclass correlation: the share of the differences between orders that lies between customers."""
    dealt: float
    """The highest when the same orders are dealt out to the customers at random."""
    customers: int
    """Customers with two orders and more."""

    @property
    def there(self) -> bool:
        """Whether it is more than chance, and enough to matter."""
        return self.correlation > self.dealt and self.correlation >= HABIT


def shuffled(rows: Sequence[Facts], seed: int) -> list[Facts]:
    """Customers who never were: every fact dealt out anew, independently of the others.

    Facts are shuffled and not features, so that what follows from arithmetic alone (spend per order) remains.

    >>> sorted(known.orders for known in shuffled([Facts(orders=1, spend=5), Facts(orders=2, spend=9)], 1))
    [1, 2]
    """
    chance = np.random.default_rng([seed, len(rows)])
    columns = []
    for name in Facts.__struct_fields__:
        if name == "shares":
            continue
        order = chance.permutation(len(rows))
        columns.append([getattr(rows[i], name) for i in order.tolist()])
    shares: list[dict[str, float]] = [{} for _ in rows]
    for feature in sorted({feature for known in rows for feature in known.shares}):
        for own, i in zip(shares, chance.permutation(len(rows)).tolist(), strict=True):
            if share := rows[i].shares.get(feature):
                own[feature] = share
    return [Facts(*values) for values in zip(*columns, shares, strict=True)]


def silhouette(points: Points, nothing: Sequence[Points], k: int, cluster: Cluster, seed: int) -> Silhouette:
    """The silhouette of k segments of `points`, and of k segments of each of the shuffled `nothing`."""
    values = [_silhouette(found, k, cluster, seed) for found in nothing]
    return Silhouette(_silhouette(points, k, cluster, seed), float(np.mean(values)), float(np.std(values)))


def _silhouette(points: Points, k: int, cluster: Cluster, seed: int) -> float:
    if len(np.unique(points, axis=0)) < k:
        return 0.0
    labels = cluster(points, k, seed, STARTS).labels_
    return float(silhouette_score(points, labels)) if 1 < len(set(labels.tolist())) < len(points) else 0.0


def habit(what: str, customers: Sequence[str], values: Sequence[float], seed: int) -> Habit | None:
    """Whether each customer's orders have something of their own; None where too few have ordered twice or nothing varies.

    `customers` and `values` are parallel, one pair per order. The intraclass correlation of the one-way analysis of variance
    (Fisher), against a permutation of the orders.

    >>> habit("basket", [str(i // 2) for i in range(200)], [i // 2 for i in range(200)], 1).correlation
    1.0
    """
    _, group, counts = np.unique(np.asarray(customers, dtype=object), return_inverse=True, return_counts=True)
    repeating = counts[group] > 1
    group = np.unique(group[repeating], return_inverse=True)[1]
    found = np.asarray(values, dtype=float)[repeating]
    groups = int(np.count_nonzero(counts > 1))
    if groups < REPEATING or not float(np.ptp(found)) > 0.0:
        return None
    chance = np.random.default_rng([seed, len(found)])
    dealt = max(_intraclass(group, chance.permutation(found), groups) for _ in range(DEALS))
    return Habit(what=what, correlation=_intraclass(group, found, groups), dealt=dealt, customers=groups)


def _intraclass(group: npt.NDArray[np.intp], values: npt.NDArray[np.float64], groups: int) -> float:
    sizes = np.bincount(group, minlength=groups)
    means = np.bincount(group, weights=values, minlength=groups) / sizes
    within = float(((values - means[group]) ** 2).sum()) / (len(values) - groups)
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (groups - 1)
    size = (len(values) - float((sizes**2).sum()) / len(values)) / (groups - 1)
    whole = between + (size - 1.0) * within
    return (between - within) / whole if whole > 0.0 else 0.0
