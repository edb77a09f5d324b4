"""How the workers are: what each last said of itself in Redis, and the rates that follow from two such reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import redis

EVERY: Final = 2.0
"""Seconds between a worker's reports."""
KEEP_FOR: Final = 60
"""Seconds that a report is kept: who has been silent for longer is gone."""


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's report. Counters count from the start of its process."""

    worker: str
    """Host and process."""
    at: int
    """Microseconds UTC."""
    model_id: str
    """The model in use, empty: none."""
    unready_for: float = 0.0
    """Seconds that it has not done its work, other than restoring customers; 0: it does."""
    refused_id: str = ""
    """The model that it has refused; empty: none."""
    refused: str = ""
    events: int = 0
    dead_letters: int = 0
    """Messages that could not be used."""
    faults: int = 0
    """Of these: events on which a decision failed, through no fault of the message."""
    changes: int = 0
    """Customers who changed segment by what they did."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers did between two moments."""

    events: int = 0
    dead_letters: int = 0
    faults: int = 0
    changes: int = 0

    def per_event(self, name: str) -> float:
        """A counter as a share of the events.

        >>> Rates(events=200, changes=10).per_event("changes")
        0.05
        """
        return float(getattr(self, name)) / self.events if self.events else 0.0


def rates(before: Iterable[Vitals], after: Iterable[Vitals]) -> Rates:
    """What happened between two sets of reports; a worker that started in between, or anew, counts from zero.

    >>> one = Vitals(worker="a", at=0, model_id="m", events=100)
    >>> rates([one], [msgspec.structs.replace(one, events=150), Vitals(worker="b", at=0, model_id="m", events=7)]).events
    57
    """
    earlier = {report.worker: report for report in before}
    sums = dict.fromkeys(Rates.__struct_fields__, 0)
    for report in after:
        known = earlier.get(report.worker)
        if known is not None and known.events > report.events:
            known = None
        for name in sums:
            sums[name] += getattr(report, name) - (getattr(known, name) if known is not None else 0)
    return Rates(**sums)


def vitals_key(prefix: str) -> str:
    """The Redis hash of the reports: worker -> Vitals.

    >>> vitals_key("segstream:")
    'segstream:vitals'
    """
    return f"{prefix}vitals"


encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(Vitals).decode


def read(client: redis.Redis, prefix: str, now: int) -> tuple[Vitals, ...]:
    """The latest report of every worker that was heard of within KEEP_FOR. Errors of Redis pass through."""
    found: Any = client.hgetall(vitals_key(prefix))
    rows: Mapping[bytes, bytes] = found
    reports = (decode(data) for data in rows.values())
    return tuple(sorted((r for r in reports if now - r.at <= KEEP_FOR * 1_000_000), key=lambda r: r.worker))
