"""The form of a customer who does not exist: its sliders follow the model, its answer is the what-if endpoint's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.features import Facts, raw
from schemas.model import Model
from segment_api.whatif import Known, WhatIf


class Slider(NamedTuple):
    """A number to choose."""

    name: str
    label: str
    low: int
    high: int
    step: int
    value: int


class Choice(NamedTuple):
    """A value to choose."""

    name: str
    label: str
    options: tuple[str, ...]
    value: str


class Form(NamedTuple):
    """The form as filled in, and the customer it means."""

    fields: list[Slider]
    choices: list[Choice]
    known: Facts


_SLIDERS: Final = (
    ("orders", "orders", "orders", 20),
    ("value", "value of an order", "average_order_value", 200),
    ("categories", "different categories", "categories", 10),
    ("returned", "orders that came back", "", 5),
    ("age", "age", "age", 90),
)
"""Name, label, the feature whose medians set the range, and the least end of the range."""


def form(model: Model, given: Mapping[str, str]) -> Form:
    """The form for this model, with what was given; nonsense counts as nothing."""
    used = set(model.feature_names)
    fields = []
    for name, label, feature, least in _SLIDERS:
        if name == "age" and "age" not in {c.feature for c in model.spec.columns}:
            continue
        medians = [s.medians[feature] for s in model.segments if feature in s.medians]
        high = max(least, _round_up(4 * max(medians, default=0.0))) if name != "age" else least
        start = round(sorted(medians)[len(medians) // 2]) if medians else 0
        step = max(1, high // 200)
        fields.append(Slider(name, label, 0, high, step, min(high, _whole(given.get(name), start))))
    tops = {
        n: [v for s in model.segments for v, _ in s.top.get(n, ())]
        for n in ("gender", "country", "traffic_source", "brand", "category")
    }
    distance = {c.feature for c in model.spec.categories()}
    choices = [
        Choice(n, n.replace("_", " "), tuple(dict.fromkeys(values)), given.get(n, ""))
        for n, values in tops.items()
        if n in distance & used
    ]
    value = {field.name: field.value for field in fields}
    labels = {choice.name: choice.value[:200] or None for choice in choices}
    facts = Known(
        orders=value["orders"],
        items=value["orders"],
        spend=float(value["orders"] * value["value"]),
        categories=min(value["categories"], 1_000_000),
        returned_orders=min(value["returned"], value["orders"]),
        brand=labels.pop("brand", None),
        category=labels.pop("category", None),
    )
    return Form(fields, choices, WhatIf(facts=facts, age=value.get("age"), **labels).known())


def features(model: Model, known: Facts) -> dict[str, Any]:
    """Her features in raw units."""
    return raw(model.feature_names, known)


def distances(model: Model, known: Facts) -> list[tuple[str, str, float]]:
    """Segment, name and distance to its centre, the nearest first."""
    rows = [(s.id, s.name, d) for s, d in zip(model.segments, model.distances(known), strict=True)]
    return sorted(rows, key=lambda row: row[2])


def _whole(text: str | None, default: int) -> int:
    with contextlib.suppress(ValueError):
        return max(0, int(text)) if text else default
    return default


def _round_up(value: float) -> int:
    step = 10 ** max(0, len(str(int(value))) - 1)
    return int(-(-value // step) * step)
