"""Changes of segment: a customer's time line, the latest of everyone, and the stream of those to come; and the drift alerts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from schemas.changes import Cause, SegmentChanged
from schemas.events import MAX_ID
from segment_api.audience import Filter, event, from_event_id, to_event_id
from segment_api.journal import Seen
from segment_api.problems import Problem, responses
from segment_api.services import Services
from segment_api.users import UserId

MISSED: Final = 10_000
"""Changes that are sent again to a listener who comes back."""
CATCHING_UP: Final = 0.25
"""Seconds between looks whether the journal has reached the present."""
TOGETHER: Final = 200
"""Of those, in one write."""
LISTENERS: Final = 200

Limit = Annotated[int, Query(ge=1, le=500, description="How many.")]
OfSegment = Annotated[str, Query(max_length=64, description="Only into or out of this segment (id).", examples=["s3"])]
Causes = Annotated[list[Cause] | None, Query(description="Only for these causes.")]


_STREAM: Final = (
    'event: change\nid: 118035.0.7\ndata: {"change_id":"4711:orders:2:118034:4","user_id":"4711","to_segment":"s3"}\n\n'
)


class Change(BaseModel):
    """A customer has moved from one segment to another, and why; as on `segment-changes`."""

    change_id: str = Field(description="A repeated change carries the same id.")
    user_id: str
    from_segment: str | None = Field(description="Null: she is new.")
    from_name: str | None
    to_segment: str | None = Field(description="Null: she was erased (cause `erasure`); seen in the stream only.")
    to_name: str | None
    cause: Cause
    caused_by: str = Field(description="The event (topic, partition, offset) or the model.")
    model_id: str
    feature_spec: str
    margin: float
    features: dict[str, Any] = Field(description="Raw units, as they were then.")
    event_time: str
    decided_at: str
    sequence: int
    likely_segment: str | None = Field(
        None,
        description="Of a prospect: the segment she will likely be in when she buys; null where the model is silent.",
    )
    likely_name: str | None = None
    likely_probability: float | None = None


class Changes(BaseModel):
    """Changes, the latest first."""

    changes: list[Change]
    caught_up: bool = Field(
        description="False while the API still reads what Kafka holds: older changes may be missing."
    )


class Sign(BaseModel):
    """One signal that speaks, and its two histograms where it has them."""

    signal: str
    feature: str | None
    statistic: float
    threshold: float
    n: int
    direction: str
    bins: list[str]
    reference: list[float] = Field(description="Shares of the training events per bin.")
    current: list[float]
    top: list[str] = Field(description="The bins that contribute most.")


class Alert(BaseModel):
    """The stream no longer looks like the data the model was trained on; the latest step of an alert, as on `drift-alerts`."""

    alert_id: str
    status: str = Field(description="opened, escalated or resolved.")
    level: str
    signal: str
    feature: str | None
    model_id: str
    direction: str
    partition: int
    statistic: float
    threshold: float
    reference_mean: float
    reference_std: float
    n: int
    first_seen: str
    event_time: str
    raised_at: str
    cooldown_until: str
    message: str
    confidence: str
    suggested_action: str
    affected_share: float = Field(description="Share of events that lie elsewhere than they should.")
    affected_segments: dict[str, float] = Field(description="Segment id: its share now minus the share in training.")
    evidence: list[Sign]


class Alerts(BaseModel):
    """Drift alerts, the latest first."""

    alerts: list[Alert]


class Signal(BaseModel):
    """A feature, or the mix of segments, in training and over the last window."""

    name: str
    psi: float = Field(description="Population stability index.")
    threshold: float
    bins: list[str]
    reference: list[float]
    current: list[float]
    nulls: float
    n: int


class Drift(BaseModel):
    """How things are with the drift check; empty before it has seen a window."""

    model_id: str | None
    at: str | None
    signals: list[Signal]


async def feed(services: Services, start: dict[int, int] | None, wanted: Filter) -> AsyncIterator[bytes]:
    """Server-sent events: `change`, and `gap` where some were missed for good. The id is the place to come back to."""
    while (
        not services.tail.is_caught_up
    ):  # what was long before anybody listened is not news, however much of it there is
        yield b": what was before is being read\n\n"
        await asyncio.sleep(CATCHING_UP)
    listener = services.tail.audience.join(wanted, start)
    try:
        begin = listener.begin
        yield f"retry: 2000\nid: {to_event_id(begin if start is None else start)}\n\n".encode()
        if start is not None:
            missed = await run_in_threadpool(services.journal.since, dict.fromkeys(begin, 0) | start, MISSED)
            if missed is None:
                here = to_event_id(begin | listener.ahead)
                yield event("gap", b'{"reason": "too long away: ask for the state anew"}', here)
            else:  # what lies behind `begin` waits for her already
                before = (seen for seen in missed if seen.offset < begin.get(seen.partition, 0))
                for some in _again(before, start, wanted):
                    yield some
        while told := await listener.taken():
            yield told
    finally:
        services.tail.audience.leave(listener)


def _again(missed: Iterable[Seen], start: dict[int, int], wanted: Filter) -> Iterator[bytes]:
    """What someone has missed, some hundred changes at a time."""
    places, events = dict(start), []
    for seen in missed:
        places[seen.partition] = seen.offset + 1
        if wanted.passes(seen.change):
            events.append(event("change", seen.body, to_event_id(places)))
        if len(events) == TOGETHER:
            yield b"".join(events)
            events.clear()
    if events:
        yield b"".join(events)


def router(services: Services) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1", tags=["changes"])

    def told(found: list[SegmentChanged]) -> Changes:
        rows = [Change(**msgspec.structs.asdict(change)) for change in found]
        return Changes(changes=rows, caught_up=services.tail.is_caught_up)

    @api.get("/users/{user_id}/timeline", tags=["customers"], responses=responses(401, 422, 429, 503))
    async def timeline(user_id: UserId, limit: Limit = 100) -> Changes:
        """A customer's changes of segment with their reasons, the latest first."""
        return told(await run_in_threadpool(services.journal.timeline, user_id, limit))

    @api.get("/changes", responses=responses(401, 422, 429, 503))
    async def latest(limit: Limit = 50, segment: OfSegment = "", cause: Causes = None) -> Changes:
        """The latest changes of everyone."""
        return told(await run_in_threadpool(services.journal.latest, limit, segment, tuple(cause or ())))

    @api.get(
        "/changes/stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"example": _STREAM}}}, **responses(401, 422, 429, 503)},
    )
    async def stream(
        segment: OfSegment = "",
        cause: Causes = None,
        user: Annotated[str, Query(max_length=MAX_ID, description="Only this customer.")] = "",
        last: Annotated[
            str | None,
            Header(alias="Last-Event-ID", description="Go on after this event; good on every copy of the API."),
        ] = None,
    ) -> StreamingResponse:
        """Changes as they happen, as server-sent events `change` (data as on `segment-changes`) and `gap` (some were missed)."""
        start = from_event_id(last) if last else None
        if last and start is None:
            raise Problem(422, "Unprocessable Content", f"Last-Event-ID {last[:40]!r} is none of ours; leave it out.")
        if len(services.tail.audience) >= LISTENERS:
            raise Problem(
                503,
                "Service Unavailable",
                f"{LISTENERS} listeners are connected already; read `segment-changes` from Kafka instead.",
            )
        events = feed(services, start, Filter(segment, frozenset(cause or ()), user))
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @api.get("/alerts", tags=["operations"], responses=responses(401, 422, 429))
    async def alerts(limit: Limit = 50) -> Alerts:
        """Drift alerts, the latest first."""
        found = await run_in_threadpool(services.journal.alerts, limit)
        return Alerts(alerts=[Alert(**msgspec.to_builtins(alert)) for alert in found])

    @api.get("/drift", tags=["operations"], responses=responses(401, 429))
    async def drift() -> Drift:
        """Every distribution that is watched, in training and now, the one that has moved most first."""
        standing = await services.standing()
        if standing is None:
            return Drift(model_id=None, at=None, signals=[])
        signals = [Signal(**msgspec.to_builtins(look)) for look in standing.looks()]
        return Drift(model_id=standing.model_id, at=standing.at, signals=signals)

    return api
