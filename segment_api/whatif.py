"""A customer who does not exist (yet): which segment would she be in?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.events import TRAITS, OrderCompleted
from schemas.features import Facts, facts, raw
from schemas.model import Model
from schemas.money import MAX_MINOR, to_minor
from schemas.profile import Profile, update
from segment_api import similar as neighbours
from segment_api.problems import Problem, responses
from segment_api.services import Services

Amount = Annotated[float, Field(ge=-MAX_MINOR / 100, le=MAX_MINOR / 100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Label = Annotated[str, Field(max_length=200)]


_LIKE: Final = Query(ge=0, le=100, description="Customers like her to name; needs the scope `read` too.")


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
    recency: Count = Field(0, description="Days since her last order, where she has one.")
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

    @model_validator(mode="after")
    def _one_way(self) -> WhatIf:
        if self.orders is not None and self.facts is not None:
            raise ValueError("say what she ordered by `orders` or by `facts`, not by both")
        return self

    def known(self, shares: Sequence[str] = ()) -> Facts:
        """The facts of this customer; the `shares` of labels are known where she is told by her orders."""
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
                last_order_at=0 if f.orders else None,
                today=f.recency,
                **traits,  # type: ignore[arg-type]
            )
        profile = Profile(
            traits={number: (0, value) for number, name in enumerate(TRAITS) if (value := traits[name]) is not None}
        )
        for number, order in enumerate(self.orders or ()):
            brands = tuple(product.brand or None for product in order.products)
            categories = tuple(product.category or None for product in order.products)
            cost = sum(to_minor(product.price) * product.quantity for product in order.products)
            total = cost if order.total is None else to_minor(order.total)
            update(profile, OrderCompleted("", str(number), number, total, brands, categories, "", False))
        return facts(profile, shares)


class Answer(BaseModel):
    """Where she would be."""

    segment: str = Field(examples=["s3"])
    name: str = Field(examples=["Frequent big spenders"])
    margin: float = Field(description="Distance to the boundary of the segment, model units.")
    distances: dict[str, float] = Field(description="Distance to the centre of each segment, model units.")
    features: dict[str, Any]
    model_id: str
    similar: neighbours.Similar | None = Field(None, description="The customers most like her, where asked for.")


def answer(model: Model, question: WhatIf) -> Answer:
    """The segment of the customer asked about."""
    known = question.known(model.shares)
    segment, _, margin, _ = model.assign(known, None)
    return Answer(
        segment=segment,
        name=model.names[segment],
        margin=margin,
        distances=dict(zip((s.id for s in model.segments), model.distances(known), strict=True)),
        features=raw(model.feature_names, known),
        model_id=model.id,
    )


def router(services: Services) -> APIRouter:
    """The endpoint."""
    api = APIRouter(prefix="/v1", tags=["customers"])

    @api.post("/what-if", responses=responses(401, 403, 413, 422, 429, 503))
    async def what_if(
        question: WhatIf, request: Request, like: Annotated[int, _LIKE] = 0, by: neighbours.Space = "euclidean"
    ) -> Answer:
        """The segment of a customer who does not exist, her distance to each, and who is like her."""
        model = services.model()
        found = answer(model, question)
        if like:
            if not request.state.caller.may("read"):
                raise Problem(403, "Forbidden", "Naming customers who are like her needs the scope 'read'.")
            found.similar = await neighbours.alike(services.index(), found.features, like, by)
        return found

    return api
