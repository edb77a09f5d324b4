"""From what is known of a customer to numbers, by a named feature spec: each formula is written once, here.

`Facts` are the exact, integer-or-text primitives that both sides can count: the stream in a profile, the warehouse by SQL. Every
formula reads these and nothing else (`Countable`), so that stream and warehouse cannot disagree on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import msgspec

UNKNOWN: Final = "(unknown)"
"""The label of a category that is not known."""


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What can be counted of a customer; money in minor units."""

    placed_orders: int = 0
    """Distinct orders, cancelled ones too."""
    orders: int = 0
    """Distinct orders that were not cancelled."""
    items: int = 0
    """Product lines of the orders placed."""
    spend: int = 0
    """Sum of the totals of the orders not cancelled, minor units."""
    categories: int = 0
    """Distinct known categories among the items."""
    returned_orders: int = 0
    """Distinct orders refunded in whole or part and not cancelled."""
    age: int | None = None
    gender: str | None = None
    country: str | None = None
    traffic_source: str | None = None
    brand: str | None = None
    """Most frequent brand among the items; a tie goes to the one chosen last (order time, order id, line)."""
    category: str | None = None
    """Most frequent category, likewise."""


class Countable(Protocol):
    """Whatever has the attributes of Facts: Facts themselves, or a `schemas.profile.Profile` that counts them as it goes."""

    @property
    def placed_orders(self) -> int: ...
    @property
    def orders(self) -> int: ...
    @property
    def items(self) -> int: ...
    @property
    def spend(self) -> int: ...
    @property
    def categories(self) -> int: ...
    @property
    def returned_orders(self) -> int: ...
    @property
    def age(self) -> int | None: ...
    @property
    def gender(self) -> str | None: ...
    @property
    def country(self) -> str | None: ...
    @property
    def traffic_source(self) -> str | None: ...
    @property
    def brand(self) -> str | None: ...
    @property
    def category(self) -> str | None: ...


def facts(known: Countable) -> Facts:
    """The facts that a profile holds now."""
    return Facts(
        known.placed_orders,
        known.orders,
        known.items,
        known.spend,
        known.categories,
        known.returned_orders,
        known.age,
        known.gender,
        known.country,
        known.traffic_source,
        known.brand,
        known.category,
    )


class Feature(msgspec.Struct, frozen=True):
    """One feature: its meaning for people, the facts it needs and its formula. `version` rises whenever the formula changes."""

    name: str
    label: str
    kind: Literal["number", "category"]
    needs: tuple[str, ...]
    formula: Callable[[Countable], float | str | None]
    unit: str = ""
    version: int = 1


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole else 0.0


FEATURES: Final[dict[str, Feature]] = {
    feature.name: feature
    for feature in (
        Feature("orders", "orders", "number", ("orders",), lambda f: float(f.orders)),
        Feature("placed_orders", "orders placed", "number", ("placed_orders",), lambda f: float(f.placed_orders)),
        Feature("items", "items", "number", ("items",), lambda f: float(f.items)),
        Feature("gross_spend", "gross spend", "number", ("spend",), lambda f: f.spend / 100.0, "money"),
        Feature(
            "average_order_value",
            "average order value",
            "number",
            ("spend", "orders"),
            lambda f: f.spend / 100.0 / f.orders if f.orders else 0.0,
            "money",
        ),
        Feature("categories", "different categories", "number", ("categories",), lambda f: float(f.categories)),
        Feature(
            "return_rate",
            "return rate",
            "number",
            ("returned_orders", "orders"),
            lambda f: _share(f.returned_orders, f.orders),
            "share",
        ),
        Feature("age", "age", "number", ("age",), lambda f: None if f.age is None else float(f.age), "years"),
        Feature("gender", "gender", "category", ("gender",), lambda f: f.gender),
        Feature("country", "country", "category", ("country",), lambda f: f.country),
        Feature("traffic_source", "traffic source", "category", ("traffic_source",), lambda f: f.traffic_source),
        Feature("brand", "most frequent brand", "category", ("brand",), lambda f: f.brand),
        Feature("category", "most frequent category", "category", ("category",), lambda f: f.category),
    )
}


