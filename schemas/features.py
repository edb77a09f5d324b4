"""From what is known of a customer to numbers, by a named feature spec: each formula is written once, here.

`Facts` are the exact, integer-or-text primitives that both sides can count: the stream in a profile, the warehouse by SQL. Every
formula reads these and nothing else (`Countable`), so that stream and warehouse cannot disagree on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from schemas import places, recency

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
    last_order_at: int | None = None
    """When the latest of the orders not cancelled was placed, microseconds."""
    today: int = 0
    """The day as of which all this is read (UTC, counted from 1970): no fact of hers, but what recency is counted to."""
    shares: dict[str, float] = {}
    """Share of the items that have a label, by the name of the feature; of the labels that were asked for, those she has chosen."""

    def share(self, feature: str) -> float | None:
        """One of the shares; None where there are no items."""
        return self.shares.get(feature, 0.0) if self.items else None


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
    @property
    def last_order_at(self) -> int | None: ...
    @property
    def today(self) -> int: ...
    def share(self, feature: str) -> float | None: ...


def facts(known: Countable, shares: Sequence[str] = ()) -> Facts:
    """The facts that a profile holds now; `shares` are the features of that kind that are asked for."""
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
        known.last_order_at,
        known.today,
        {name: share for name in shares if (share := known.share(name))},
    )


class Feature(msgspec.Struct, frozen=True):
    """One feature: its meaning for people, the facts it needs and its formula.

    Its twin in SQL is in `batch_trainer.formulas`, under the same name.
    """

    name: str
    label: str
    kind: Literal["number", "category"]
    needs: tuple[str, ...]
    formula: Callable[[Countable], float | str | None]
    unit: str = ""
    version: int = 1
    """Rises whenever the formula changes: a model that was trained on another one is refused."""
    since: int = 1
    """The format of the artifact that brought it: older readers refuse a model that uses it."""
    due: Callable[[Countable], int | None] | None = None
    """Of a feature that changes by time alone: the day after `today` on which its value is another, None where it stays."""


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole else 0.0


def _recency(f: Countable) -> float | None:
    return None if f.last_order_at is None else float(recency.step(f.last_order_at, f.today))


def _recency_due(f: Countable) -> int | None:
    return None if f.last_order_at is None else recency.due(f.last_order_at, f.today)


def _known_traits(f: Countable) -> float:
    return float(sum(trait is not None for trait in (f.age, f.gender, f.country)))


SHARES: Final = {"category_share": "category", "brand_share": "brand"}
"""Families of features, one for each label: `category_share:Jeans`. Which labels there are is the trainer's choice (`*` before it)."""


def is_share(name: str) -> bool:
    """Whether a feature is the share of a label among a customer's items.

    >>> is_share("category_share:Jeans"), is_share("category_share"), is_share("category")
    (True, False, False)
    """
    family, colon, _ = name.partition(":")
    return bool(colon) and family in SHARES


@lru_cache(4096)
def _share_of(name: str) -> Feature:
    if not is_share(name):
        raise KeyError(name)
    family, _, label = name.partition(":")
    kind = SHARES[family]
    return Feature(name, f"share of {label}", "number", (kind,), lambda f: f.share(name), "share", since=2)


class _Features(dict[str, Feature]):
    """The features by name; those of a family are made when they are asked for."""

    def __missing__(self, name: str) -> Feature:
        return _share_of(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and is_share(name))


FEATURES: Final = _Features(
    (feature.name, feature)
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
        Feature(
            "recency",
            "days since the last order",
            "number",
            ("last_order_at",),
            _recency,
            "days",
            since=2,
            due=_recency_due,
        ),
        Feature("age", "age", "number", ("age",), lambda f: None if f.age is None else float(f.age), "years"),
        Feature("age_band", "age band", "category", ("age",), lambda f: places.band(f.age), since=2),
        Feature("gender", "gender", "category", ("gender",), lambda f: f.gender),
        Feature("country", "country", "category", ("country",), lambda f: f.country),
        Feature("region", "region", "category", ("country",), lambda f: places.region(f.country), since=2),
        Feature("known_traits", "known traits", "number", (), _known_traits, since=2),
        Feature(
            "known_country", "country known", "number", ("country",), lambda f: float(f.country is not None), since=2
        ),
        Feature("traffic_source", "traffic source", "category", ("traffic_source",), lambda f: f.traffic_source),
        Feature("brand", "most frequent brand", "category", ("brand",), lambda f: f.brand),
        Feature("category", "most frequent category", "category", ("category",), lambda f: f.category),
    )
)


