"""Why a customer is in her segment: what each feature contributes to her distance from the boundary, exactly.

A model is linear up to the centroids, and the boundary between two centroids is a plane: how far she lies beyond it is the sum of
one contribution per feature, each measured from midway between what is typical of the two, and a small rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.features import FEATURES, TRANSFORMS, UNKNOWN
from schemas.model import Model


class Part(NamedTuple):
    """What one feature says: `pull` is in model units, positive where it speaks for her segment."""

    feature: str
    value: float | str | None
    here: float | None
    """The segment's median, raw units; None of a category."""
    there: float | None
    pull: float


class Evidence(NamedTuple):
    """One segment against another: `beyond` = `base` + the sum of all pulls, the distance beyond the boundary, model units."""

    segment: str
    against: str
    beyond: float
    base: float
    """What is left for a customer midway between what is typical of the two; near zero where medians are near the centres."""
    parts: tuple[Part, ...]
    """The strongest first."""


def evidence(features: Mapping[str, Any], segment: str, against: str, model: Model) -> Evidence:
    """Why she (features in raw units) is in `segment` and not in `against`; both are ids of the model's segments."""
    a = model.artifact
    place = {s.id: i for i, s in enumerate(model.segments)}
    own, other = a.centroids[place[segment]], a.centroids[place[against]]
    gap = math.dist(own, other)
    way = [(x - y) / gap for x, y in zip(own, other, strict=True)]
    middle = sum(w * (x + y) / 2 for w, x, y in zip(way, own, other, strict=True))
    base = _dot(way, a.bias) - middle
    parts = []
    here, there = (model.segments[place[s]].medians for s in (segment, against))
    for number in a.numbers:
        value = features.get(number.feature)
        transform = TRANSFORMS[number.transform]
        x = number.default if value is None else transform(value)
        typical = [transform(medians[number.feature]) for medians in (here, there) if number.feature in medians]
        midway = sum(typical) / 2 if len(typical) == 2 else number.default
        weight = _dot(way, number.weights)
        base += weight * midway
        found = Part(number.feature, value, here.get(number.feature), there.get(number.feature), weight * (x - midway))
        parts.append(found)
    for category in a.categories:
        label = features.get(category.feature)
        row = category.table.get(UNKNOWN if label is None else label, category.unseen)
        parts.append(Part(category.feature, label, None, None, _dot(way, row)))
    parts.sort(key=lambda part: -abs(part.pull))
    return Evidence(segment, against, base + sum(part.pull for part in parts), base, tuple(parts))


def _dot(a: Any, b: Any) -> float:
    return float(sum(x * y for x, y in zip(a, b, strict=True)))


def rival(distances: Mapping[str, float], segment: str, model: Model) -> str | None:
    """The segment whose boundary is nearest to her, seen from `segment`; None where there is no other."""
    place = {s.id: model.artifact.centroids[i] for i, s in enumerate(model.segments)}
    own = distances[segment]
    others = {
        s: (d * d - own * own) / math.dist(place[s], place[segment]) for s, d in distances.items() if s != segment
    }
    return min(others, key=others.__getitem__, default=None)


def words(found: Evidence, model: Model) -> str:
    """The reason in one or two sentences."""
    name, other = model.names[found.segment], model.names[found.against]
    strong = [part for part in found.parts if part.pull * found.beyond > 0][:2]
    if not strong:
        return f"She is about as close to {other} as to {name}."
    said = " and ".join(_said(part) for part in strong)
    if found.beyond < 0:
        return f"Her {said} already speak for {other}; she stays in {name} until she is clearly beyond the boundary."
    return f"She is in {name} rather than {other} mostly by her {said}."


def _said(part: Part) -> str:
    label = FEATURES[part.feature].label
    if isinstance(part.value, float) and part.here is not None and part.there is not None:
        return f"{label} ({quantity(part.feature, part.value)}; typical here {quantity(part.feature, part.here)}, there {quantity(part.feature, part.there)})"
    return f"{label} ({quantity(part.feature, part.value)})"


def quantity(feature: str, value: float | str | None) -> str:
    """A feature's value as people read it.

    >>> quantity("return_rate", 0.125), quantity("gross_spend", 1830.5), quantity("orders", 3.0), quantity("brand", None)
    ('12%', '1,830.50', '3', 'not known')
    """
    if value is None:
        return "not known"
    if isinstance(value, str):
        return value
    unit = FEATURES[feature].unit if feature in FEATURES else ""
    if unit == "share":
        return f"{value:.0%}"
    if unit == "money":
        return f"{value:,.2f}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
