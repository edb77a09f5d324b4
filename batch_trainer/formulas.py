"""The features in SQL, over a table of facts: the twins of the formulas in `schemas.features`, under the same names.

The laws in tests/batch_trainer hold each of them against its twin, in every warehouse.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Final

import ibis
from ibis.expr.types import Table, Value

from batch_trainer.counting import share_column
from schemas.features import UNKNOWN, FeatureSpec, is_share
from schemas.places import BANDS, REGIONS
from schemas.recency import STEPS
from schemas.times import DAY


def _ratio(part: Value, whole: Value) -> Value:
    return (whole > 0).ifelse(part / whole.nullif(0).cast("float64"), 0.0)


def _recency(f: Table) -> Value:
    # A whole number of days, so that the division is exact.
    day = ((f.last_order_at - (f.last_order_at % DAY + DAY) % DAY) / DAY).cast("int64")
    steps = [(f.today - day >= step, ibis.literal(float(step))) for step in reversed(STEPS[1:])]
    return ibis.cases((f.last_order_at.isnull(), ibis.null("float64")), *steps, else_=0.0)


def _band(f: Table) -> Value:
    bands = [(f.age >= start, ibis.literal(name)) for start, name in reversed(BANDS[1:])]
    return ibis.cases((f.age.isnull(), ibis.null("string")), *bands, else_=BANDS[0][1])


def _region(f: Table) -> Value:
    written: dict[str, list[str]] = {}
    for country, region in REGIONS.items():
        written.setdefault(region, []).append(country)
    found = [(f.country.isin(countries), ibis.literal(region)) for region, countries in written.items()]
    return ibis.cases(*found, else_=ibis.null("string"))


def _known(*traits: Value) -> Value:
    counts = [trait.notnull().ifelse(1.0, 0.0) for trait in traits]
    return reduce(add, counts)


FORMULAS: Final[dict[str, Callable[[Table], Value]]] = {
    "orders": lambda f: f.orders.cast("float64"),
    "placed_orders": lambda f: f.placed_orders.cast("float64"),
    "items": lambda f: f["items"].cast("float64"),
    "gross_spend": lambda f: f.spend.cast("float64") / 100.0,
    "average_order_value": lambda f: _ratio(f.spend.cast("float64") / 100.0, f.orders),
    "categories": lambda f: f.categories.cast("float64"),
    "return_rate": lambda f: ibis.least(_ratio(f.returned_orders.cast("float64"), f.orders), 1.0),
    "recency": _recency,
    "age": lambda f: f.age.cast("float64"),
    "age_band": _band,
    "gender": lambda f: f.gender,
    "country": lambda f: f.country,
    "region": _region,
    "known_traits": lambda f: _known(f.age, f.gender, f.country),
    "known_country": lambda f: _known(f.country),
    "traffic_source": lambda f: f.traffic_source,
    "brand": lambda f: f.brand,
    "category": lambda f: f.category,
}


def _share(feature: str, f: Table) -> Value:
    return f[share_column(feature)].cast("float64") / f["items"].nullif(0).cast("float64")


def number(feature: str, transform: str, facts: Table) -> Value:
    """A numeric feature as it enters the distance; NULL where it is not known."""
    value = _share(feature, facts) if is_share(feature) else FORMULAS[feature](facts)
    return (value > 0).ifelse((value.abs() + 1.0).ln(), value * 0.0) if transform == "log1p" else value


def label(feature: str, facts: Table) -> Value:
    """A categorical feature; `(unknown)` where it is not known."""
    return FORMULAS[feature](facts).fill_null(UNKNOWN)


def counted(spec: FeatureSpec, facts: Table) -> Value:
    """Whether a customer is segmented at all."""
    return FORMULAS[spec.population](facts) > 0
