"""One customer explained: why she is where she is, and the smallest things that would move her."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from schemas.artifact import PROSPECT
from schemas.features import FEATURES, POPULATIONS, Facts
from schemas.membership import Membership
from schemas.model import Model
from schemas.money import to_major
from segment_api import counterfactual as what_would
from segment_api import evidence as reasons
from segment_api.problems import responses
from segment_api.services import Services
from segment_api.users import UserId


class Pull(BaseModel):
    """What one feature says for or against her segment."""

    feature: str
    label: str = Field(examples=["gross spend"])
    value: float | str | None = Field(description="Hers, raw units; null: not known.")
    typical_here: float | None = Field(description="Median of her segment at training.")
    typical_there: float | None = Field(description="Median of the segment compared with.")
    pull: float = Field(description="Model units; positive speaks for her segment.")


class Move(BaseModel):
    """Something she could do, and where it would lead."""

    words: str = Field(examples=["2 more orders of her usual value (48.20 each)"])
    kind: str = Field(description="`orders` or `returns`.")
    count: int
    value: float | None = Field(description="Of each order, in the shop's currency.")
    new_category: bool = Field(description="Each order also holds something from a category that is new to her.")
    to_segment: str
    to_name: str


class Explanation(BaseModel):
    """Why she is in her segment, and what would move her."""

    user_id: str | None = Field(description="Null: a customer who does not exist.")
    segment: str
    name: str
    nearest: str
    against: str | None = Field(description="The segment whose boundary is nearest; null for prospects.")
    against_name: str | None
    beyond: float = Field(
        description="How far she is beyond that boundary, model units; below zero where only the hysteresis keeps her."
    )
    base: float = Field(description="What is left midway between the two; `base` and all pulls add up to `beyond`.")
    pulls: list[Pull]
    summary: str
    moves: list[Move] = Field(
        description="The smallest change first. Each was tried: doing it moves her as told, by this model and its hysteresis."
    )
    unmoved: str = Field(description="Why there are no moves, and what was tried; empty where there are some.")
    model_id: str


def explain(
    user_id: str | None,
    features: Mapping[str, Any],
    segment: str | None,
    model: Model,
    back: what_would.WayBack = what_would.FREE,
) -> Explanation:
    """The explanation of a customer with these features (raw units), whom this model has put into `segment` (None: who is in none yet)."""
    try:
        known, broken = what_would.recovered(features, model), ""
    except ValueError as error:
        known, broken = Facts(), f"What would move her cannot be told: {error}."
    if segment is None and not broken:
        segment = model.assign(known, None)[0]
    return Explanation(
        user_id=user_id,
        model_id=model.id,
        **_why(features, known, segment or PROSPECT, model, broken),
        **_moves(known, segment or PROSPECT, model, broken, back),
    )


def explained(row: Membership, model: Model) -> Explanation:
    """The explanation of a customer as projected."""
    if row.model_id != model.id:  # she is about to be moved by this model, without hysteresis
        return explain(row.user_id, row.features, None, model)
    return explain(row.user_id, row.features, row.segment, model, what_would.WayBack(row.left, row.left_for))


def _why(features: Mapping[str, Any], known: Facts, segment: str, model: Model, broken: str) -> dict[str, Any]:
    told: dict[str, Any] = {"segment": segment, "name": model.names[segment], "nearest": segment}
    blank: dict[str, Any] = {"against": None, "against_name": None, "beyond": 0.0, "base": 0.0, "pulls": []}
    if segment == PROSPECT:
        who = POPULATIONS[model.spec.population]
        what = "She has not ordered yet" if who.buyers else f"She is a customer {who.outside}"
        return told | blank | {"summary": f"{what}: there is nothing to tell her from others by."}
    if broken:
        return (
            told
            | blank
            | {"summary": "Her features do not fit the model in use; she will be decided anew with her next event."}
        )
    distances = dict(zip((s.id for s in model.segments), model.distances(known), strict=True))
    nearest = min(distances, key=distances.__getitem__)
    other = nearest if nearest != segment else reasons.rival(distances, segment, model)
    if other is None:
        return told | blank | {"summary": "There is only one segment."}
    found = reasons.evidence(features, segment, other, model)
    pulls = [
        Pull(
            feature=part.feature,
            label=FEATURES[part.feature].label,
            value=part.value,
            typical_here=part.here,
            typical_there=part.there,
            pull=part.pull,
        )
        for part in found.parts
    ]
    told |= {"nearest": nearest, "against": other, "against_name": model.names[other], "pulls": pulls}
    return told | {"beyond": found.beyond, "base": found.base, "summary": reasons.words(found, model)}


def _moves(known: Facts, segment: str, model: Model, broken: str, back: what_would.WayBack) -> dict[str, Any]:
    if broken:
        return {"moves": [], "unmoved": broken}
    own = what_would.usual(known, model)
    moves = [
        Move(
            words=what_would.words(action, own, prospect=segment == PROSPECT),
            kind=action.kind,
            count=action.count,
            value=to_major(action.value) if action.kind == "orders" else None,
            new_category=action.fresh,
            to_segment=to,
            to_name=model.names[to],
        )
        for action, to in what_would.changes(known, segment, model, back)
    ]
    unmoved = "" if moves else f"Nothing plausible moves her: {what_would.bounds(own)} were tried."
    return {"moves": moves, "unmoved": unmoved}


def router(services: Services) -> APIRouter:
    """The endpoint."""
    api = APIRouter(prefix="/v1/users", tags=["customers"])

    @api.get("/{user_id}/explain", responses=responses(401, 404, 422, 429, 503))
    async def one(user_id: UserId) -> Explanation:
        """Why she is in her segment, in words and numbers, and what would move her."""
        row = await services.membership(user_id)
        return await run_in_threadpool(explained, row, services.model())

    return api
