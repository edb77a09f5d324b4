"""The published models: which there are, what changes between two, and which is in use."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Annotated, Any, Final

from confluent_kafka import KafkaException, Producer
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from schemas import connections, topics
from schemas.artifact import PROSPECT, RejectedModel
from schemas.changes import ModelEvent, encode, headers
from schemas.model import Model
from schemas.registry import RegistryConflict
from schemas.times import rfc3339
from segment_api.conditional import IfNoneMatch, holds, unchanged
from segment_api.problems import Problem, responses
from segment_api.services import Services

SAMPLE: Final = 20_000
"""Customers by whom two models are compared, at most."""
ModelId = Annotated[str, Path(pattern=r"^m-[0-9a-f]{1,64}$", examples=["m-0f3a9c2b41de"])]


class Active(BaseModel):
    """The model in use."""

    model_id: str
    recipe: str
    trained_at: str
    data_until: str
    rows: int
    segments: int
    refused: str = Field(description="Why a newer version was refused; empty where none was.")


class Version(BaseModel):
    """One stored version."""

    model_id: str
    published_at: str
    active: bool
    recipe: str | None = Field(description="Null where it cannot be opened.")
    trained_at: str | None
    rows: int | None
    segments: int | None
    problem: str = Field("", description="Why it must not be used; empty where it may.")


class Step(BaseModel):
    """One step in the life of the models."""

    action: str
    model_id: str
    before: str | None
    by: str
    reason: str
    at: str


class Pair(BaseModel):
    """Customers who would go from one segment to another."""

    before: str
    after: str
    customers: int


class Trial(BaseModel):
    """A candidate beside the active model, as live customers have seen both until now."""

    model_id: str
    base: str | None = Field(description="The model that it is compared with.")
    since: str
    customers: int
    moved: int
    matrix: list[Pair]


class Models(BaseModel):
    """All stored versions, and what was done with them; the latest first."""

    active: str | None
    candidate: Trial | None = Field(description="Null where none is being tried.")
    versions: list[Version]
    log: list[Step]


class ModelDocument(BaseModel):
    """One version."""

    model_id: str
    recipe: str
    trained_at: str
    data_until: str
    rows: int
    features: list[str]
    explained_variance: list[float]
    hysteresis: float
    parent: str | None
    segments: list[dict[str, Any]]
    libraries: dict[str, str]
    gates: list[dict[str, Any]] | None = Field(description="Null where its report is not on the API's machine.")


class Diff(BaseModel):
    """What becomes of today's customers when one model takes the place of another."""

    before: str
    after: str
    customers: int = Field(description="A sample of those known now.")
    moved: int
    rows: list[str] = Field(description="Segment ids of the earlier model.")
    columns: list[str] = Field(description="Segment ids of the later model.")
    matrix: list[list[int]]
    names: dict[str, str]


class Why(BaseModel):
    """The reason, for the log."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "drift since Monday"}]})
    reason: str = Field("", max_length=500)


class Switched(BaseModel):
    """The model that is in use now, and the one before."""

    model_id: str
    before: str | None
    announced: bool = Field(description="Whether `model-events` tells of it; the switch itself does not depend on it.")


def compare(services: Services, before: str, after: str) -> Diff:
    """The customers of now by two models. Raises Problem where one is not stored or their features are not known of the customers."""
    one, other = opened(services, before), opened(services, after)
    features = services.mirror.features(services.index().sample(SAMPLE))
    wanted = {c.feature for model in (one, other) for c in model.spec.columns} | {
        one.spec.population,
        other.spec.population,
    }
    if lacking := sorted(wanted - set(features[0])) if features else []:
        raise Problem(
            409,
            "Conflict",
            f"The customers are known by the active model's features only; {', '.join(lacking)} is not among them. "
            "`segstream models diff --source ... --warehouse ...` compares on the warehouse.",
        )
    pairs = Counter(zip(one.assign_features(features), other.assign_features(features), strict=True))
    del pairs[PROSPECT, PROSPECT]
    rows, columns = ([s.id for s in model.segments] for model in (one, other))
    return Diff(
        before=before,
        after=after,
        customers=pairs.total(),
        moved=sum(n for (a, b), n in pairs.items() if a != b),
        rows=rows,
        columns=columns,
        matrix=[[pairs[a, b] for b in columns] for a in rows],
        names=one.names | other.names,
    )


def opened(services: Services, model_id: str) -> Model:
    """A stored version. Raises Problem where it isn't stored or must not be used."""
    try:
        found = services.library.model(model_id)
    except RejectedModel as error:
        raise Problem(409, "Conflict", f"Model {model_id} must not be used: {error}") from error
    if found is None:
        raise Problem(404, "Not Found", f"Model {model_id} is not stored; `GET /v1/models` lists what is.")
    return found


def listed(services: Services) -> Models:
    """All stored versions and the log."""
    library = services.library
    active = library.registry.active()
    rows = []
    for model_id, at in library.versions():
        found, problem = None, ""
        try:
            found = library.model(model_id)
        except RejectedModel as error:
            problem = str(error)
        a = found.artifact if found else None
        rows.append(
            Version(
                model_id=model_id,
                published_at=rfc3339(at),
                active=model_id == active,
                recipe=a.recipe if a else None,
                trained_at=a.trained_at if a else None,
                rows=a.rows if a else None,
                segments=len(a.segments) if a else None,
                problem=problem,
            )
        )
    steps = [
        Step(action=e.action, model_id=e.model_id, before=e.before, by=e.by, reason=e.reason, at=rfc3339(e.at))
        for e in library.log()
    ]
    return Models(active=active, candidate=_trial(services), versions=rows, log=steps)


