"""Segments: what they are, how many are in them now, how that came, who goes where, and who is in one."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Path, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from schemas.changes import Cause
from schemas.events import MAX_ID
from schemas.model import PROSPECT, PROSPECT_NAME, Model
from schemas.times import rfc3339
from segment_api import trends
from segment_api.changes import Causes
from segment_api.index import Index
from segment_api.problems import Problem, responses
from segment_api.services import Services
from segment_api.users import User, told

SegmentId = Annotated[str, Path(max_length=64, examples=["s3"])]
Window = Annotated[Literal["15m", "1h", "24h", "7d", "30d"], Query(description="How far back.")]


class SegmentCard(BaseModel):
    """One segment: what it was when the model was trained, and how many are in it now."""

    id: str
    name: str
    customers: int = Field(description="Live.")
    trained_size: int | None
    trained_share: float | None
    medians: dict[str, float] = Field(description="At training, raw units.")
    top: dict[str, list[tuple[str, float]]] = Field(
        description="The most frequent values at training, with their share."
    )
    split_of: list[str] = []
    merged_from: list[str] = []


class Segments(BaseModel):
    """All segments of the active model, prospects last."""

    model_id: str
    segments: list[SegmentCard]


class Detail(SegmentCard):
    """One segment more closely."""

    model_id: str
    live_medians: dict[str, float] = Field(description="Of those in it now; empty while everyone is still being read.")


class TrendPoint(BaseModel):
    """Customers per segment at a moment."""

    at: str
    customers: dict[str, int]


class Trend(BaseModel):
    """Sizes over time, as decided by the stream."""

    window: str
    names: dict[str, str]
    points: list[TrendPoint]


class Migration(BaseModel):
    """How many went from one segment to another."""

    from_segment: str | None = Field(description="Null: new customers.")
    from_name: str | None
    to_segment: str
    to_name: str
    cause: Cause
    customers: int


class Migrations(BaseModel):
    """Who went where, the largest flow first."""

    window: str
    migrations: list[Migration]


class Members(BaseModel):
    """Customers of a segment in the order of their ids; `next` is the `after` of the following page, null at the end."""

    segment: str
    members: list[User]
    next: str | None


def cards(model: Model, sizes: dict[str, int]) -> list[SegmentCard]:
    """The cards of the active model's segments, prospects last."""
    made = [
        SegmentCard(
            id=s.id,
            name=s.name,
            customers=sizes.get(s.id, 0),
            trained_size=s.size,
            trained_share=s.share,
            medians=s.medians,
            top={column: list(values) for column, values in s.top.items()},
            split_of=list(s.split_of),
            merged_from=list(s.merged_from),
        )
        for s in model.segments
    ]
    prospects = SegmentCard(
        id=PROSPECT,
        name=PROSPECT_NAME,
        customers=sizes.get(PROSPECT, 0),
        trained_size=None,
        trained_share=None,
        medians={},
        top={},
    )
    return [*made, prospects]


def card(model: Model, sizes: dict[str, int], segment: str) -> SegmentCard:
    """One of the cards. Raises Problem where there is no such segment."""
    found = next((c for c in cards(model, sizes) if c.id == segment), None)
    if found is None:
        known = ", ".join([*(s.id for s in model.segments), PROSPECT])
        raise Problem(404, "Not Found", f"Segment {segment!r} is none of the active model's; there are {known}.")
    return found


def live_medians(index: Index | None, segment: str) -> dict[str, float]:
    """Median of each numeric feature among those in a segment now."""
    if index is None:
        return {}
    columns, codes, names = index.columns()
    here = codes == (names.index(segment) if segment in names else -2)
    found = {name: values[here] for name, values in columns.items()}
    return {name: float(np.nanmedian(v)) for name, v in found.items() if len(v) and not np.isnan(v).all()}


async def history(services: Services, window: str) -> Trend:
    """Sizes over time."""
    sizes, now = await services.sizes(), services.now()
    flows = await run_in_threadpool(services.journal.flows, now - trends.WINDOWS[window][0])
    points = trends.trend(now, sizes, flows, window)
    names = services.model().names
    return Trend(
        window=window,
        names={segment: names.get(segment, f"{segment} (earlier model)") for segment in sizes},
        points=[TrendPoint(at=rfc3339(p.at * 1_000_000), customers=p.customers) for p in points],
    )


async def moved(services: Services, window: str, causes: tuple[str, ...] = ()) -> Migrations:
    """Who went where."""
    since = services.now() - trends.WINDOWS[window][0]
    flows = await run_in_threadpool(services.journal.flows, since)
    names = services.model().names
    rows = [
        Migration(
            **m._asdict(),
            from_name=None if m.from_segment is None else names.get(m.from_segment, m.from_segment),
            to_name=names.get(m.to_segment, m.to_segment),
        )
        for m in trends.migrations(flows, since, causes)
    ]
    return Migrations(window=window, migrations=rows)


async def listed(services: Services, segment: str, after: str, limit: int) -> Members:
    """A page of a segment's customers."""
    found = await run_in_threadpool(services.index().members, segment, after, limit + 1)
    rows, now = await services.memberships(found[:limit]), services.clock()
    members = [told(row, now) for row in rows if row is not None]
    return Members(segment=segment, members=members, next=found[limit - 1] if len(found) > limit else None)


def router(services: Services) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/segments", tags=["segments"])

    @api.get("", responses=responses(401, 429, 503))
    async def every() -> Segments:
        """The segments of the active model with their live sizes."""
        model = services.model()
        return Segments(model_id=model.id, segments=cards(model, await services.sizes()))

    @api.get("/trend", responses=responses(401, 422, 429, 503))
    async def trend(window: Window = "24h") -> Trend:
        """Customers per segment over time."""
        return await history(services, window)

    @api.get("/migrations", responses=responses(401, 422, 429, 503))
    async def migrations(window: Window = "24h", cause: Causes = None) -> Migrations:
        """Who went from which segment to which, and why."""
        return await moved(services, window, tuple(cause or ()))

    @api.get("/{segment}", responses=responses(401, 404, 422, 429, 503))
    async def one(segment: SegmentId) -> Detail:
        """One segment, with what its customers are like now."""
        model = services.model()
        found = card(model, await services.sizes(), segment)
        medians = await run_in_threadpool(live_medians, services.mirror.index, segment)
        return Detail(**found.model_dump(), model_id=model.id, live_medians=medians)

    @api.get("/{segment}/members", responses=responses(401, 404, 422, 429, 503))
    async def members(
        segment: SegmentId,
        after: Annotated[str, Query(max_length=MAX_ID, description="`next` of the page before.")] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Members:
        """Who is in a segment, page by page."""
        card(services.model(), await services.sizes(), segment)
        return await listed(services, segment, after, limit)

    return api
