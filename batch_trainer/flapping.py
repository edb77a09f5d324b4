"""Going to and fro: how often customers leave a segment and are back soon after, and the hysteresis that ends most of it.

A sample of customers is replayed from the warehouse's history, event by event, as the stream would decide them; then the decisions alone are
folded again for every hysteresis that may be worth it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from batch_trainer import history
from batch_trainer.population import scattered
from batch_trainer.warehouse import Warehouse
from schemas.artifact import PROSPECT, Artifact, declared
from schemas.events import decode
from schemas.model import RETURN, Model
from schemas.profile import Effect, Profile, update
from schemas.times import DAY

SAMPLE: Final = 10_000
"""Customers who are replayed."""
EVENTS: Final = 500
"""Events of one customer that are looked at, her first ones."""
FALL: Final = 0.80
"""The share of the returns that a hysteresis should end."""
AIM: Final = 0.82
"""What is aimed at on the sample, so that it is reached on others too."""
STALE: Final = 0.03
"""The share of customers, and of moments, that may be held in a segment that is not the nearest."""
GRID: Final = 50
"""Hystereses that are tried."""

Holds = Literal["every", "returns"]
_ORDER: Final[tuple[Holds, ...]] = ("every", "returns")
Track = list[tuple[float, ...] | Literal["as before"] | None]
"""A customer's events, in order: squared distances to the centroids; None: a prospect; "as before": the event changed nothing."""


