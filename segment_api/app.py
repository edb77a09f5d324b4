"""The HTTP API put together: who is this customer, where would that one be, what are the segments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import redis
import redis.asyncio
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from redis import RedisError

from schemas.membership import sizes_key
from schemas.model import PROSPECT, PROSPECT_NAME
from schemas.settings import Settings
from schemas.watch import ModelWatch
from segment_api import explain, problems, similar, users
from segment_api.access import Tokens
from segment_api.gate import Gate
from segment_api.metrics import Metrics
from segment_api.mirror import Mirror
from segment_api.problems import responses
from segment_api.services import Services
from segment_api.whatif import Answer, WhatIf, answer


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

    background = redis.Redis.from_url(settings.redis, socket_timeout=5, socket_connect_timeout=5)
    mirror = Mirror(background, settings.prefix, lambda: watch.state.model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        mirror.start()
        yield
        mirror.stop()
        watch.stop()
        await client.aclose()

    app = FastAPI(
        title="Segstream",
        version="1",
        summary="Which segment is this customer in, now?",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics()
    services = Services(settings, client, watch, mirror, clock)
    problems.install(app)
    app.add_middleware(
        Gate,
        tokens=Tokens.parse(settings.api_tokens.get_secret_value()),
        rate=settings.api_rate,
        metrics=metrics,
    )
    for part in (users, explain, similar):
        app.include_router(part.router(services))
    model = services.model

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
    async def ready(request: Request, response: Response) -> dict[str, Any]:
        """The API can answer; 503 where it cannot. The reasons are told to callers with a scope."""
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
        if request.state.caller is None:
            return {"ready": not reasons}
        return {"ready": not reasons, "reasons": reasons, "degraded": degraded}

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        current = watch.state.model
        metrics.model.clear()
        if current is not None:
            metrics.model.labels(current.id).set(1)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app
