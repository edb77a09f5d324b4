"""Scoring of one customer, written out: the artifact's sums as one straight-line function instead of loops over its terms.

The operations and their order are those of `Model.project_many` (bias, numbers in order, categories in order, then squared distances in order
of the dimensions), so that one row and many agree bit for bit. What is compiled are the artifact's numbers and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from schemas.features import FEATURES, TRANSFORMS, UNKNOWN, Countable

if TYPE_CHECKING:
    from schemas.artifact import CategoryTerm, NumberTerm

Projection = Callable[[Countable], tuple[float, ...]]
Distances = Callable[[Countable], tuple[float, ...]]
Nearest = Callable[[Sequence[float]], tuple[int, float, float]]


def compiled(
    bias: Sequence[float],
    numbers: Sequence[NumberTerm],
    categories: Sequence[CategoryTerm],
    centroids: Sequence[Sequence[float]],
) -> tuple[Projection, Distances]:
    """Two functions of a customer: her place in model space, shape (d,), and the squared distances to the centroids, shape (k,)."""
    names: dict[str, Any] = {"UNKNOWN": UNKNOWN}
    body: list[str] = []
    for j, number in enumerate(numbers):
        names[f"number{j}"] = FEATURES[number.feature].formula
        names[f"transform{j}"] = TRANSFORMS[number.transform]
        body.append(f"v = number{j}(known)")
        body.append(f"x{j} = {_literal(number.default)} if v is None else transform{j}(v)")
    for j, category in enumerate(categories):
        names[f"category{j}"] = FEATURES[category.feature].formula
        names[f"table{j}"], names[f"unseen{j}"] = category.table, category.unseen
        body.append(f"v = category{j}(known)")
        body.append(f"t{j} = table{j}.get(UNKNOWN if v is None else v, unseen{j})")
    for d, start in enumerate(bias):
        terms = [_literal(start)]
        terms += [f"{_literal(number.weights[d])} * x{j}" for j, number in enumerate(numbers)]
        terms += [f"t{j}[{d}]" for j in range(len(categories))]
        body.append(f"z{d} = {' + '.join(terms)}")
    place = ", ".join(f"z{d}" for d in range(len(bias)))
    apart: list[str] = []
    for i, centroid in enumerate(centroids):
        for d, value in enumerate(centroid):
            apart += [f"q = z{d} - {_literal(value)}", f"s {'+=' if d else '='} q * q"]
        apart.append(f"d{i} = s")
    squares = ", ".join(f"d{i}" for i in range(len(centroids)))
    source = _function("project", [*body, f"return ({place},)"])
    source += _function("distances", [*body, *apart, f"return ({squares},)"])
    exec(compile(source, "<scoring>", "exec"), names)
    return names["project"], names["distances"]


def nearest(gaps: Sequence[Sequence[float]]) -> Nearest:
    """A function of squared distances to the centroids, shape (k,): index of the nearest (the first of equals), margin, distance.

    `gaps[i][j]` is twice the distance of two centroids; the margin of a single one is 0.
    """
    places = [f"d{i}" for i in range(len(gaps))]
    body = [f"{', '.join(places)}, = squares", "best = min(squares)"]
    for i, row in enumerate(gaps):
        margins = [f"(d{j} - best) / {_literal(gap)}" for j, gap in enumerate(row) if j != i]
        margin = f"min({', '.join(margins)})" if len(margins) > 1 else (margins or ["0.0"])[0]
        body.append(f"if best == d{i}: return {i}, {margin}, sqrt(best)")
    names: dict[str, Any] = {"sqrt": math.sqrt}
    exec(compile(_function("nearest", body, "squares"), "<scoring>", "exec"), names)
    return names["nearest"]  # type: ignore[no-any-return]


def _function(name: str, body: list[str], argument: str = "known") -> str:
    return "\n    ".join([f"def {name}({argument}):", *body]) + "\n"


def _literal(value: float) -> str:
    """A float as source text that means exactly it."""
    return f"({value!r})" if math.isfinite(value) else f"float('{value!r}')"
