"""`segstream models flapping`: how often replayed customers go to and fro between segments."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from batch_trainer import flapping
from batch_trainer.warehouse import open_warehouse
from schemas.model import RETURN, Model


def measure(
    model: Model, source: str, url: str, params: dict[str, str], customers: int, hysteresis: float | None
) -> dict[str, Any]:
    """The model on the history of a warehouse, with its hysteresis (or the one given) and with none."""
    with open_warehouse(url, source, params) as warehouse:
        replayed = flapping.replay(warehouse, model, customers)
    none = replayed.fold(0.0, "every")
    h = model.hysteresis if hysteresis is None else hysteresis
    found = flapping.Estimate(none=none, chosen=replayed.fold(h, model.artifact.holds), reason="")
    return {"model_id": model.id, **flapping.document(found), "reason": flapping.told(found.chosen, none)}


def show(found: dict[str, Any], out: Console) -> None:
    """The two side by side, for people."""
    table = Table(f"model {found['model_id']}", "without", f"hysteresis {found['value']:.4g}, {found['holds']}")
    rows = {
        f"returns within {RETURN} events": "returns",
        "changes of segment": "changes",
        "events": "events",
        "of them with a customer held": "held_events",
        "customers": "customers",
        "of them segmented": "segmented",
        "of them held at the end": "held",
    }
    for name, key in rows.items():
        table.add_row(name, f"{found['without'][key]:,}", f"{found['with'][key]:,}")
    out.print(table)
    out.print(found["reason"], highlight=False)
