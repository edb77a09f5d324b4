"""The addresses of the pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, StreamingResponse

from schemas.artifact import PROSPECT
from schemas.events import MAX_ID
from segment_api import models as versions
from segment_api import segments, similar
from segment_api.access import SESSION, Tokens
from segment_api.explain import explain, explained
from segment_api.gate import COOKIE
from segment_api.members import listed
from segment_api.pages import charts, flows, reference, trying
from segment_api.pages.look import Look, static
from segment_api.problems import Problem
from segment_api.redrive import kept
from segment_api.segments import Window
from segment_api.services import Services
from segment_api.system import seen, troubles
from segment_api.typical import portrait
from segment_api.users import told

TICK = 2.0
"""Seconds between looks of an open page."""
_SHOWN = 8
_HEADLINE = ("orders", "gross_spend", "average_order_value")
CustomerId = Annotated[str, Query(max_length=MAX_ID)]


def router(services: Services, look: Look) -> APIRouter:
    """The pages that show."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/")
    async def overview(request: Request, window: Window = "1h") -> Response:
        model, sizes = services.model(), await services.sizes()
        cards, trend = segments.cards(model, sizes), await segments.history(services, window)
        moved = (await segments.moved(services, window, ("behaviour",))).migrations
        system = await run_in_threadpool(seen, services)
        return look.page(
            request,
            "overview.html",
            "/",
            window=window,
            cards=cards,
            customers=sum(sizes.values()),
            prospects=sizes[PROSPECT],
            largest=max((c.customers for c in cards), default=0),
            before=trend.points[0].customers,
            points=trend.points[:: max(1, len(trend.points) // 12)],
            trend_spec=charts.trend(trend, look.shades()),
            flows=moved[:_SHOWN],
            picture=flows.picture(moved),
            moved=sum(m.customers for m in moved if m.from_segment is not None),
            latest=await run_in_threadpool(services.journal.latest, _SHOWN, "", _LIVE),
            alerts=await run_in_threadpool(services.journal.alerts, 1),
            system=system,
            spark=charts.sparkline([p.events_per_second for p in services.fleet.state.paces[-60:]]),
            troubles=system.troubles,
        )

    @pages.get("/map")
    async def landscape(request: Request) -> Response:
        index = services.index()
        spec = await run_in_threadpool(charts.landscape, index, look.shades())
        return look.page(request, "map.html", "/map", spec=spec, segments=index.model.segments)

    @pages.get("/map/nearest")
    async def nearest(x: float, y: float) -> dict[str, str]:
        user_id = await run_in_threadpool(services.index().nearest_on_plane, x, y)
        if user_id is None:
            raise Problem(404, "Not Found", "There is nobody on the map.")
        return {"user_id": user_id, "page": f"/customers/{quote(user_id, safe='')}"}

    @pages.get("/segments")
    async def every(request: Request) -> Response:
        sizes = await services.sizes()
        cards = segments.cards(services.model(), sizes, await services.descriptions())
        largest = max(c.customers for c in cards)
        return look.page(
            request, "segments.html", "/segments", cards=cards, customers=sum(sizes.values()), largest=largest
        )

    @pages.get("/segments/{segment}")
    async def one(
        request: Request, segment: segments.SegmentId, window: Window = "1h", after: CustomerId = ""
    ) -> Response:
        model, sizes = services.model(), await services.sizes()
        card = segments.card(model, sizes, segment, await services.descriptions())
        trend = await segments.history(services, window)
        trend.names = {segment: card.name}
        ways = [
            m for m in (await segments.moved(services, window)).migrations if segment in (m.from_segment, m.to_segment)
        ]
        index = services.mirror.index
        spent = (await segments.spent(services, window)).points
        return look.page(
            request,
            "segment.html",
            "/segments",
            card=card,
            customers=sum(sizes.values()),
            window=window,
            came=sum(m.customers for m in ways if m.to_segment == segment),
            left=sum(m.customers for m in ways if m.from_segment == segment),
            flows=ways[:_SHOWN],
            picture=flows.picture(ways),
            spend_spec=charts.spend(spent, segment, look.shades()),
            may_write=request.state.caller.may("admin"),
            now=await run_in_threadpool(portrait, index, segment),
            trend_spec=charts.trend(trend, look.shades()),
            latest=await run_in_threadpool(services.journal.latest, _SHOWN, segment),
            columns=[c.feature for c in model.spec.numbers()][:5],
            members=await listed(services, segment, after, 25) if index else None,
        )

    @pages.get("/customers")
    async def customers(
        request: Request, user_id: Annotated[str, Query(alias="id", max_length=MAX_ID)] = ""
    ) -> Response:
        asked = user_id.strip()
        if asked and (await services.memberships([asked]))[0] is not None:
            return RedirectResponse(f"/customers/{quote(asked, safe='')}", 303)
        latest = await run_in_threadpool(services.journal.latest, _SHOWN, "", _LIVE)
        return look.page(request, "customers.html", "/customers", 404 if asked else 200, asked=asked, examples=latest)

    @pages.get("/customers/{user_id:path}")
    async def customer(request: Request, user_id: str) -> Response:
        row, model, index = await services.membership(user_id), services.model(), services.mirror.index
        explanation = await run_in_threadpool(explained, row, model)
        near = (
            []
            if index is None or row.segment == PROSPECT
            else (await similar.alike(index, row.features, 5, "euclidean", user_id)).similar
        )
        return look.page(
            request,
            "customer.html",
            "/customers",
            user=told(row, services.clock()),
            explanation=explanation,
            headline=[name for name in _HEADLINE if name in row.features] or list(row.features)[:3],
            timeline=await run_in_threadpool(services.journal.timeline, user_id, 20),
            similar=near,
        )

    @pages.get("/try")
    async def attempt(request: Request) -> Response:
        model = services.model()
        form = trying.form(model, dict(request.query_params))
        explanation = await run_in_threadpool(explain, None, trying.features(model, form.known), None, model)
        distances = [] if model.is_prospect(form.known) else trying.distances(model, form.known)
        farthest = max((d for _, _, d in distances), default=0.0)
        index, own = services.mirror.index, trying.features(model, form.known)
        near = await similar.alike(index, own, 5, "euclidean") if distances and index is not None else None
        return look.page(
            request,
            "try.html",
            "/try",
            fields=form.fields,
            choices=form.choices,
            e=explanation,
            similar=near.similar if near else [],
            distances=distances,
            farthest=farthest,
        )

    @pages.get("/models")
    async def models(
        request: Request,
        model_id: Annotated[str, Query(alias="id", max_length=80)] = "",
        to: Annotated[str, Query(max_length=80)] = "",
    ) -> Response:
        listed = await run_in_threadpool(versions.listed, services)
        shown, diff, problem = None, None, ""
        try:
            if chosen := model_id or listed.active:
                shown = await run_in_threadpool(versions.document, services, chosen)
            if model_id and to:
                diff = await run_in_threadpool(versions.compare, services, model_id, to)
        except Problem as error:
            problem = error.detail
        values: dict[str, Any] = {
            "models": listed,
            "model": shown,
            "diff": diff,
            "problem": problem,
            "active": listed.active,
        }
        may_switch = request.state.caller.may("admin")
        return look.page(
            request, "models.html", "/models", refused=services.watch.state.refused, may_switch=may_switch, **values
        )

    @pages.get("/drift")
    async def drift(request: Request) -> Response:
        alerts = await run_in_threadpool(services.journal.alerts, 20)
        shifts = await run_in_threadpool(reference.shifts, services.mirror.index)
        standing = await services.standing()
        signals = standing.looks() if standing is not None else []
        return look.page(
            request, "drift.html", "/drift", alerts=alerts, shifts=shifts, signals=signals, standing=standing
        )

    @pages.get("/system")
    async def system(request: Request) -> Response:
        return look.page(
            request,
            "system.html",
            "/system",
            s=await run_in_threadpool(seen, services),
            letters=kept(services),
            may_redrive=request.state.caller.may("admin"),
        )

    @pages.get("/docs")
    async def docs(request: Request) -> Response:
        return look.page(request, "docs.html", "/docs", groups=reference.calls(request.app.openapi()))

    @pages.get("/live")
    async def live() -> StreamingResponse:
        return StreamingResponse(_ticks(services), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @pages.get("/static/{name}")
    def file(name: str) -> Response:
        return static(name)

    return pages


_LIVE = ("behaviour", "correction", "time", "model")
"""Causes worth a look: history that is replayed moves everyone."""


async def _ticks(services: Services) -> AsyncIterator[bytes]:
    """A tick whenever something may be new, and a sign of life else."""
    yield b"retry: 2000\n\n"
    before: Any = None
    while True:
        model = services.watch.state.model
        now = (
            services.tail.seen,
            services.fleet.state,
            model.id if model else "",
            services.mirror.index is None,
            dict(services.letters.reasons),
            tuple(troubles(services)),
        )
        yield b": alive\n\n" if now == before else b"event: tick\ndata: {}\n\n"
        before = now
        await asyncio.sleep(TICK)


def entrance(services: Services, look: Look, tokens: Tokens) -> APIRouter:
    """The way in and out, for browsers: a token is exchanged for a session."""
    pages = APIRouter(include_in_schema=False)

    def form(request: Request, wanted: str, wrong: str = "") -> Response:
        return look.page(request, "login.html", "", 401 if wrong else 200, next=_local(wanted), wrong=wrong)

    @pages.get("/login")
    async def login(request: Request, wanted: Annotated[str, Query(alias="next", max_length=600)] = "/") -> Response:
        return form(request, wanted)

    @pages.post("/login")
    async def enter(request: Request) -> Response:
        given = parse_qs((await request.body()).decode("utf-8", "replace"))
        wanted, token = (given.get(name, [""])[0] for name in ("next", "token"))
        caller = tokens.holder(token.strip())
        if caller is None or not caller.may("read"):
            return form(request, wanted, "This token is not known, or may not read.")
        answer = RedirectResponse(_local(wanted), 303)
        sealed = tokens.seal(caller, int(time.time()) + SESSION)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(COOKIE, sealed, max_age=SESSION, httponly=True, samesite="strict", secure=secure)
        return answer

    @pages.post("/logout")
    async def leave() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    return pages


def _local(wanted: str) -> str:
    """Only ever a page of ours."""
    return wanted if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) else "/"
