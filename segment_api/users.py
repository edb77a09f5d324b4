"""Single customers: where one is, where many are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from schemas.events import MAX_ID
from schemas.membership import Membership
from schemas.times import to_micros
from segment_api.conditional import IfNoneMatch, holds, unchanged
from segment_api.problems import responses
from segment_api.services import Services

MOST: Final = 500
"""Customers of one call."""
UserId = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="The shop's user id.", examples=["4711"])]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]


class User(BaseModel):
    """Where a customer is, why, and how fresh that is."""

    user_id: str
    segment: str = Field(description="Stable segment id.")
    name: str
    nearest: str = Field(
        description="Segment of the nearest centre; differs from `segment` only within the hysteresis."
    )
    margin: float = Field(description="Distance to the boundary of `nearest`, model units.")
    features: dict[str, Any] = Field(description="Raw units; null: not known.")
    model_id: str
    sequence: int = Field(description="Counts her segment changes.")
    event_time: str = Field(description="Time of her latest event.")
    projected_at: str
    likely_segment: str | None = Field(
        None,
        description="Of a prospect: the segment she will likely be in when she buys; null where the model is silent.",
    )
    likely_name: str | None = None
    likely_probability: float | None = None
    freshness_seconds: float = Field(description="Age of this picture: now minus `projected_at`.")


class Asked(BaseModel):
    """Whom to look up."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user_ids": ["4711", "4712"]}]})
    user_ids: list[Id] = Field(min_length=1, max_length=MOST)


class Users(BaseModel):
    """Those who are known, in the order asked for, and the ids of those who are not."""

    users: list[User]
    unknown: list[str]


_FIELDS: Final = tuple(name for name in User.model_fields if name != "freshness_seconds")
_encode: Final = msgspec.json.Encoder().encode


def _told(row: Membership, now: int) -> dict[str, Any]:
    age = (now - to_micros(datetime.fromisoformat(row.projected_at))) / 1_000_000
    return {name: getattr(row, name) for name in _FIELDS} | {"freshness_seconds": max(0.0, age)}


def told(row: Membership, now: int) -> User:
    """The customer as services see her; `now` in microseconds."""
    return User(**_told(row, now))


def body(row: Membership, now: int) -> bytes:
    """The same as JSON: what was projected has been checked already, and this is asked for most."""
    return _encode(_told(row, now))


def version(row: Membership) -> str:
    """An entity tag: changes whenever anything but the freshness does."""
    return f'W/"{row.sequence}.{row.revision}.{row.model_id}"'


class Frequent(APIRoute):
    """Asked for hundreds of times a second: an id that is one goes straight to the endpoint, for which the framework would take a tenth of the
    process. It describes this route like any other, and says what is wrong with an id that is none."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        thorough, endpoint = super().get_route_handler(), self.endpoint

        async def handler(request: Request) -> Response:
            user_id: str = request.path_params["user_id"]
            if not 0 < len(user_id) <= MAX_ID:
                return await thorough(request)
            answer: Response = await endpoint(user_id, request.headers.get("if-none-match"))
            return answer

        return handler


def router(services: Services) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/users", tags=["customers"])

    async def user(
        user_id: UserId,
        known: IfNoneMatch = None,
    ) -> Response:
        """Where a customer is, now."""
        found = await services.membership(user_id)
        tag = version(found)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if holds(tag, known):
            return unchanged(headers)
        return Response(body(found, services.clock()), headers=headers, media_type="application/json")

    problems = responses(401, 404, 422, 429, 503)
    api.add_api_route("/{user_id}", user, response_model=User, responses=problems, route_class_override=Frequent)

    @api.post("/batch", responses=responses(401, 413, 422, 429, 503))
    async def batch(asked: Asked) -> Users:
        """Where up to 500 customers are, in one round trip; unknown ones are named."""
        ids = list(dict.fromkeys(asked.user_ids))
        now = services.clock()
        rows = dict(zip(ids, await services.memberships(ids), strict=True))
        found = [told(row, now) for row in rows.values() if row is not None]
        return Users(users=found, unknown=[user_id for user_id, row in rows.items() if row is None])

    return api
