"""Where a newcomer will likely belong: what a model says of a customer of whom nothing is known but what she told when she signed up.

A multinomial logistic regression as plain numbers: a score per segment, score = bias + sum of table_t[value of trait t], and the
probabilities are their softmax. It is learnt from the customers who are in segments, and it is silent where the traits tell too little.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.features import FEATURES, UNKNOWN, Countable, label, number

TRAITS: Final = ("age", "gender", "country", "traffic_source")
"""The features that are known of a customer who has only signed up."""


class TraitTerm(msgspec.Struct, frozen=True, kw_only=True):
    """One trait's part of the scores, each vector of shape (segments,)."""

    feature: str
    edges: tuple[float, ...] = ()
    """Of a number: where its bins begin, ascending. What lies below the first is in the first."""
    table: dict[str, tuple[float, ...]]
    """By value; of a number by where the bin begins."""
    unseen: tuple[float, ...]
    """For whatever is not in the table: as rare values where there were some to learn from, else as the average customer."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the guesses are worth, measured on customers they were not learnt from, beside a guess that knows no traits."""

    customers: int
    log_loss: float
    """Mean of -log(probability given to the customer's segment)."""
    baseline: float
    """The same of giving each segment its share, whoever comes: always guessing the largest."""
    accuracy: float
    """How often the likely segment is the customer's."""
    largest: float
    """How often the largest segment is."""


class Newcomers(msgspec.Struct, frozen=True, kw_only=True):
    """The guess at newcomers as an artifact carries it."""

    speaks: bool
    reason: str
    """Why it speaks, or why it is silent."""
    evidence: Evidence | None = None
    """None where there was too little to measure."""
    segments: tuple[str, ...] = ()
    """Segment ids: what the vectors stand for. Empty where it is silent."""
    bias: tuple[float, ...] = ()
    terms: tuple[TraitTerm, ...] = ()


class Likely(NamedTuple):
    """The segment a newcomer will most likely be in when she buys."""

    segment: str
    name: str
    probability: float


def trait(feature: str, edges: Sequence[float], known: Countable) -> str:
    """A trait as the tables name it; numbers by the beginning of their bin.

    >>> from schemas.features import Facts
    >>> trait("age", (0, 18, 25), Facts(age=19)), trait("age", (0, 18), Facts()), trait("country", (), Facts(country="FR"))
    ('18', '(unknown)', 'FR')
    """
    if not edges:
        return label(feature, known)
    value = number(feature, known)
    return UNKNOWN if value is None else f"{edges[max(0, bisect_right(edges, value) - 1)]:g}"


def traits(newcomers: Newcomers, known: Countable) -> list[str]:
    """The traits that count, in the order of the terms."""
    return [trait(term.feature, term.edges, known) for term in newcomers.terms]


def probabilities(newcomers: Newcomers, known: Countable) -> list[float]:
    """The probability of each segment, in the order of `newcomers.segments`: one formula for one customer and for many."""
    return by_traits(newcomers, traits(newcomers, known))


def by_traits(newcomers: Newcomers, values: Sequence[str]) -> list[float]:
    """The same of traits as `trait` names them, in the order of the terms.

    Sums run in the order of the terms and of the segments (the built-in `sum` of floats is another one in Python 3.11 than later).
    """
    scores = list(newcomers.bias)
    for term, value in zip(newcomers.terms, values, strict=True):
        weights = term.table.get(value, term.unseen)
        scores = [score + weight for score, weight in zip(scores, weights, strict=True)]
    highest = max(scores)
    shares = [math.exp(score - highest) for score in scores]
    whole = 0.0
    for share in shares:
        whole += share
    return [share / whole for share in shares]


def problem(newcomers: Newcomers, ids: Sequence[str]) -> str:
    """Which rule this guess breaks beside segments of these ids; empty where none."""
    if not newcomers.speaks:
        return ""
    if sorted(newcomers.segments) != sorted(ids):
        return f"its newcomers' segments are {list(newcomers.segments)}, the model's {list(ids)}"
    strange = [t.feature for t in newcomers.terms if t.feature not in TRAITS]
    known = [t for t in newcomers.terms if t.feature in TRAITS]
    strange += [t.feature for t in known if bool(t.edges) != (FEATURES[t.feature].kind == "number")]
    if strange or any(list(t.edges) != sorted(set(t.edges)) for t in newcomers.terms):
        return f"its newcomers' traits are not what this version knows as {', '.join(TRAITS)}: {', '.join(strange) or 'edges not ascending'}"
    vectors = [newcomers.bias, *(t.unseen for t in newcomers.terms)]
    vectors += [row for t in newcomers.terms for row in t.table.values()]
    if any(len(row) != len(ids) for row in vectors):
        return f"its newcomers' vectors are not all of {len(ids)} segments"
    numbers = [value for row in vectors for value in row] + [edge for t in newcomers.terms for edge in t.edges]
    if not all(map(math.isfinite, numbers)):
        return "its newcomers' weights are not all finite numbers"
    return ""