class Column(msgspec.Struct, frozen=True):
    """One input of the distance: a feature and how it is transformed (`log1p`, `identity`, or `share`: as it is, and only centred;
    categories are one-hot, which are only centred too)."""

    feature: str
    transform: Literal["identity", "log1p", "share", "onehot"] = "identity"


class Population(NamedTuple):
    """Who is segmented, in words, and what those are called who are not."""

    inside: str
    outside: str
    reserved: str
    """The name of the reserved segment."""
    buyers: bool = False
    """Whether it takes an order to be segmented."""


_BUYERS: Final = Population("with orders", "without orders", "Prospects", buyers=True)
POPULATIONS: Final = {
    "orders": _BUYERS,
    "placed_orders": _BUYERS,
    "items": Population("with known purchases", "without known purchases", "Prospects", buyers=True),
    "known_traits": Population("of known age, gender or country", "of whom neither is known", "Unknown"),
    "known_country": Population("of known country", "of unknown country", "Unknown"),
}
"""By the feature that is zero for whoever is not segmented."""


class FeatureSpec(msgspec.Struct, frozen=True):
    """Which features make the distance, which describe a segment, and who is segmented at all."""

    name: str
    columns: tuple[Column, ...]
    profile: tuple[str, ...]
    """Features that describe segments in reports; they have no part in the distance unless they are columns too."""
    population: Literal["orders", "placed_orders", "items", "known_traits", "known_country"] = "orders"
    """A customer of whom this is zero is in the reserved segment: see POPULATIONS."""

    def numbers(self) -> tuple[Column, ...]:
        """The numeric columns, in order."""
        return tuple(column for column in self.columns if column.transform != "onehot")

    def categories(self) -> tuple[Column, ...]:
        """The categorical columns, in order."""
        return tuple(column for column in self.columns if column.transform == "onehot")

    def features(self) -> tuple[str, ...]:
        """Every feature that is used, columns first."""
        return tuple(dict.fromkeys([*(column.feature for column in self.columns), *self.profile, self.population]))

    def since(self) -> int:
        """The oldest format of the artifact whose readers know all of them."""
        return max((FEATURES[name].since for name in self.features()), default=1)

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

RFM: Final = FeatureSpec(
    name="rfm",
    columns=(Column("recency", "log1p"), Column("orders", "log1p"), Column("gross_spend", "log1p")),
    profile=BEHAVIOUR.profile,
)

DEMOGRAPHIC: Final = FeatureSpec(
    name="demographic",
    columns=(Column("age_band", "onehot"), Column("gender", "onehot"), Column("country", "onehot")),
    profile=("age", "age_band", "gender", "country", "traffic_source", "placed_orders", "gross_spend", "category"),
    population="known_traits",
)

GEOGRAPHIC: Final = FeatureSpec(
    name="geographic",
    columns=(Column("region", "onehot"), Column("country", "onehot")),
    profile=("country", "region", "age", "gender", "placed_orders", "gross_spend", "category"),
    population="known_country",
)

PSYCHOGRAPHIC: Final = FeatureSpec(
    name="psychographic",
    columns=(Column("category_share:*", "share"), Column("brand_share:*", "share")),
    profile=("category", "brand", "age", "gender", "country", "placed_orders", "gross_spend"),
    population="items",
)

SPECS: Final = {spec.name: spec for spec in (BEHAVIOUR, ARTICLE, RFM, DEMOGRAPHIC, GEOGRAPHIC, PSYCHOGRAPHIC)}


def _log1p(value: float) -> float:
    return math.log1p(value) if value > 0.0 else 0.0  # spend below zero (corrections) counts as none


TRANSFORMS: Final[dict[str, Callable[[float], float]]] = {"identity": float, "log1p": _log1p, "share": float}
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