class Column(msgspec.Struct, frozen=True):
    """One input of the distance: a feature and how it is transformed (`log1p`, or `identity`; categories are one-hot)."""

    feature: str
    transform: Literal["identity", "log1p", "onehot"] = "identity"


class FeatureSpec(msgspec.Struct, frozen=True):
    """Which features make the distance, which describe a segment, and who is segmented at all."""

    name: str
    columns: tuple[Column, ...]
    profile: tuple[str, ...]
    """Features that describe segments in reports; they have no part in the distance unless they are columns too."""
    population: Literal["orders", "placed_orders"] = "orders"
    """A customer whose count of these is zero is a prospect."""

    def numbers(self) -> tuple[Column, ...]:
        """The numeric columns, in order."""
        return tuple(column for column in self.columns if column.transform != "onehot")

    def categories(self) -> tuple[Column, ...]:
        """The categorical columns, in order."""
        return tuple(column for column in self.columns if column.transform == "onehot")

    def hash(self) -> str:
        """Identifies the spec together with the formulas it uses: equal hashes mean equal numbers."""
        used = [(c.feature, FEATURES[c.feature].version, c.transform) for c in self.columns]
        text = msgspec.json.encode([self.name, used, self.population])
        return hashlib.sha256(text).hexdigest()[:16]


BEHAVIOUR: Final = FeatureSpec(
    name="behaviour",
    columns=(
        Column("orders", "log1p"),
        Column("gross_spend", "log1p"),
        Column("average_order_value", "log1p"),
        Column("categories", "log1p"),
        Column("return_rate"),
    ),
    profile=("age", "gender", "country", "traffic_source", "brand", "category"),
)

ARTICLE: Final = FeatureSpec(
    name="article",
    columns=(
        Column("age"),
        Column("placed_orders"),
        Column("gender", "onehot"),
        Column("country", "onehot"),
        Column("traffic_source", "onehot"),
        Column("brand", "onehot"),
        Column("category", "onehot"),
    ),
    profile=("age", "gender", "country", "traffic_source", "placed_orders", "brand", "category"),
    population="placed_orders",
)

SPECS: Final = {spec.name: spec for spec in (BEHAVIOUR, ARTICLE)}


def _log1p(value: float) -> float:
    return math.log1p(value) if value > 0.0 else 0.0  # spend below zero (corrections) counts as none


TRANSFORMS: Final[dict[str, Callable[[float], float]]] = {"identity": float, "log1p": _log1p}
"""Transform -> a feature's value as it enters the distance. One implementation for all: numpy's log1p differs from math's in the last bit."""


def transformed(transform: str, value: float) -> float:
    """A feature's value as it enters the distance.

    >>> transformed("identity", 3.0), transformed("log1p", 0.0)
    (3.0, 0.0)
    """
    return TRANSFORMS[transform](value)


def number(name: str, known: Countable) -> float | None:
    """A numeric feature in raw units; None where it is not known."""
    return FEATURES[name].formula(known)  # type: ignore[return-value]


def label(name: str, known: Countable) -> str:
    """A categorical feature; `(unknown)` where it is not known."""
    value = FEATURES[name].formula(known)
    return UNKNOWN if value is None else value  # type: ignore[return-value]


def raw(names: Sequence[str], known: Countable) -> dict[str, float | str | None]:
    """Features by name, in raw units, as people read them.

    >>> raw(("orders", "average_order_value"), Facts(orders=2, spend=3000))
    {'orders': 2.0, 'average_order_value': 15.0}
    """
    return {name: FEATURES[name].formula(known) for name in names}


def available(spec: FeatureSpec, known: set[str]) -> FeatureSpec:
    """The spec without the features that a source cannot give; `known` are the names of the facts it has.

    >>> available(BEHAVIOUR, {"orders", "spend"}).numbers()[-1].feature
    'average_order_value'
    """
    return msgspec.structs.replace(
        spec,
        columns=tuple(c for c in spec.columns if set(FEATURES[c.feature].needs) <= known),
        profile=tuple(name for name in spec.profile if set(FEATURES[name].needs) <= known),
    )
