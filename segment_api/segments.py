"""Segments: what they are, how many are in them now, how that came, who goes where, and who is in one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from schemas.artifact import PROSPECT
from schemas.changes import Cause
from schemas.events import MAX_ID
from schemas.model import Model
from schemas.times import rfc3339
from segment_api import descriptions, trends
from segment_api.changes import Causes
from segment_api.descriptions import Description
from segment_api.members import Members, listed, table
from segment_api.problems import Problem, responses
from segment_api.services import Services
from segment_api.typical import Typical, portrait

_CSV: Final = (
    "user_id,segment,name,margin,event_time,orders\r\n4711,s3,Frequent big spenders,0.41,2026-01-31T10:00:00Z,12.0\r\n"
)

SegmentId = Annotated[str, Path(max_length=64, examples=["s3"])]
Window = Annotated[Literal["15m", "1h", "24h", "7d", "30d"], Query(description="How far back.")]


class SegmentCard(BaseModel):
    """One segment: what it was when the model was trained, and how many are in it now."""

    id: str
    name: str
    description: str = Field("", description="In someone's words; kept with the id across models.")
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
    typical: list[Typical] = Field(description="What tells those in it now from everyone, the strongest first.")
    live_spend: float | None = Field(description="Gross spend of all in it; null where the model does not know it.")
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


class SpendPoint(BaseModel):
    """What the customers of each segment have spent together, at a moment."""

    at: str
    spend: dict[str, float]


class SpendTrend(BaseModel):
    """Spend over time, counted by this API; it begins when it first ran."""

    window: str
    points: list[SpendPoint]


class Described(BaseModel):
    """A segment in someone's words."""

    segment: str
    description: str
    by: str
    at: str


class Words(BaseModel):
    """What to write about a segment; empty removes it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"description": "Order monthly and return little."}]}
    )
    description: str = Field(max_length=500)


def cards(
    model: Model, sizes: Mapping[str, int], said: Mapping[str, Description] = MappingProxyType({})
) -> list[SegmentCard]:
    """The cards of the active model's segments, prospects last."""
    made = [
        SegmentCard(
            id=s.id,
            name=s.name,
            description=said[s.id].text if s.id in said else "",
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
        name=model.names[PROSPECT],
        description=said[PROSPECT].text if PROSPECT in said else "",
        customers=sizes.get(PROSPECT, 0),
        trained_size=None,
        trained_share=None,
        medians={},
        top={},
    )
    return [*made, prospects]


def card(
    model: Model, sizes: Mapping[str, int], segment: str, said: Mapping[str, Description] = MappingProxyType({})
) -> SegmentCard:
    """One of the cards. Raises Problem where there is no such segment."""
    found = next((c for c in cards(model, sizes, said) if c.id == segment), None)
    if found is None:
        known = ", ".join([*(s.id for s in model.segments), PROSPECT])
        raise Problem(404, "Not Found", f"Segment {segment!r} is none of the active model's; there are {known}.")
    return found


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


async def spent(services: Services, window: str) -> SpendTrend:
    """Spend over time."""
    found = await run_in_threadpool(services.spending.trend, services.now(), window)
    points = [SpendPoint(at=rfc3339(p.at * 1_000_000), spend=p.spend) for p in found]
    return SpendTrend(window=window, points=points)


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


def router(services: Services) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/segments", tags=["segments"])

    @api.get("", responses=responses(401, 429, 503))
    async def every() -> Segments:
        """The segments of the active model with their live sizes."""
        model = services.model()
        return Segments(model_id=model.id, segments=cards(model, await services.sizes(), await services.descriptions()))

    @api.get("/trend", responses=responses(401, 422, 429, 503))
    async def trend(window: Window = "24h") -> Trend:
        """Customers per segment over time."""
        return await history(services, window)

    @api.get("/spend", responses=responses(401, 422, 429))
    async def spend(window: Window = "24h") -> SpendTrend:
        """What the customers of each segment have spent together, over time."""
        return await spent(services, window)

    @api.get("/migrations", responses=responses(401, 422, 429, 503))
    async def migrations(window: Window = "24h", cause: Causes = None) -> Migrations:
        """Who went from which segment to which, and why."""
        return await moved(services, window, tuple(cause or ()))

    @api.get("/{segment}", responses=responses(401, 404, 422, 429, 503))
    async def one(segment: SegmentId) -> Detail:
        """One segment, with what its customers are like now."""
        model = services.model()
        found = card(model, await services.sizes(), segment, await services.descriptions())
        now = await run_in_threadpool(portrait, services.mirror.index, segment)
        return Detail(
            **found.model_dump(), model_id=model.id, live_medians=now.medians, typical=now.typical, live_spend=now.spend
        )

    @api.put("/{segment}/description", responses=responses(401, 403, 404, 413, 422, 429, 503))
    async def describe(segment: SegmentId, words: Words, request: Request) -> Described:
        """Say what a segment is, in your words; they stay with its id when a new model takes over."""
        card(services.model(), {}, segment)
        made = Description(text=words.description.strip(), by=request.state.caller.name, at=rfc3339(services.clock()))
        await descriptions.write(services.redis, services.settings.prefix, segment, made)
        return Described(segment=segment, description=made.text, by=made.by, at=made.at)

    @api.get("/{segment}/members", responses=responses(401, 404, 422, 429, 503))
    async def members(
        segment: SegmentId,
        after: Annotated[str, Query(max_length=MAX_ID, description="`next` of the page before.")] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Members:
        """Who is in a segment, page by page."""
        card(services.model(), await services.sizes(), segment)
        return await listed(services, segment, after, limit)

    @api.get(
        "/{segment}/members.csv",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {"example": _CSV}}}, **responses(401, 404, 422, 429, 503)},
    )
    async def export(segment: SegmentId) -> StreamingResponse:
        """Everyone in a segment as CSV, in the order of their ids."""
        model = services.model()
        card(model, {}, segment)
        user_ids = await run_in_threadpool(services.index().members, segment)
        headers = {"Content-Disposition": f'attachment; filename="{segment}.csv"'}
        return StreamingResponse(table(services, model, user_ids, segment), media_type="text/csv", headers=headers)

    return api
