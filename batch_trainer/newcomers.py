"""Learning to guess at newcomers: which segment customers are in, by nothing but the traits they told when they signed up.

A multinomial logistic regression on one-hot traits, judged by cross-validation: it speaks only where it is clearly better than always
guessing the largest segment.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from batch_trainer.fit import TOLERANCE, FoldingError, one_thread
from schemas.features import FEATURES, UNKNOWN, Facts
from schemas.newcomer import TRAITS, Evidence, Newcomers, TraitTerm, by_traits, trait
from schemas.places import BANDS

MARGIN: Final = 0.05
"""It speaks where its log loss is lower by at least this share of that of always guessing the largest segment."""
BEYOND_CHANCE: Final = 3.0
"""... and by this many standard errors of the difference."""
FOLDS: Final = 5
LEAST: Final = 200
"""Customers needed to learn from, and ..."""
LEAST_EACH: Final = 20
"""... of each segment, and for a value of a trait to have weights of its own."""
RARE: Final = 0.01
"""A value of less than this share of the customers is pooled with the other rare ones."""
AGES: Final = tuple(float(start) for start, _ in BANDS)
"""Where the bins of the age begin."""
BINS: Final = 10
"""Bins of the calibration table."""

Labels = npt.NDArray[np.intp]
Key = tuple[str, ...]
"""The traits of a customer, in the order of the terms."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """Customers whose likely segment was given a probability in this bin, and how often it was theirs."""

    low: float
    high: float
    customers: int
    said: float
    """Mean of the probabilities given."""
    seen: float
    """How often the likely segment was the customer's."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """The guess for the artifact, and how well probabilities and outcomes go together."""

    newcomers: Newcomers
    calibration: tuple[Calibrated, ...] = ()


def learn(rows: Sequence[Facts], labels: Labels, ids: Sequence[str], seed: int) -> Learnt:
    """The guess learnt from customers and the segments they are in (`labels` are places in `ids`), or silence with its reason.

    The same customers in the same order and the same seed give the same guess.
    """
    told = [name for name in TRAITS if any(FEATURES[name].formula(known) is not None for known in rows)]
    reason = _too_little(told, labels, ids)
    if reason:
        return Learnt(Newcomers(speaks=False, reason=reason))
    keys = [tuple(trait(name, _edges(name), known) for name in told) for known in rows]
    measured, calibration = _evidence(keys, labels, told, ids, seed)
    speaks, reason = verdict(measured)
    if not speaks:
        return Learnt(Newcomers(speaks=False, reason=reason, evidence=measured.held_out), calibration)
    bias, terms = _fitted(keys, labels, told, ids)
    made = Newcomers(
        speaks=True, reason=reason, evidence=measured.held_out, segments=tuple(ids), bias=bias, terms=terms
    )
    return Learnt(made, calibration)


def nobody() -> Learnt:
    """The guess of a model that segments customers by their traits."""
    return Learnt(Newcomers(speaks=False, reason="who tells her traits is segmented by them at once"))


@dataclass(frozen=True, slots=True)
class Measured:
    """The evidence, and the standard error of the difference of the two log losses."""

    held_out: Evidence
    error: float


def verdict(measured: Measured) -> tuple[bool, str]:
    """Whether the guess speaks, and why.

    >>> found = Evidence(customers=900, log_loss=1.30, baseline=1.31, accuracy=0.4, largest=0.4)
    >>> verdict(Measured(found, 0.001))
    (False, 'the log loss of guessing by traits is 1.300, of always guessing the largest segment 1.310: 0.8 % lower, and 5 % are needed')
    """
    e = measured.held_out
    gain = (e.baseline - e.log_loss) / e.baseline if e.baseline > 0.0 else 0.0
    how = "lower" if gain >= 0.0 else "higher"
    compared = (
        f"the log loss of guessing by traits is {e.log_loss:.3f}, of always guessing the largest segment {e.baseline:.3f}: "
        f"{abs(100 * gain):.1f} % {how}"
    )
    if gain < MARGIN:
        return False, f"{compared}, and {100 * MARGIN:.0f} % are needed"
    if e.baseline - e.log_loss < BEYOND_CHANCE * measured.error:
        return False, f"{compared}, but from {e.customers} customers that may be chance"
    if e.accuracy <= e.largest:
        return False, f"{compared}, but the likely segment is right no more often ({e.accuracy:.1%}) than the largest"
    return True, f"{compared}, and the likely segment is right for {e.accuracy:.1%} instead of {e.largest:.1%}"


def _too_little(told: Sequence[str], labels: Labels, ids: Sequence[str]) -> str:
    if not told:
        return f"no customer has a known {', '.join(TRAITS[:-1])} or {TRAITS[-1]}"
    smallest = int(np.bincount(labels, minlength=len(ids)).min())
    if len(labels) < LEAST or smallest < LEAST_EACH:
        return (
            f"{len(labels)} customers, {smallest} in the smallest segment, are too few to learn from; "
            f"{LEAST} and {LEAST_EACH} are needed"
        )
    return ""


def _edges(name: str) -> tuple[float, ...]:
    return AGES if FEATURES[name].kind == "number" else ()