def _trial(services: Services) -> Trial | None:
    found = services.library.registry.candidate()
    if found is None:
        return None
    seen = services.library.registry.trial(found)
    return Trial(
        model_id=found.model_id,
        base=found.base,
        since=rfc3339(found.at),
        customers=seen.customers,
        moved=seen.moved,
        matrix=[Pair(before=p.before, after=p.after, customers=p.customers) for p in seen.matrix],
    )


def document(services: Services, model_id: str) -> ModelDocument:
    """One version."""
    found = opened(services, model_id)
    a = found.artifact
    return ModelDocument(
        model_id=model_id,
        recipe=a.recipe,
        trained_at=a.trained_at,
        data_until=a.data_until,
        rows=a.rows,
        features=[column.feature for column in a.spec.columns],
        explained_variance=list(a.explained_variance),
        hysteresis=a.hysteresis,
        parent=a.parent,
        segments=[{"id": s.id, "name": s.name, "size": s.size, "share": s.share} for s in a.segments],
        libraries=a.libraries,
        gates=services.library.gates(found),
    )


def switch(services: Services, model_id: str | None, by: str, reason: str) -> Switched:
    """Make a version the active one (None: the one that was active before). Raises Problem where that cannot be."""
    registry, at = services.library.registry, services.clock()
    before = registry.active()
    try:
        if model_id is None:
            chosen, action = registry.rollback(at=at, by=by, reason=reason), "rolled-back"
        else:
            opened(services, model_id)
            registry.activate(model_id, at=at, by=by, expected=before, reason=reason)
            chosen, action = model_id, "activated"
    except RegistryConflict as error:
        raise Problem(409, "Conflict", f"{error}.") from error
    return Switched(model_id=chosen, before=before, announced=_announce(services, action, chosen, by, reason, at))


def _announce(services: Services, action: str, model_id: str, by: str, reason: str, at: int) -> bool:
    event = ModelEvent(action=action, model_id=model_id, at=rfc3339(at), by=by, reason=reason)  # type: ignore[arg-type]
    with contextlib.suppress(KafkaException):  # the answer says that it was not announced
        options = {"message.timeout.ms": 4000, "log_level": 0}
        producer = Producer(connections.kafka(services.settings, **options))
        done: list[Any] = []
        producer.produce(
            topics.MODEL_EVENTS.name,
            encode(event),
            model_id.encode(),
            headers=list[tuple[str, str | bytes | None]](headers(event, f"{action}:{model_id}:{at}", model_id, at)),
            on_delivery=lambda error, _: done.append(error),
        )
        producer.flush(5)
        return [error is None for error in done] == [True]  # a KafkaError cannot be compared with None
    return False


def router(services: Services) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/models", tags=["models"])

    @api.get("", responses=responses(401, 429, 503))
    def models() -> Models:
        """The stored versions and what was done with them."""
        return listed(services)

    @api.get("/active", responses=responses(401, 429, 503))
    async def active() -> Active:
        """The model in use."""
        current = services.model()
        a = current.artifact
        return Active(
            model_id=current.id,
            recipe=a.recipe,
            trained_at=a.trained_at,
            data_until=a.data_until,
            rows=a.rows,
            segments=len(current.segments),
            refused=services.watch.state.refused,
        )

    @api.post("/rollback", responses=responses(401, 403, 409, 422, 429, 503))
    async def rollback(why: Why, request: Request) -> Switched:
        """Go back to the version that was active before."""
        return await run_in_threadpool(switch, services, None, request.state.caller.name, why.reason)

    @api.get("/{model_id}", response_model=ModelDocument, responses=responses(401, 404, 409, 422, 429, 503))
    def one(model_id: ModelId, response: Response, known: IfNoneMatch = None) -> ModelDocument | Response:
        """One version; what is stored under an id never changes, its gates come with its report."""
        found = document(services, model_id)
        tag = f'"{model_id}{"" if found.gates is None else ".gates"}"'
        headers = {"ETag": tag, "Cache-Control": "private, max-age=60"}
        if holds(tag, known):
            return unchanged(headers)
        response.headers.update(headers)
        return found

    @api.get("/{model_id}/diff", responses=responses(401, 404, 409, 422, 429, 503))
    def diff(
        model_id: ModelId, to: Annotated[str, Query(pattern=r"^m-[0-9a-f]{1,64}$", description="The later model.")]
    ) -> Diff:
        """Who of today's customers would move from one model to another."""
        return compare(services, model_id, to)

    @api.post("/{model_id}/activate", responses=responses(401, 403, 404, 409, 422, 429, 503))
    async def activate(model_id: ModelId, why: Why, request: Request) -> Switched:
        """Make a stored version the active one; workers take it over within seconds."""
        return await run_in_threadpool(switch, services, model_id, request.state.caller.name, why.reason)

    return api
