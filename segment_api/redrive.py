"""Dead letters by reason, and sending them to their source again."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from schemas import topics
from schemas.times import rfc3339
from segment_api.problems import Problem, responses
from segment_api.services import Services

Source = Literal["orders", "signups"]


class ReasonKept(BaseModel):
    """Letters with the same kind of error."""

    source: str = Field(description="The topic they could not be used from.")
    error: str = Field(description="Kind of error.")
    letters: int = Field(description="As many as are kept, those sent again included.")
    latest_at: str
    latest_reason: str = Field(description="Of the latest one; may quote what was sent.")


class Letters(BaseModel):
    """What could not be used, by reason; the most frequent first."""

    reasons: list[ReasonKept]
    complete: bool = Field(description="False where only the latest letters were counted.")


class Again(BaseModel):
    """Which letters to send again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"source": "orders", "error": "InvalidEvent", "dry_run": True}]}
    )
    source: Source | None = Field(None, description="Only those of this topic.")
    error: str = Field("", max_length=200, description="Only those with this kind of error.")
    dry_run: bool = Field(False, description="Only count.")


class Redriven(BaseModel):
    """What was sent again, or would be."""

    dry_run: bool
    sent: int
    errors: dict[str, int] = Field(description="Of `sent`, by kind of error.")
    truncated: int = Field(description="Too large to have been kept whole; read them where they came from.")
    exhausted: int = Field(description="Have come back so often that they are left alone.")


def kept(services: Services) -> Letters:
    """The letters by reason."""
    found = sorted(services.letters.reasons.values(), key=lambda reason: -reason.letters)
    return Letters(
        reasons=[
            ReasonKept(
                source=one.source,
                error=one.error,
                letters=one.letters,
                latest_at=rfc3339(one.latest_at * 1000),
                latest_reason=one.latest_reason,
            )
            for one in found
        ],
        complete=services.letters.is_complete,
    )


def router(services: Services) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/deadletters", tags=["operations"])

    @api.get("", responses=responses(401, 429))
    def letters() -> Letters:
        """What could not be used, by reason."""
        return kept(services)

    @api.post("/redrive", responses=responses(401, 403, 413, 422, 429, 503))
    async def redrive(again: Again) -> Redriven:
        """Send letters to their source again, each once; those that keep coming back are left alone."""
        if services.redrive is None:
            raise Problem(
                503, "Service Unavailable", "This API was started without it; use `segstream deadletters redrive`."
            )
        sources: list[str] = [again.source] if again.source else [topic.name for topic in topics.INPUTS]
        try:
            done = await run_in_threadpool(services.redrive, sources, again.error, again.dry_run)
        except ConnectionError as error:
            raise Problem(503, "Service Unavailable", f"{error}.") from error
        return Redriven(dry_run=again.dry_run, **done)

    return api
