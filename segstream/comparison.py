"""`segstream models diff`: who would move from one model to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from batch_trainer.migration import Migration, golden, migration
from batch_trainer.sample import hash_sample
from schemas.model import Model
from segstream.outcome import Usage

SAMPLE: Final = 20_000
"""Customers of a warehouse who are compared."""


def compare(before: Model, after: Model, source: str, url: str, params: dict[str, str]) -> tuple[Migration, str]:
    """The migration and what it was measured on: a sample of the warehouse where there is one, else the models' golden customers."""
    if bool(source) != bool(url):
        raise Usage("--source and --warehouse go together; without both, the models' golden customers are compared")
    if not source:
        return migration(before, after, golden(before, after)), "golden customers of both models"
    from batch_trainer.warehouse import open_warehouse

    with open_warehouse(url, source, params) as warehouse:
        known = warehouse.facts()
    rows = [known.facts[i] for i in hash_sample(known.user_ids, SAMPLE)]
    return migration(before, after, rows), f"{len(rows)} customers of the warehouse"


def document(before: Model, after: Model, moves: Migration, measured_on: str) -> dict[str, Any]:
    """For scripts."""
    sizes = [{s.id: s.share for s in model.segments} for model in (before, after)]
    return {
        "before": before.id,
        "after": after.id,
        "measured_on": measured_on,
        "customers": moves.customers,
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
    out.print(
        f"[bold]{found['before']}[/] -> [bold]{found['after']}[/]: {found['moved']} of {found['customers']} would move "
        f"({found['moved_share']:.1%}), by {found['measured_on']}"
    )
    table = Table("before", "", *found["segments"]["after"])
    for name, row in zip(found["segments"]["before"], found["matrix"], strict=True):
        cells = [
            f"[green]{n}[/]" if name == to and n else str(n or "")
            for to, n in zip(found["segments"]["after"], row, strict=True)
        ]
        table.add_row(name, found["names"].get(name, ""), *cells)
    out.print(table)
    if found["feature_shifts"]:
        shifts = ", ".join(f"{name} {shift:+.2f}" for name, shift in found["feature_shifts"].items())
        out.print(f"mean of the training data, in standard deviations: {shifts}")


def draw(moves: Migration, path: Path) -> None:
    """The matrix as a picture. Raises Usage where the extra `report` isn't installed or the file is no .svg or .png."""
    from batch_trainer.page import drawable

    if not drawable():
        raise Usage('a picture needs the extra report: pip install "segstream[report]"')
    from batch_trainer import charts

    chart = charts.migration(msgspec.to_builtins(moves), charts.LIGHT)
    try:
        charts.write(charts.svg(chart, "migration"), path)
    except ValueError as error:
        raise Usage(str(error)) from error