class Flapping(msgspec.Struct, frozen=True, kw_only=True):
    """What a hysteresis does to replayed customers."""

    hysteresis: float
    holds: Holds
    returns: int
    """Changes back to the segment left by the change before, within RETURN events (A-B-A)."""
    changes: int
    """From one segment to another; becoming a customer, or a prospect again, is none."""
    customers: int
    """All who were replayed, prospects too."""
    segmented: int
    """Those of them who are no prospects at the end."""
    held: int
    """Customers who at the end are in another segment than the nearest."""
    events: int
    held_events: int
    """Events after which a customer was in another segment than the nearest."""

    @property
    def held_share(self) -> float:
        """The share of the customers, at the end."""
        return self.held / self.customers if self.customers else 0.0

    @property
    def held_events_share(self) -> float:
        """The share of the events."""
        return self.held_events / self.events if self.events else 0.0

    def fall(self, none: Flapping) -> float | None:
        """The share of the returns without hysteresis that it ends, None where there were none."""
        return 1.0 - self.returns / none.returns if none.returns else None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The hysteresis of a model, what it does beside none at all, and how it was come by."""

    none: Flapping
    chosen: Flapping
    reason: str

    @property
    def reached(self) -> bool:
        """Whether it ends enough of the returns and holds few enough customers."""
        return reaches(self.chosen, self.none, FALL)


def reaches(found: Flapping, none: Flapping, fall: float) -> bool:
    """Whether returns fall by this share, and no more customers and moments than STALE are held."""
    fell = found.fall(none)
    return (fell is None or fell >= fall) and _calm(found)


def _calm(found: Flapping) -> bool:
    return found.held_share <= STALE and found.held_events_share <= STALE


class Replayed:
    """Customers of a model, decided event by event."""

    def __init__(self, model: Model, tracks: Sequence[Track]) -> None:
        self.model = model
        self.tracks = tracks
        plain = _with(model, 0.0, "every")
        found = [(track, _follow(plain, track)) for track in tracks]
        # Nothing holds those who never change.
        self._restless = [track for track, counts in found if counts.changes]
        self._others = [counts for _, counts in found if not counts.changes]

    def fold(self, hysteresis: float, holds: Holds) -> Flapping:
        """The segments that the stream would have given, and how often they went to and fro."""
        model = _with(self.model, hysteresis, holds)
        counts = [*self._others, *(_follow(model, track) for track in self._restless)]
        summed = _Counts(*map(sum, zip(*counts, strict=True))) if counts else _Counts(0, 0, 0, 0, 0, 0)
        return Flapping(hysteresis=hysteresis, holds=holds, customers=len(self.tracks), **summed._asdict())

    def depths(self) -> list[float]:
        """Of every return without hysteresis: how far she was beyond the boundary, on the side where she was farther."""
        model = _with(self.model, 0.0, "every")
        centres = np.array(model.artifact.centroids)
        gaps = 2.0 * np.linalg.norm(centres[:, None] - centres[None], axis=2)
        place = {segment.id: i for i, segment in enumerate(model.segments)}
        found = []
        for track in self._restless:
            segment, before = PROSPECT, ("", 0, 0.0)
            for number, d2 in enumerate(track):
                if d2 == "as before":
                    continue
                nearest = PROSPECT if d2 is None else model.settle(d2, None, None).nearest
                if nearest != segment:
                    left, at, depth = before
                    beyond = 0.0
                    if d2 is not None and segment != PROSPECT:
                        here, there = place[segment], place[nearest]
                        beyond = float((d2[here] - d2[there]) / gaps[here, there])
                        if left == nearest and number - at <= RETURN:
                            found.append(max(depth, beyond))
                    before, segment = ("" if segment == PROSPECT else segment, number, beyond), nearest
        return found


def _with(model: Model, hysteresis: float, holds: Holds) -> Model:
    return Model(msgspec.structs.replace(model.artifact, hysteresis=hysteresis, holds=holds), model.id)


class _Counts(NamedTuple):
    """The fields of `Flapping` for one customer."""

    returns: int
    changes: int
    segmented: int
    held: int
    events: int
    held_events: int


def _follow(model: Model, track: Track) -> _Counts:
    returns = changes = held_events = 0
    segment: str | None = None
    nearest = before = PROSPECT
    at = -RETURN - 1
    left: str | None = None
    for number, d2 in enumerate(track):
        if d2 is None:
            segment = nearest = before = PROSPECT
            left = None
        elif d2 != "as before":
            back = left if number - at <= RETURN else None
            found = model.settle(d2, segment, back)
            settled, nearest = found.segment, found.nearest
            if settled != segment:
                if segment is not None and segment != PROSPECT:
                    changes += 1
                    returns += before == settled and number - at <= RETURN
                left = segment if found.shallow else None
                before, at, segment = segment or PROSPECT, number, settled
        held_events += segment is not None and segment != nearest
    segmented = segment is not None and segment != PROSPECT
    return _Counts(returns, changes, segmented, segmented and segment != nearest, len(track), held_events)


def replay(warehouse: Warehouse, model: Model, most: int = SAMPLE) -> Replayed:
    """The customers whose digests are the smallest, `most` of them, through the history of the warehouse."""
    sample = warehouse.engine.keep("replayed", scattered(warehouse, warehouse.everyone().select("user_id"), most))
    try:
        few = replace(
            warehouse,
            customers=None if warehouse.customers is None else warehouse.customers.semi_join(sample, "user_id"),
            orders=warehouse.orders.semi_join(sample, "user_id"),
            refunds=None if warehouse.refunds is None else warehouse.refunds.semi_join(sample, "user_id"),
        )
        return Replayed(model, tracks(model, history.events(few), warehouse.today))
    finally:
        warehouse.engine.drop("replayed")


def tracks(model: Model, events: Iterable[history.Record], until: int = 0) -> list[Track]:
    """What each of the customers' events meant to the model, as `stream_app.segmenter.step` takes it.

    Where features change by time alone, so does every day on which they did, up to the day `until`.
    """
    profiles: dict[bytes, Profile] = {}
    found: dict[bytes, Track] = {}
    for _, key, value, at in events:
        track = found.setdefault(key, [])
        if len(track) >= EVENTS:
            continue
        profile = profiles.setdefault(key, Profile())
        if model.clocked:
            _wait(track, profile, model, at // DAY)
        effect = update(profile, decode(key, value))
        nothing = track and effect in (Effect.NOTHING, Effect.TOO_LATE)
        track.append("as before" if nothing else model.squares(profile))
    if model.clocked:
        for key, track in found.items():
            _wait(track, profiles[key], model, until)
    return list(found.values())


def _wait(track: Track, profile: Profile, model: Model, until: int) -> None:
    while len(track) < EVENTS and (due := model.due(profile)) is not None and due <= until:
        profile.today = due
        track.append(model.squares(profile))
    profile.today = until


def estimate(replayed: Replayed, given: float | None = None) -> Estimate:
    """The least hysteresis that ends AIM of the returns while few are held; where none does, the one that ends most of them.

    It is sought among the depths of the returns that there are. A hysteresis for every way over a boundary is preferred; where the
    customers' steps are so wide that it would hold too many of them, only the ways back are held. `given`: not sought, only judged.
    """
    none = replayed.fold(0.0, "every")
    depths = replayed.depths()
    if given is not None:
        wanted = [given]
    else:
        shares = np.arange(1, GRID + 1) / GRID
        wanted = sorted({float(f"{depth:.4g}") for depth in np.quantile(depths, shares)}) if depths else []
    if not wanted or given == 0.0:
        return Estimate(none=none, chosen=none, reason="none was wanted" if wanted else "nobody went to and fro")
    tried: list[Flapping] = []
    for holds in _ORDER:
        # Of the depths, the lower half cannot end more than about half of the returns.
        for hysteresis in wanted if holds == "every" else wanted[len(wanted) // 2 :]:
            found = replayed.fold(hysteresis, holds)
            tried.append(found)
            if reaches(found, none, AIM):
                return Estimate(none=none, chosen=found, reason=_reason(found, none, given))
            if not _calm(found):
                break  # whoever is held by this one is held by a greater one too
    if given is not None:
        return Estimate(none=none, chosen=tried[-1], reason=_reason(tried[-1], none, given))
    calm = [found for found in tried if _calm(found)]
    best = min(calm, key=lambda found: (found.returns, found.hysteresis), default=none)
    return Estimate(none=none, chosen=best, reason=_reason(best, none, None))


def told(found: Flapping, none: Flapping) -> str:
    """Both numbers, in words."""
    fell = found.fall(none)
    ended = "there were no returns" if fell is None else f"{fell:.1%} of the returns end"
    return f"{ended}; {found.held_share:.2%} of the customers and {found.held_events_share:.2%} of the moments are held"


def _reason(found: Flapping, none: Flapping, given: float | None) -> str:
    numbers = told(found, none)
    if given is not None:
        return f"given, not estimated: {numbers}"
    if not reaches(found, none, FALL):
        return f"no hysteresis ends {FALL:.0%} of the returns and holds at most {STALE:.0%}; the most with so few held: {numbers}"
    return numbers


def document(found: Estimate) -> dict[str, Any]:
    """For reports and scripts."""
    return {
        "value": found.chosen.hysteresis,
        "holds": found.chosen.holds,
        "reason": found.reason,
        "reached": found.reached,
        "returns_fall": found.chosen.fall(found.none),
        "held_share": found.chosen.held_share,
        "held_events_share": found.chosen.held_events_share,
        "with": msgspec.to_builtins(found.chosen),
        "without": msgspec.to_builtins(found.none),
    }


def settled(artifact: Artifact, found: Estimate) -> Artifact:
    """The model with its hysteresis."""
    return declared(msgspec.structs.replace(artifact, hysteresis=found.chosen.hysteresis, holds=found.chosen.holds))
