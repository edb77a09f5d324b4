"""A planted stream for the drift check: blocks drawn from known distributions, changed at will."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from schemas.artifact import Reference
from schemas.drift import DISTANCE, HOUR, SCALE, Baseline, Block, Hits, Hour, Sums, Tally
from schemas.reference import MIX, Distribution, counts, distribution

BLOCK = 50
START = 1_767_225_600_000_000


@dataclass(frozen=True, kw_only=True)
class Day:
    """How the stream behaves; shifts in standard deviations."""

    shift: dict[str, float] = field(default_factory=dict)
    nulls: dict[str, float] = field(default_factory=dict)
    new_label: float = 0.0
    invalid: float = 0.0
    distance: float = 0.0


USUAL = Day()


def _draw(rng: np.random.Generator, n: int, day: Day) -> dict[str, list[object]]:
    spend = rng.normal(day.shift.get("gross_spend", 0.0), 1.0, n)
    columns: dict[str, list[object]] = {
        "gross_spend": spend.tolist(),
        "average_order_value": (0.1 * spend + rng.normal(0.0, 1.0, n)).tolist(),
        "categories": rng.normal(day.shift.get("categories", 0.0), 1.0, n).tolist(),
        "country": np.where(rng.random(n) < day.new_label, "Atlantis", rng.choice(["DE", "FR", "US"], n)).tolist(),
        MIX: rng.choice(["s1", "s2", "s3"], n, p=[0.5, 0.3, 0.2]).tolist(),
    }
    for name, share in day.nulls.items():
        columns[name] = [
            None if gone else value for gone, value in zip(rng.random(n) < share, columns[name], strict=True)
        ]
    return columns


def baseline(model_id: str = "m-1") -> Baseline:
    drawn = _draw(np.random.default_rng(7), 20_000, USUAL)
    made = {name: distribution(values, np.ones(20_000)) for name, values in drawn.items()}
    return Baseline(
        model_id=model_id,
        names={"s1": "One", "s2": "Two", "s3": "Three"},
        features={name: one for name, one in made.items() if one is not None},
        sums={DISTANCE: Reference(n=20_000, mean=0.0, std=1.0)},
        needs={"gross_spend": ("spend",), "average_order_value": ("spend", "orders"), "categories": ("categories",)},
    )


@dataclass
class Stream:
    """Blocks of one partition, one after the other; 100 events an hour."""

    seed: int = 1
    model_id: str = "m-1"
    known: dict[str, Distribution] = field(default_factory=dict)
    offset: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.known = self.known or baseline().features

    def blocks(self, events: int, day: Day = USUAL) -> Iterator[Block]:
        for _ in range(events // BLOCK):
            yield self.block(day)

    def block(self, day: Day = USUAL) -> Block:
        n, rng = BLOCK, self._rng
        drawn = _draw(rng, n, day)
        logs = rng.normal(day.distance, 1.0, n)
        at = START + self.offset * HOUR // 100
        invalid = int(rng.binomial(n, day.invalid))
        tally = Tally(
            events=n + invalid,
            looked_at=n,
            invalid=invalid,
            begin=at,
            end=at + HOUR // 3,
            features={name: counts(one, drawn[name]) for name, one in self.known.items()},
            sums={DISTANCE: Sums(n=n, total=round(logs.sum() * SCALE), squares=round((logs * logs).sum() * SCALE))},
            fields={"total": Hits(hits=0, n=n)},
            hours={at // HOUR: Hour(events=n, looked_at=n)},
        )
        made = Block(
            topic="orders",
            partition=0,
            first=self.offset,
            last=self.offset + n - 1,
            model_id=self.model_id,
            tally=tally,
        )
        self.offset += n
        return made


__all__ = ["USUAL", "Day", "Stream", "baseline"]