def _evidence(
    keys: Sequence[Key], labels: Labels, told: Sequence[str], ids: Sequence[str], seed: int
) -> tuple[Measured, tuple[Calibrated, ...]]:
    """By cross-validation: every customer is guessed by a model that was fitted without her."""
    n = len(labels)
    given, constant, best, right, largest = (np.zeros(n) for _ in range(5))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(n), labels)
    for train, test in folds:
        bias, terms = _fitted([keys[i] for i in train], labels[train], told, ids)
        made = Newcomers(speaks=True, reason="", segments=tuple(ids), bias=bias, terms=terms)
        found = {key: by_traits(made, key) for key in {keys[i] for i in test}}
        table = np.array([found[keys[i]] for i in test])
        shares = np.bincount(labels[train], minlength=len(ids)) / len(train)
        given[test] = table[np.arange(len(test)), labels[test]]
        constant[test] = shares[labels[test]]
        best[test] = table.max(axis=1)
        right[test] = table.argmax(axis=1) == labels[test]
        largest[test] = labels[test] == shares.argmax()
    gains = np.log(given) - np.log(constant)
    evidence = Evidence(
        customers=n,
        log_loss=-math.fsum(np.log(given)) / n,
        baseline=-math.fsum(np.log(constant)) / n,
        accuracy=math.fsum(right) / n,
        largest=math.fsum(largest) / n,
    )
    return Measured(evidence, float(gains.std() / math.sqrt(n))), tuple(_calibrated(best, right))


def _calibrated(best: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> Iterator[Calibrated]:
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    for i in sorted(set(bins.tolist())):
        own = bins == i
        yield Calibrated(
            low=i / BINS,
            high=(i + 1) / BINS,
            customers=int(own.sum()),
            said=math.fsum(best[own]) / int(own.sum()),
            seen=math.fsum(right[own]) / int(own.sum()),
        )


def _fitted(
    keys: Sequence[Key], labels: Labels, told: Sequence[str], ids: Sequence[str]
) -> tuple[tuple[float, ...], tuple[TraitTerm, ...]]:
    """The regression as bias and terms, held against scikit-learn for every combination of traits there is.

    Customers of one segment with equal traits are one row with a weight: the cost does not grow with their number.
    """
    counts = sorted(Counter(zip(keys, labels.tolist(), strict=True)).items())
    seen = [key for (key, _), _ in counts]
    weights = np.array([count for _, count in counts], dtype=float)
    columns = [_column([key[t] for key in seen], weights) for t in range(len(told))]
    encoded = np.hstack([column.encoded for column in columns])
    with one_thread():
        model = LogisticRegression(max_iter=2000, tol=1e-8)
        model.fit(encoded, np.array([place for (_, place), _ in counts]), sample_weight=weights)
        expected = model.predict_proba(encoded)
    bias, coefficients = _scores(model)
    starts = np.cumsum([0, *(column.encoded.shape[1] for column in columns)])
    terms = [
        _term(name, column, coefficients[:, start : start + column.encoded.shape[1]])
        for name, column, start in zip(told, columns, starts, strict=False)
    ]
    made = Newcomers(speaks=True, reason="", segments=tuple(ids), bias=_floats(bias), terms=tuple(terms))
    off = np.abs(np.array([by_traits(made, key) for key in seen]) - expected).max()
    if not off <= TOLERANCE:
        raise FoldingError(
            f"the guess at newcomers is {off:.3g} off scikit-learn's probabilities; please report this with the data"
        )
    return made.bias, made.terms


@dataclass(frozen=True, slots=True)
class Column:
    """A trait encoded: one-hot values, and what stands in for a value that is none of them."""

    values: tuple[str, ...]
    pooled: bool
    """Whether the last column stands for all rare values together."""
    average: npt.NDArray[np.float64]
    """The mean row: how an unknown value is encoded, and rare ones where they are too few even together."""
    encoded: npt.NDArray[np.float64]


def _column(seen: Sequence[str], weights: npt.NDArray[np.float64]) -> Column:
    often: dict[str, float] = {}
    for value, weight in zip(seen, weights.tolist(), strict=True):
        often[value] = often.get(value, 0.0) + weight
    least = max(LEAST_EACH, RARE * math.fsum(weights))
    values = tuple(sorted(value for value, weight in often.items() if weight >= least))
    rare = {value: weight for value, weight in often.items() if value not in values and value != UNKNOWN}
    pooled = math.fsum(rare.values()) >= LEAST_EACH
    place = {value: i for i, value in enumerate(values)}
    if pooled:
        place |= dict.fromkeys(rare, len(values))
    encoded = np.zeros((len(seen), len(values) + pooled))
    learnt = np.array([value in place for value in seen])
    encoded[learnt, [place[value] for value in seen if value in place]] = 1.0
    average = weights[learnt] @ encoded[learnt] / math.fsum(weights[learnt])
    encoded[~learnt] = average
    return Column(values, pooled, average, encoded)


def _term(name: str, column: Column, coefficients: npt.NDArray[np.float64]) -> TraitTerm:
    average = _floats(coefficients @ column.average)
    table = {UNKNOWN: average} | {value: _floats(coefficients[:, i]) for i, value in enumerate(column.values)}
    unseen = _floats(coefficients[:, -1]) if column.pooled else average
    return TraitTerm(feature=name, edges=_edges(name), table=table, unseen=unseen)


def _scores(model: LogisticRegression) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Intercepts and coefficients, shape (segments, columns); of two segments scikit-learn scores only the second."""
    intercept, coefficients = model.intercept_, model.coef_
    if len(intercept) == 1:
        return np.array([0.0, intercept[0]]), np.vstack([np.zeros_like(coefficients), coefficients])
    return intercept, coefficients


def _floats(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
