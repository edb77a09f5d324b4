"""Customers who are like one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from segment_api.index import By, Index, Neighbour
from segment_api.problems import responses
from segment_api.services import Services
from segment_api.users import UserId

Count = Annotated[int, Query(ge=1, le=100, description="How many.")]
Space = Annotated[
    By,
    Query(
        description="Distance in model space, or the angle in its first two dimensions, as the published walk-through has it."
    ),
]


class Alike(BaseModel):
    """Someone like her."""

    user_id: str
    segment: str
    name: str
    distance: float | None = Field(None, description="Model units; of `euclidean`.")
    cosine: float | None = Field(None, description="1: the same direction; of `cosine`.")


class Similar(BaseModel):
    """The nearest first; of equals, those with the smaller ids."""

    user_id: str | None
    by: By
    customers: int = Field(description="Among how many.")
    similar: list[Alike]
    model_id: str


async def alike(index: Index, features: dict[str, Any], k: int, by: By, user_id: str | None = None) -> Similar:
    """Customers like one with these features (raw units), leaving herself out."""

    def search() -> list[Neighbour]:
        place = index.model.project_features([features])[0].tolist()
        return index.similar(place, k, by, but=user_id or "")

    found = await run_in_threadpool(search)
    names = index.model.names
    return Similar(
        user_id=user_id,
        by=by,
        customers=len(index),
        similar=[
            Alike(
                user_id=n.user_id,
                segment=n.segment,
                name=names.get(n.segment, n.segment),
                **{"distance" if by == "euclidean" else "cosine": n.score},
            )
            for n in found
        ],
        model_id=index.model.id,
    )


def router(services: Services) -> APIRouter:
    """The endpoint."""
    api = APIRouter(prefix="/v1/users", tags=["customers"])

    @api.get("/{user_id}/similar", responses=responses(401, 404, 422, 429, 503))
    async def similar(user_id: UserId, k: Count = 5, by: Space = "euclidean") -> Similar:
        """The customers most like one, among all who have ordered; exact."""
        row = await services.membership(user_id)
        return await alike(services.index(), row.features, k, by, user_id)

    return api
