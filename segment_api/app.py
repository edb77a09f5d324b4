"""The HTTP API put together: who is this customer, where would that one be, what are the segments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import redis.asyncio
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis import RedisError

from schemas import connections
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.signing import Keyring
from schemas.watch import ModelWatch
from segment_api import changes, contract, explain, models, problems, segments, similar, system, users, whatif
from segment_api import redrive as redriving
from segment_api.access import Tokens
from segment_api.fleet import Fleet
from segment_api.gate import Gate
from segment_api.journal import Journal
from segment_api.letters import Letters, Redrive
from segment_api.library import Library
from segment_api.metrics import Metrics
from segment_api.mirror import Mirror
from segment_api.pages import routes
from segment_api.pages.look import Look
from segment_api.services import Services
from segment_api.spending import Spending
from segment_api.tail import Tail


class Health(BaseModel):
    """The process answers."""

    status: str = "alive"


class Readiness(BaseModel):
    """Whether the API can answer; the reasons are for callers with a scope."""

    ready: bool
    reasons: list[str] | None = None
    degraded: list[str] | None = None


def create_app(
    settings: Settings,
    client: redis.asyncio.Redis,
    watch: ModelWatch,
    keys: Keyring,
    clock: Callable[[], int],
    redrive: Redrive | None = None,
) -> FastAPI:
    """The application. `clock` gives microseconds UTC; `watch` follows the active model for the application's lifetime."""

    background = connections.redis_client(settings)
    mirror = Mirror(background, settings.prefix, lambda: watch.state.model, settings.api_trees_from)

    journal = Journal(settings.home / "api" / "journal.sqlite", settings.api_changes)
    tail = Tail(settings, journal, clock)
    library = Library(Registry(background, settings.prefix), keys, settings.home / "reports")
    fleet = Fleet(settings)
    spending = Spending(settings.home / "api" / "spending.sqlite", lambda: mirror.index, clock)
    letters = Letters(settings, lambda: fleet.state.dead_letters)
    watchers = (mirror, tail, fleet, spending, letters)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        for one in watchers:
            one.start()
        yield
        for one in watchers:
            one.end()  # all at once: each may be waiting for a server that is away
        for one in reversed(watchers):
            one.stop()
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
    services = Services(
        settings, client, watch, mirror, journal, tail, library, fleet, spending, letters, redrive, clock
    )
    tokens = Tokens.parse(settings.api_tokens.get_secret_value())
    look = Look(services)
    problems.install(app, look.trouble)
    app.add_middleware(
        Gate,
        tokens=tokens,
        rate=settings.api_rate,
        metrics=metrics,
    )
    for part in (users, explain, similar, whatif, changes, segments, models, system, redriving):
        app.include_router(part.router(services))
    app.include_router(routes.router(services, look))
    app.include_router(routes.entrance(services, look, tokens))
    contract.install(app)

    @app.get("/health", tags=["operations"])
    async def health() -> Health:
        """The process is alive."""
        return Health()

    @app.get(
        "/ready",
        tags=["operations"],
        response_model_exclude_none=True,
        responses={503: {"model": Readiness, "description": "Not yet, or no longer; the same document."}},
    )
    async def ready(request: Request, response: Response) -> Readiness:
        """The API can answer; 503 where it cannot. The reasons are told to callers with a scope."""
        reasons = []
        if watch.state.model is None:
            reasons.append("no model is in use yet: `segstream train --publish`")
        try:
            await client.ping()
        except RedisError as error:
            reasons.append(f"redis does not answer: {error}")
        refused = watch.state.refused
        degraded = [f"the active model was refused, the old one is kept: {refused}"] if refused else []
        response.status_code = 503 if reasons else 200
        metrics.ready.set(not reasons)
        if request.state.caller is None:
            return Readiness(ready=not reasons)
        return Readiness(ready=not reasons, reasons=reasons, degraded=degraded)

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        current = watch.state.model
        metrics.model.clear()
        if current is not None:
            metrics.model.labels(current.id).set(1)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app
