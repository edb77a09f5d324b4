"""How the training data was distributed, event by event: what the live stream is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.features import FEATURES, Countable, Facts

BINS: Final = 10
"""Bins of a distribution, but for those of values that many share: more of them say less at the same number of events."""
MOST_LABELS: Final = 1000
"""The most labels of a category that are remembered as known."""
Z: Final = 5.2
"""Standard deviations of one in ten million: what chance hardly ever does."""
MIX: Final = "segment_mix"
"""The distribution of the segments themselves."""
LEAN: Final = 0.35
"""How far hour, weekday and a sale together move who orders: standard deviations of spend, towards those who spend much or little."""
CLOCKS: Final = ("tenure", "recency", "days_since")
"""Features that time itself moves: they are no sign of anything."""

Floats = npt.NDArray[np.float64]


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity in bins: between `edges` for a number (raw units), by `labels` for a category, the last bin holding all others."""

    n: float
    """How many independent customers stand behind it (Kish's effective size)."""
    edges: tuple[float, ...] = ()
    """Bin i holds edges[i-1] <= value < edges[i]."""
    labels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    """Of the known values; they sum to 1."""
    nulls: float = 0.0
    """Share of events where it is not known."""
    known: tuple[str, ...] = ()
    """Labels seen in training beside `labels`."""
    complete: bool = True
    """Whether `labels` and `known` are all there were, so that any other is new."""
    leaning: tuple[tuple[float, ...], ...] = ()
    """The shares where those who spend little order more than usual, and where those who spend much do, by LEAN each."""

    @property
    def bins(self) -> tuple[str, ...]:
        """What each bin holds, for people.

        >>> Distribution(n=9, edges=(1.0, 2.5), shares=(0.2, 0.3, 0.5)).bins
        ('below 1', '1 to 2.5', '2.5 and more')
        """
        if self.labels:
            return (*self.labels, "all others")
        if not self.edges:
            return ("any",)
        first, *rest = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in zip([first, *rest], rest, strict=False)]
        return (f"below {first}", *between, f"{[first, *rest][-1]} and more")


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one quantity, in the bins of a Distribution. Merges with `+`."""

    bins: tuple[int, ...]
    nulls: int = 0
    unseen: int = 0
    """Labels that training did not know; they are in the last bin too."""

    @property
    def n(self) -> int:
        """Known values."""
        return sum(self.bins)

    def __add__(self, other: Counts) -> Counts:
        bins = tuple(a + b for a, b in zip(self.bins, other.bins, strict=True))
        return Counts(bins=bins, nulls=self.nulls + other.nulls, unseen=self.unseen + other.unseen)


def appearances(known: Countable | Facts) -> int:
    """How often the stream sees a customer: at each order, again where it was cancelled or refunded, and once at least.

    >>> appearances(Facts(placed_orders=4, orders=3, returned_orders=1)), appearances(Facts())
    (6, 1)
    """
    return max(1, 2 * known.placed_orders - known.orders + known.returned_orders)


def is_clock(name: str) -> bool:
    """Whether a feature is moved by time itself.

    >>> is_clock("tenure_days"), is_clock("orders")
    (True, False)
    """
    return any(word in name for word in CLOCKS)


def distribution(values: Sequence[Any], weights: Floats, lean: Floats | None = None) -> Distribution | None:
    """The distribution of numbers or labels (None: not known), each counting `weights` times; None where none is known.

    `lean` says who spends how much (see `spending`): with it, the distribution knows what a rhythm makes of it.
    """
    made = _distribution(values, weights)
    if made is None or lean is None:
        return made
    bins = Bins(made)
    places = bins.places(values)
    inside = (places >= 0) & (places < len(made.shares))
    leaning = (
        np.bincount(places[inside], weights=(weights * np.exp(by * lean))[inside], minlength=len(made.shares))
        for by in (-LEAN, LEAN)
    )
    return msgspec.structs.replace(made, leaning=tuple(_shares(counted.astype(float)) for counted in leaning))


def _distribution(values: Sequence[Any], weights: Floats) -> Distribution | None:
    there = np.array([value is not None for value in values], dtype=bool)
    w = weights[there]
    total, all_of_it = math.fsum(w), math.fsum(weights)
    if total <= 0.0:
        return None
    known = [value for value in values if value is not None]
    n = total * total / math.fsum(w * w)
    nulls = max(0.0, 1.0 - total / all_of_it)
    if isinstance(known[0], str):
        return _of_labels(known, w, total, n, nulls)
    x = np.array(known, dtype=float)
    edges = _edges(x, w / total)
    counted = np.bincount(np.searchsorted(edges, x, side="right"), weights=w, minlength=len(edges) + 1).astype(float)
    return Distribution(n=n, edges=edges, shares=_shares(counted), nulls=nulls)


def _edges(x: Floats, shares: Floats) -> tuple[float, ...]:
    """Quantiles. A value that many share has a bin of its own, which ends a tenth of the way to the next one: who moves away from it a
    little must not stay inside.

    >>> _edges(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 5.0, 6.0]), np.full(8, 0.125))
    (0.4, 4.0, 4.1, 5.0, 5.1, 6.0)
    """
    distinct, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weights=shares)
    reached = np.cumsum(mass)
    values = distinct.tolist()
    cuts = (values[min(len(values) - 1, int(np.searchsorted(reached, i / BINS)))] for i in range(1, BINS))
    edges = {cut for cut in cuts if cut > values[0]}
    for i in np.flatnonzero(mass[:-1] >= 1.0 / BINS).tolist():
        edges.add(values[i] + (values[i + 1] - values[i]) / 10)
    return tuple(sorted(edges))


def _of_labels(known: Sequence[str], weights: Floats, total: float, n: float, nulls: float) -> Distribution:
    heavy: dict[str, float] = {}
    for label, weight in zip(known, weights.tolist(), strict=True):
        heavy[label] = heavy.get(label, 0.0) + weight
    ranked = sorted(heavy, key=lambda label: (-heavy[label], label))
    labels = ranked[: BINS - 1]
    counted = np.array([heavy[label] for label in labels] + [math.fsum(heavy[label] for label in ranked[BINS - 1 :])])
    others = tuple(sorted(ranked[BINS - 1 : MOST_LABELS]))
    complete = len(ranked) <= MOST_LABELS
    return Distribution(
        n=n, labels=tuple(labels), shares=_shares(counted), nulls=nulls, known=others, complete=complete
    )


def _shares(counted: Floats) -> tuple[float, ...]:
    whole = math.fsum(counted)
    return tuple(float(share) / whole for share in counted)


class Bins:
    """Sorts values into the bins of a distribution."""

    def __init__(self, known: Distribution) -> None:
        self._size = len(known.shares)
        self._edges = np.array(known.edges)
        self._labels: dict[str | None, int] | None = None
        if known.labels:
            last = len(known.labels)
            bins: dict[str | None, int] = {label: i for i, label in enumerate(known.labels)}
            self._labels = {None: -1, **dict.fromkeys(known.known, last), **bins}
            self._new = self._size if known.complete else last

    def places(self, values: Sequence[Any]) -> npt.NDArray[np.intp]:
        """The bin of each value; -1: not known, the number of bins: a label that training did not know. Shape (n,)."""
        if self._labels is not None:
            bin_of, new = self._labels.get, self._new
            return np.array([bin_of(label, new) for label in values], dtype=np.intp)
        x = np.array(values, dtype=float)  # None becomes NaN
        found = np.searchsorted(self._edges, x, side="right")
        found[np.isnan(x)] = -1
        return found

    def count(self, places: npt.NDArray[np.intp]) -> Counts:
        """How many are in each bin."""
        nulls, *bins, new = np.bincount(places + 1, minlength=self._size + 2).tolist()
        bins[-1] += new
        return Counts(bins=tuple(bins), nulls=nulls, unseen=new)


def counts(known: Distribution, values: Sequence[Any]) -> Counts:
    """Values counted in the bins of a distribution.

    >>> counts(Distribution(n=9, edges=(1.0,), shares=(0.5, 0.5)), [0.5, 1.0, None])
    Counts(bins=(1, 1), nulls=1, unseen=0)
    >>> counts(Distribution(n=9, labels=("a",), shares=(0.5, 0.5), known=("b",)), ["a", "b", "new"])
    Counts(bins=(1, 2), nulls=0, unseen=1)
    """
    bins = Bins(known)
    return bins.count(bins.places(values))


def distributions(
    names: Sequence[str], rows: Sequence[Countable | Facts], weights: Floats, segments: Sequence[str]
) -> dict[str, Distribution]:
    """The distributions of features over customers, each counting as often as the stream sees her, and of their segments."""
    columns: dict[str, list[Any]] = {name: [FEATURES[name].formula(known) for known in rows] for name in names}
    columns[MIX] = list(segments)
    lean = spending(rows, weights)
    made = {name: distribution(values, weights, lean) for name, values in columns.items()}
    return {name: one for name, one in made.items() if one is not None}


def spending(rows: Sequence[Countable | Facts], weights: Floats) -> Floats:
    """What each has spent: logarithms, in standard deviations from the weighted mean, three at most. Shape (n,)."""
    formula = FEATURES["gross_spend"].formula
    logs = np.log1p(np.maximum(np.array([formula(known) or 0.0 for known in rows], dtype=float), 0.0))
    away = logs - np.average(logs, weights=weights)
    spread = math.sqrt(float(np.average(away * away, weights=weights)))
    return np.clip(away / spread, -3.0, 3.0) if spread > 0.0 else np.zeros(len(logs))


def chi_square(freedom: int) -> float:
    """The value that a chi-square variable exceeds once in ten million times (Wilson and Hilferty's approximation).

    >>> round(chi_square(9))
    52
    """
    spread = 2.0 / (9.0 * freedom)
    return freedom * float(1.0 - spread + Z * math.sqrt(spread)) ** 3


def psi(known: Distribution, seen: Counts) -> float:
    """Population stability index of what was seen against the reference, a rhythm allowed for; half an event is added to each bin.

    >>> round(psi(Distribution(n=1000, edges=(0.0,), shares=(0.5, 0.5)), Counts(bins=(500, 500))), 3)
    0.0
    """
    return math.fsum(parts(known, seen))


def parts(known: Distribution, seen: Counts) -> list[float]:
    """What each bin contributes to the index: against the reference, leaning as far as fits best and a rhythm goes."""
    plain = _parts(known.shares, seen)
    if not known.leaning or not seen.n:
        return plain
    leant = _parts(_leant(known, seen), seen)
    return min(plain, leant, key=math.fsum)


def _parts(shares: Sequence[float], seen: Counts) -> list[float]:
    b, n = len(seen.bins), seen.n
    found = []
    for share, count in zip(shares, seen.bins, strict=True):
        p = (share * n + 0.5) / (n + 0.5 * b)
        q = (count + 0.5) / (n + 0.5 * b)
        found.append((q - p) * math.log(q / p))
    return found


def _leant(known: Distribution, seen: Counts) -> list[float]:
    """The reference shares where who orders leans as far as the logarithms of what was seen tell, by LEAN at most.

    The logarithm of a share under a lean t is nearly share + slope * t + bend * t^2; t follows from weighted least squares, once
    corrected for the bend.
    """
    low, high = known.leaning
    n, b = seen.n, len(seen.bins)
    terms = []
    for share, less, more, count in zip(known.shares, low, high, seen.bins, strict=True):
        if share > 0.0 and less > 0.0 and more > 0.0:
            down, up = math.log(less / share), math.log(more / share)
            moved = math.log((count + 0.5) / (n + 0.5 * b) / share)
            terms.append((share, (up - down) / 2, (up + down) / 2, moved))
        else:
            terms.append((share, 0.0, 0.0, 0.0))
    size = math.fsum(share * slope * slope for share, slope, _, _ in terms)
    t = 0.0  # in LEANs
    if size > 0.0:
        for _ in range(2):
            t = math.fsum(share * slope * (moved - bend * t * t) for share, slope, bend, moved in terms) / size
            t = max(-1.0, min(1.0, t))
    leant = [share * math.exp(slope * t + bend * t * t) for share, slope, bend, _ in terms]
    whole = math.fsum(leant)
    return [share / whole for share in leant]


def chance(known: Distribution, seen: Counts) -> float:
    """What the index of unchanged customers hardly ever exceeds."""
    used = sum(share > 0.0 or count > 0 for share, count in zip(known.shares, seen.bins, strict=True))
    return chi_square(used - 1) * (1.0 / seen.n + 1.0 / known.n) if used > 1 and seen.n else math.inf


def bound(known: Distribution, seen: Counts, effect: float) -> float:
    """The index from which on a distribution has moved: what matters, and what chance hardly ever does."""
    return max(effect, chance(known, seen))


class Term(Protocol):
    """A numeric column of a model, as `schemas.artifact.NumberTerm`."""

    @property
    def feature(self) -> str: ...
    @property
    def weights(self) -> tuple[float, ...]: ...


class Moments(Protocol):
    """Mean and standard deviation, as `schemas.artifact.Reference`."""

    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...


class Residuals:
    """What the plane of a model leaves of its numeric columns: how well PCA reconstructs a customer."""

    def __init__(self, terms: Sequence[Term], moments: Mapping[str, Moments]) -> None:
        self.names = tuple(t.feature for t in terms if t.feature in moments and moments[t.feature].std > 0.0)
        self._mean = np.array([moments[name].mean for name in self.names])
        self._std = np.array([moments[name].std for name in self.names])
        self._left: Floats | None = None
        if self.names:
            folded = np.array([t.weights for t in terms if t.feature in self.names]) * self._std[:, None]
            _, sizes, basis = np.linalg.svd(folded.T, full_matrices=False)
            basis = basis[sizes > 1e-9 * max(1.0, float(sizes[0]))]
            left = np.eye(len(self.names)) - basis.T @ basis
            self._left = left if float(np.abs(left).max()) > 1e-6 else None

    def logs(self, columns: Mapping[str, Floats]) -> Floats | None:
        """Logarithms of the reconstruction errors from transformed columns (NaN: not known, taken as the mean), shape (n,).

        None where the plane leaves nothing.
        """
        if self._left is None:
            return None
        x = (np.column_stack([columns[name] for name in self.names]) - self._mean) / self._std
        rest = np.nan_to_num(x, nan=0.0) @ self._left
        logs: Floats = 0.5 * np.log(np.einsum("ij,ij->i", rest, rest) + 1e-12)
        return logs
