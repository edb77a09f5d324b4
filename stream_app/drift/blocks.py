"""From looks at customers to blocks: what a worker collects beside its work, per source partition.

A block is closed at the end of the chunk with which it is large or old enough, and is sent before that chunk is acknowledged. What was in an
open block is lost with the process, five seconds of events at most; nothing is counted twice, since each record is in one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from schemas.customer import Customer
from schemas.drift import DISTANCE, HOUR, RECONSTRUCTION, SCALE, Baseline, Block, Hits, Hour, Sums, Tally, baseline
from schemas.events import TRAITS, Event, OrderCompleted, SignedUp
from schemas.features import FEATURES
from schemas.model import Model
from schemas.reference import MIX, Bins, Counts, Residuals

LOOKS: Final = 20
"""Customers looked at per chunk, about: at high rates every nth event says as much as every one."""
LEAST: Final = 100
MOST: Final = 2_000
"""Looks per block."""
YOUNG: Final = 1_000_000
OLD: Final = 5_000_000
"""Microseconds: a block of LEAST looks is closed when it is not young any more, any block when it is old."""
LATE: Final = 3_600_000_000
"""An event that comes so many microseconds after its time is late."""
_FLOOR: Final = 1e-9


class Look(NamedTuple):
    """An event, and the customer as it left her."""

    distance: float | None
    """None: she is a prospect, or the event changed nothing; then there are no values either."""
    segment: str | None
    event: Event
    produced_at: int
    """Milliseconds since 1970."""
    stands_for: int
    """How many events: every so many one is looked at."""
    values: list[Any]
    """Her features, raw units, in the order of the model's feature names."""


def looked(
    customer: Customer, event: Event, produced_at: int, distance: float | None, stands_for: int, model: Model | None
) -> Look:
    """A look at the customer as she is now."""
    if distance is None or model is None:
        return Look(None, None, event, produced_at, stands_for, [])
    known = customer.profile
    return Look(
        distance, customer.segment, event, produced_at, stands_for, [formula(known) for formula in model.formulas]
    )


@dataclass(slots=True)
class _Open:
    first: int
    since: int
    last: int = 0
    events: int = 0
    invalid: int = 0
    flips: int = 0
    looks: list[Look] = field(default_factory=list)


