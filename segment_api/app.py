"""The HTTP API put together: who is this customer, where would that one be, what are the segments."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import redis.asyncio
from fastapi import FastAPI, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from redis import RedisError

from schemas.events import MAX_ID
from schemas.membership import from_fields, sizes_key, user_key
from schemas.model import PROSPECT, PROSPECT_NAME, Model
from schemas.settings import Settings
from schemas.times import to_micros
from schemas.watch import ModelWatch
from segment_api import problems
from segment_api.metrics import Metrics
from segment_api.problems import Problem, responses
from segment_api.whatif import Answer, WhatIf, answer

UserId = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="The shop's user id.", examples=["4711"])]


class User(BaseModel):
    """Where a customer is, why, and how fresh that is."""

    user_id: str
    segment: str = Field(description="Stable segment id.", examples=["s3"])
    name: str = Field(examples=["Frequent big spenders"])
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


class SegmentCard(BaseModel):
    """One segment: what it was when the model was trained, and how many are in it now."""

    id: str
    name: str
    customers: int = Field(description="Live.")
    trained_size: int | None
    trained_share: float | None
    medians: dict[str, float]
    top: dict[str, list[tuple[str, float]]]


class Segments(BaseModel):
    """All segments of the active model, prospects last."""

    model_id: str
    segments: list[SegmentCard]


class Active(BaseModel):
    """The model in use."""

    model_id: str
    recipe: str
    trained_at: str
    data_until: str
    rows: int
    segments: int
    refused: str = Field(description="Why a newer version was refused; empty where none was.")


def create_app(settings: Settings, client: redis.asyncio.Redis, watch: ModelWatch, clock: Callable[[], int]) -> FastAPI:
    """The application. `clock` gives microseconds UTC; `watch` follows the active model for the application's lifetime."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        yield
        watch.stop()
        await client.aclose()

    app = FastAPI(
        title="Segstream",
        version="1",
        summary="Which segment is this customer in, now?",
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
    )
    metrics = Metrics()
    problems.install(app)

    @app.middleware("http")
    async def measure(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        begun = time.perf_counter()
        response = await call(request)
        route = getattr(request.scope.get("route"), "path", "(none)")
        metrics.duration.labels(route).observe(time.perf_counter() - begun)
        metrics.requests.labels(request.method, route, response.status_code).inc()
        return response

    def model() -> Model:
        found = watch.state.model
        if found is None:
            raise Problem(503, "Service Unavailable", "No model is in use yet: `segstream train --publish`.")
        return found

    @app.get("/v1/users/{user_id}", tags=["customers"], responses=responses(404, 422, 503))
    async def user(user_id: UserId) -> User:
        """Where a customer is, now."""
        fields: Any = await client.hgetall(user_key(settings.prefix, user_id))  # type: ignore[misc]
        if not fields:
            raise Problem(
                404, "Not Found", f"Customer {user_id!r} is not known here: no event of hers has been seen yet."
            )
        found = from_fields(user_id, fields)
        age = (clock() - to_micros(datetime.fromisoformat(found.projected_at))) / 1_000_000
        return User(
            user_id=user_id,
            segment=found.segment,
            name=found.name,
            nearest=found.nearest,
            margin=found.margin,
            features=found.features,
            model_id=found.model_id,
            sequence=found.sequence,
            event_time=found.event_time,
            projected_at=found.projected_at,
            likely_segment=found.likely_segment,
            likely_name=found.likely_name,
            likely_probability=found.likely_probability,
            freshness_seconds=max(0.0, age),
        )

    @app.post("/v1/what-if", tags=["customers"], responses=responses(422, 503))
    async def what_if(question: WhatIf) -> Answer:
        """The segment of a customer who does not exist."""
        return answer(model(), question)

    @app.get("/v1/segments", tags=["segments"], responses=responses(503))
    async def segments() -> Segments:
        """The segments of the active model with their live sizes."""
        current = model()
        counts: Any = await client.hgetall(sizes_key(settings.prefix))  # type: ignore[misc]
        live = {name.decode(): int(count) for name, count in counts.items()}
        cards = [
            SegmentCard(
                id=s.id,
                name=s.name,
                customers=live.get(s.id, 0),
                trained_size=s.size,
                trained_share=s.share,
                medians=s.medians,
                top={column: list(values) for column, values in s.top.items()},
            )
            for s in current.segments
        ]
        prospects = live.get(PROSPECT, 0)
        cards.append(
            SegmentCard(
                id=PROSPECT,
                name=PROSPECT_NAME,
                customers=prospects,
                trained_size=None,
                trained_share=None,
                medians={},
                top={},
            )
        )
        return Segments(model_id=current.id, segments=cards)

    @app.get("/v1/models/active", tags=["models"], responses=responses(503))
    async def active() -> Active:
        """The model in use."""
        current = model()
        a = current.artifact
        return Active(
            model_id=current.id,
            recipe=a.recipe,
            trained_at=a.trained_at,
            data_until=a.data_until,
            rows=a.rows,
            segments=len(current.segments),
            refused=watch.state.refused,
        )

    @app.get("/health", tags=["operations"])
    async def health() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/ready", tags=["operations"])
    async def ready(response: Response) -> dict[str, Any]:
        """The API can answer; 503 with the reasons where it cannot."""
        reasons = []
        if watch.state.model is None:
            reasons.append("no model is in use yet: `segstream train --publish`")
        try:
            await client.ping()  # type: ignore[misc]
        except RedisError as error:
            reasons.append(f"redis does not answer: {error}")
        refused = watch.state.refused
        degraded = [f"the active model was refused, the old one is kept: {refused}"] if refused else []
        response.status_code = 503 if reasons else 200
        metrics.ready.set(not reasons)
        return {"ready": not reasons, "reasons": reasons, "degraded": degraded}

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        current = watch.state.model
        metrics.model.clear()
        if current is not None:
            metrics.model.labels(current.id).set(1)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app
