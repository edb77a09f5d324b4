"""Whether all is well, for operators: the workers, their lag, and how far the API itself is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from segment_api.problems import responses
from segment_api.services import Services


class System(BaseModel):
    """Kafka's view of the workers, and the API's own state."""

    well: bool = Field(description="No trouble is known.")
    troubles: list[str] = Field(description="What is wrong and what to do.")
    group: str = Field(description="State of the workers' consumer group.", examples=["stable"])
    workers: list[dict[str, Any]]
    partitions: list[dict[str, Any]]
    lag: int
    events_per_second: float | None
    latency_seconds: dict[str, float] = Field(
        description="From an event's own time to its change being seen here, percentiles of the latest behaviour changes."
    )
    dead_letters: dict[str, int]
    customers_indexed: int | None = Field(description="Null while everyone is still being read.")
    changes_kept: int
    listeners: int


def seen(services: Services) -> System:
    """What is known now."""
    fleet, index = services.fleet.state, services.mirror.index
    return System(
        well=not (found := troubles(services)),
        troubles=found,
        group=fleet.group,
        workers=[asdict(member) for member in fleet.members],
        partitions=[asdict(partition) for partition in fleet.partitions],
        lag=fleet.lag,
        events_per_second=fleet.events_per_second,
        latency_seconds=services.tail.latency(),
        dead_letters=fleet.dead_letters,
        customers_indexed=None if index is None else len(index),
        changes_kept=services.journal.count(),
        listeners=len(services.tail.audience),
    )


def troubles(services: Services) -> list[str]:
    """What is wrong, in words."""
    fleet, state = services.fleet.state, services.watch.state
    found = []
    if state.model is None:
        found.append("No model is in use yet: `segstream train --publish`.")
    if state.refused:
        found.append(f"The active model was refused, the old one is kept: {state.refused}")
    if state.redis_error:
        found.append(f"Redis does not answer: {state.redis_error}")
    if fleet.error:
        found.append(fleet.error + ".")
    elif not fleet.members:
        found.append("No worker runs: `segstream worker`.")
    elif idle := [f"{p.topic}-{p.partition}" for p in fleet.partitions if p.lag and p.committed is None]:
        found.append(f"Nothing of {', '.join(idle)} was ever acknowledged; look at the workers' logs.")
    if services.tail.error and not fleet.error:
        found.append(f"The changes cannot be followed: {services.tail.error}.")
    return found


def router(services: Services) -> APIRouter:
    """The endpoint."""
    api = APIRouter(prefix="/v1/system", tags=["operations"])

    @api.get("", responses=responses(401, 429))
    def system() -> System:
        """Workers, partitions, lag, dead letters, and how far the API itself is."""
        return seen(services)

    return api