class Collector:
    """The open blocks of a worker."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._open: dict[tuple[str, int], _Open] = {}
        self._announce: Baseline | None = None

    def install(self, model: Model) -> None:
        """Look at customers by another model; what was collected by the last one is let go."""
        self._model = model
        self._open.clear()
        self._announce = baseline(model, {name: FEATURES[name].needs for name in model.feature_names})
        self._summarise = Summary(model)

    def release(self) -> None:
        """Partitions are no longer ours."""
        self._open.clear()

    def take(
        self,
        topic: str,
        partition: int,
        first: int,
        last: int,
        *,
        events: int,
        invalid: int,
        flips: int,
        looks: Sequence[Look],
        now: int,
    ) -> list[Block | Baseline]:
        """Take in what a chunk (offsets `first` to `last`) held; what is to be sent with it. `now` in microseconds."""
        if self._model is None:
            return []
        place = topic, partition
        block = self._open.get(place)
        if block is None:
            block = self._open[place] = _Open(first, now)
        block.last = last
        block.events += events
        block.invalid += invalid
        block.flips += flips
        block.looks += looks
        size, age = len(block.looks), now - block.since
        if size >= MOST or (size >= LEAST and age >= YOUNG) or age >= OLD:
            return self._closed([place])
        return []

    def due(self, before: int) -> list[Block | Baseline]:
        """Close what was begun before a moment (microseconds) and holds anything."""
        return self._closed([place for place, block in self._open.items() if block.since <= before])

    def _closed(self, places: Sequence[tuple[str, int]]) -> list[Block | Baseline]:
        made: list[Block | Baseline] = []
        for place in places:
            block = self._open.pop(place)
            if self._model is None or not (block.events or block.looks):
                continue
            tally = self._summarise(block.looks, block.events, block.invalid, block.flips)
            topic, partition = place
            made.append(
                Block(
                    topic=topic,
                    partition=partition,
                    first=block.first,
                    last=block.last,
                    model_id=self._model.id,
                    tally=tally,
                )
            )
        if made and self._announce is not None:
            made.insert(0, self._announce)
            self._announce = None
        return made


class Summary:
    """Turns looks into a tally, by the bins that a model carries."""

    def __init__(self, model: Model) -> None:
        known = model.artifact.distributions
        self._features = [(i, name, Bins(known[name])) for i, name in enumerate(model.feature_names) if name in known]
        self._mix = Bins(known[MIX]) if MIX in known else None
        places = {name: i for i, name in enumerate(model.feature_names)}
        self._columns = [(t.feature, places[t.feature], t.transform == "log1p") for t in model.artifact.numbers]
        residuals = Residuals(model.artifact.numbers, model.artifact.reference)
        self._residuals = residuals if RECONSTRUCTION in model.artifact.reference else None

    def __call__(self, looks: Sequence[Look], events: int, invalid: int, flips: int) -> Tally:
        if not looks:
            return Tally(events=events, invalid=invalid, flips=flips)
        scored = [look for look in looks if look.distance is not None]
        features, sums = self._customers(scored) if scored else ({}, {})
        times = [min(look.event.at, look.produced_at * 1000) for look in looks]  # a clock that runs ahead is no time
        return Tally(
            events=events,
            looked_at=len(scored),
            invalid=invalid,
            flips=flips,
            begin=min(times),
            end=max(times),
            features=features,
            sums=sums,
            fields=_fields([look.event for look in looks]),
            hours=_hours(looks),
        )

    def _customers(self, looks: Sequence[Look]) -> tuple[dict[str, Counts], dict[str, Sums]]:
        columns = list(zip(*(look.values for look in looks), strict=True))
        features = {name: bins.count(bins.places(columns[i])) for i, name, bins in self._features}
        if self._mix is not None:
            features[MIX] = self._mix.count(self._mix.places([look.segment for look in looks]))
        sums = {DISTANCE: _sums(np.log([max(look.distance or 0.0, _FLOOR) for look in looks]))}
        if self._residuals is not None and (errors := self._errors(columns)) is not None:
            sums[RECONSTRUCTION] = _sums(errors)
        return features, sums

    def _errors(self, columns: Sequence[Sequence[Any]]) -> np.ndarray[Any, Any] | None:
        assert self._residuals is not None
        transformed = {}
        for name, i, log in self._columns:
            x = np.array(columns[i], dtype=float)  # None becomes NaN
            transformed[name] = np.log1p(np.maximum(x, 0.0)) if log else x
        return self._residuals.logs(transformed)


def _sums(values: np.ndarray[Any, Any]) -> Sums:
    """Rounded one by one: the sum over blocks does not depend on where they end."""
    total, squares = (int(np.rint(x * SCALE).astype(np.int64).sum()) for x in (values, values * values))
    return Sums(n=len(values), total=total, squares=squares)


def _fields(events: Sequence[Event]) -> dict[str, Hits]:
    """How often the fields of orders and sign-ups were empty."""
    orders = lines = total = products = brands = categories = 0
    joined: list[SignedUp] = []
    for event in events:
        if event.__class__ is OrderCompleted:
            orders += 1
            lines += len(event.brands)
            total += event.total == 0
            products += not event.brands
            brands += event.brands.count(None)
            categories += event.categories.count(None)
        elif event.__class__ is SignedUp:
            joined.append(event)
    found = {
        "total": Hits(hits=total, n=orders),
        "products": Hits(hits=products, n=orders),
        "products.brand": Hits(hits=brands, n=lines),
        "products.category": Hits(hits=categories, n=lines),
    }
    for trait in TRAITS:
        found[trait] = Hits(hits=sum(trait not in event.traits for event in joined), n=len(joined))
    return {name: one for name, one in found.items() if one.n}


def _hours(looks: Sequence[Look]) -> dict[int, Hour]:
    found: dict[int, list[int]] = {}
    for look in looks:
        produced_at = look.produced_at * 1000
        hour = found.setdefault(produced_at // HOUR, [0, 0, 0])
        hour[0] += look.stands_for
        hour[1] += 1
        hour[2] += produced_at - look.event.at > LATE
    return {at: Hour(events=events, looked_at=n, late=late) for at, (events, n, late) in found.items()}
