"""A customer who does not exist (yet): which segment would she be in?"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import TRAITS, OrderCompleted
from schemas.features import Facts, facts, raw
from schemas.model import Model
from schemas.money import MAX_MINOR, to_minor
from schemas.profile import Profile, update

Amount = Annotated[float, Field(ge=-MAX_MINOR / 100, le=MAX_MINOR / 100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Label = Annotated[str, Field(max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Product(_Strict):
    """One line of an order."""

    brand: Label | None = None
    category: Label | None = None
    price: Amount = 0.0
    quantity: Count = 1


class Order(_Strict):
    """An order she would place; without `total` the sum of its products."""

    total: Amount | None = None
    products: list[Product] = Field(default_factory=list, max_length=200)


class Known(_Strict):
    """What can be counted of a customer, instead of a list of orders; `spend` in the shop's currency."""

    orders: Count = 0
    placed_orders: Count | None = Field(None, description="Default: as many as `orders`.")
    items: Count = 0
    spend: Amount = 0.0
    categories: Count = 0
    returned_orders: Count = 0
    brand: Label | None = None
    category: Label | None = None


class WhatIf(_Strict):
    """The customer to try: her traits, and either facts or orders."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"age": 34, "gender": "F", "orders": [{"products": [{"category": "Jeans", "price": 59.9}]}]},
                {"facts": {"orders": 5, "spend": 812.4, "categories": 3}},
            ]
        },
    )
    age: Annotated[int, Field(ge=0, le=150)] | None = None
    gender: Label | None = None
    country: Label | None = None
    traffic_source: Label | None = None
    orders: list[Order] | None = Field(None, max_length=1000)
    facts: Known | None = None

    def known(self) -> Facts:
        """The facts of this customer."""
        traits = {
            "age": self.age,
            "gender": self.gender,
            "country": self.country,
            "traffic_source": self.traffic_source,
        }
        if self.facts is not None:
            f = self.facts
            return Facts(
                placed_orders=f.orders if f.placed_orders is None else f.placed_orders,
                orders=f.orders,
                items=f.items,
                spend=to_minor(f.spend),
                categories=f.categories,
                returned_orders=f.returned_orders,
                brand=f.brand,
                category=f.category,
                **traits,  # type: ignore[arg-type]
            )
        profile = Profile(
            traits={number: (0, value) for number, name in enumerate(TRAITS) if (value := traits[name]) is not None}  # type: ignore[misc]
        )
        for number, order in enumerate(self.orders or ()):
            brands = tuple(product.brand or None for product in order.products)
            categories = tuple(product.category or None for product in order.products)
            cost = sum(to_minor(product.price) * product.quantity for product in order.products)
            total = cost if order.total is None else to_minor(order.total)
            update(profile, OrderCompleted("", str(number), number, total, brands, categories, "", False))
        return facts(profile)


class Answer(BaseModel):
    """Where she would be."""

    segment: str = Field(examples=["s3"])
    name: str = Field(examples=["Frequent big spenders"])
    margin: float = Field(description="Distance to the boundary of the segment, model units.")
    distances: dict[str, float] = Field(description="Distance to the centre of each segment, model units.")
    features: dict[str, Any]
    model_id: str


def answer(model: Model, question: WhatIf) -> Answer:
    """The segment of the customer asked about."""
    known = question.known()
    segment, _, margin, _ = model.assign(known, None)
    return Answer(
        segment=segment,
        name=model.names[segment],
        margin=margin,
        distances=dict(zip((s.id for s in model.segments), model.distances(known), strict=True)),
        features=raw(model.feature_names, known),
        model_id=model.id,
    )
