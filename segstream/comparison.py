"""`segstream models diff`: who would move from one model to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from batch_trainer import migration, population
from batch_trainer.migration import Migration
from batch_trainer.warehouse import customers_of, open_warehouse
from schemas.model import Model
from segstream.outcome import Usage

SAMPLE: Final = 100_000
"""Customers of a warehouse who are compared unless more are asked for; of so many a share is within 0.3 % (95 %)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same customers."""

    before: Model
    after: Model
    moves: Migration
    of: int
    """Customers who could have been compared: segmented by either model."""
    whose: str

    @property
    def sample(self) -> bool:
        """Whether not all of them were."""
        return self.moves.customers < self.of

    @property
    def measured_on(self) -> str:
        """In words."""
        if self.sample:
            return f"a sample of {self.moves.customers:,} of {self.of:,} {self.whose}, by hash"
        return f"all {self.of:,} {self.whose}"


def compare(
    before: Model, after: Model, source: str, url: str, params: dict[str, str], most: int = SAMPLE
) -> Comparison:
    """The models on the customers of a warehouse, `most` of them by hash (0: all); without one, on the models' golden customers.

    The warehouse counts, samples and hands over a batch at a time, so that the memory needed does not depend on how many there are.
    """
    if bool(source) != bool(url):
        raise Usage("--source and --warehouse go together; without both, the models' golden customers are compared")
    if not source:
        moves = migration.migration(before, after, migration.golden(before, after))
        return Comparison(
            before=before, after=after, moves=moves, of=moves.customers, whose="golden customers of both models"
        )
    with open_warehouse(url, source, params) as warehouse:
        warehouse.count_shares([*before.shares, *after.shares])
        people = population.segmented(warehouse, (before.spec, after.spec))
        (size,) = warehouse.engine.one(people.aggregate(n=people.count()))
        chosen = population.scattered(warehouse, people, most) if 0 < most < size else people
        batches = (customers_of(columns).facts for columns in warehouse.batches(chosen))
        moves = migration.tallied(before, after, batches)
    return Comparison(before=before, after=after, moves=moves, of=size, whose="customers of the warehouse")


def document(found: Comparison) -> dict[str, Any]:
    """For scripts."""
    moves = found.moves
    sizes = [{s.id: s.share for s in model.segments} for model in (found.before, found.after)]
    return {
        "before": found.before.id,
        "after": found.after.id,
        "measured_on": found.measured_on,
        "sample": found.sample,
        "customers": moves.customers,
        "of": found.of,
        "moved": moves.moved,
        "moved_share": moves.share,
        "segments": {"before": list(moves.before), "after": list(moves.after)},
        "names": moves.names,
        "matrix": msgspec.to_builtins(moves.matrix),
        "trained_share": {
            i: {"before": sizes[0].get(i), "after": sizes[1].get(i)} for i in dict.fromkeys([*sizes[0], *sizes[1]])
        },
        "feature_shifts": moves.shifts,
    }


def show(found: dict[str, Any], out: Console) -> None:
    """The matrix and the shifts, for people."""
    out.print(f"[bold]{found['before']}[/] -> [bold]{found['after']}[/]: {told(found)}")
    table = Table("before", "", *found["segments"]["after"])
    for name, row in zip(found["segments"]["before"], found["matrix"], strict=True):
        cells = [
            f"[green]{n}[/]" if name == to and n else str(n or "")
            for to, n in zip(found["segments"]["after"], row, strict=True)
        ]
        table.add_row(name, found["names"].get(name, ""), *cells)
    out.print(table)
    if found["feature_shifts"]:
        shifted = Table("feature", "shift of the training data's mean, in standard deviations")
        for name, shift in found["feature_shifts"].items():
            shifted.add_row(name.replace("_", " "), f"{shift:+.2f}")
        out.print(shifted)


def told(found: dict[str, Any]) -> str:
    """How many would move, and of whom that is known."""
    moved = f"{found['moved']:,} of {found['customers']:,} would move ({found['moved_share']:.1%})"
    return f"{moved}, by {found['measured_on']}"


def draw(found: dict[str, Any], path: Path) -> None:
    """The matrix and the shifts as a picture. Raises Usage where the extra `report` isn't installed or the file is no .svg or .png."""
    from batch_trainer.page import drawable

    if not drawable():
        raise Usage('a picture needs the extra report: pip install "segstream[report]"')
    from batch_trainer import charts

    try:
        charts.write(charts.svg(charts.comparison(found, told(found), charts.LIGHT), "migration"), path)
    except ValueError as error:
        raise Usage(str(error)) from error
