"""How good the data of a warehouse is: questions it answers with one row each, and what the answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ibis.expr.types import Table

from batch_trainer.canon import timed
from batch_trainer.relations import Relation, whole
from batch_trainer.source import WarehouseError

Answers = Mapping[str, Mapping[str, Any]]
"""Question -> the row that answered it."""

_TIMES = {"customers": "signed_up_at", "orders": "ordered_at", "refunds": "refunded_at"}


def counts(given: Table, needed: Sequence[str], kept: Table) -> Table:
    """Rows, rows without each needed column, rows that are used."""
    missing = {f"no_{column}": whole(given[column].isnull().sum()) for column in needed}
    seen = given.aggregate(rows=given.count(), **missing)
    return seen.cross_join(kept.aggregate(kept=kept.count()))


def repeated(table: Table, key: str) -> Table:
    """Keys in more than one row: how many, one of them, and in how many rows at most."""
    counted = table.group_by(key).agg(n=table.count())
    twice = counted.filter(counted.n > 1)
    return twice.aggregate(keys=twice.count(), example=twice[key].min(), rows=twice.n.max())


def span(orders: Table) -> Table:
    """How many orders, the first and the last."""
    return orders.aggregate(orders=orders.count(), first=orders.ordered_at.min(), last=orders.ordered_at.max())


def lines(given: Table, joined: Table, placed: Table) -> Table:
    """Lines given, lines of usable orders, usable orders without a line."""
    bare = placed.anti_join(joined, "order_id")
    seen = given.aggregate(rows=given.count()).cross_join(joined.aggregate(kept=joined.count()))
    return seen.cross_join(bare.aggregate(bare=bare.count()))


def optional(given: Relation) -> list[str]:
    """The columns of a relation that may be unknown, as far as the source gives them."""
    telling = {
        "customers": ("signed_up_at", "age", "gender", "country", "traffic_source"),
        "order_items": ("brand", "category"),
    }
    return [column for column in telling[given.name] if given.has(column)]


def unknown(table: Table, columns: Sequence[str]) -> Table:
    """Rows, and rows in which each column is unknown."""
    return table.aggregate(rows=table.count(), **{name: whole(table[name].isnull().sum()) for name in columns})


def times(given: Mapping[str, Relation]) -> dict[str, Table]:
    """Questions about columns that ought to hold times and cannot: usable only where they are empty."""
    found = {}
    for name, column in _TIMES.items():
        if name in given and given[name].has(column) and not timed(value := given[name][column]):
            wrong = given[name].table.filter(value.notnull())
            found[f"{name} {column} {value.type()}"] = wrong.aggregate(rows=wrong.count())
    return found


def check_times(answers: Answers) -> None:
    """Raise WarehouseError where a column that ought to hold times holds something else."""
    for question, answer in answers.items():
        name, column, kind = question.split(" ", 2)
        if answer["rows"]:
            raise WarehouseError(
                f"relation {name}, column {column}: values are {kind}, expected a timestamp or date (convert in the source's SQL)"
            )


def check_keys(answers: Answers) -> None:
    """Raise WarehouseError where a relation has a key twice."""
    for name, key in (("orders", "order_id"), ("customers", "user_id")):
        answer = answers.get(f"{name} twice")
        if answer is not None and answer["keys"]:
            raise WarehouseError(
                f"relation {name} has {answer['keys']} {key} more than once, e.g. {answer['example']!r} (in up to {answer['rows']} rows); "
                f"its SQL must give one row per {key}"
            )


def findings(answers: Answers, as_of: int | None) -> dict[str, Any]:
    """Counts of rows, of rows that were dropped and why, and shares that are unknown; as the report tells them."""
    found: dict[str, Any] = {}
    for name in ("orders", "customers", "refunds"):
        if name in answers:
            row = answers[name]
            without = {column[3:]: int(n or 0) for column, n in row.items() if column.startswith("no_")}
            found[name] = {"rows": row["rows"], "kept": row["kept"], "without_usable": without}
    found["orders"]["unusable_total"] = found["orders"]["kept"] - answers["usable orders"]["orders"]
    if "order_items" in answers:
        row = answers["order_items"]
        found["order_items"] = {
            "rows": row["rows"],
            "kept": row["kept"],
            "without_usable_order": row["rows"] - row["kept"],
            "orders_without_items": row["bare"],
        }
    found["unknown_share"] = {
        f"{name}.{column}": round(n / row["rows"], 6) if row["rows"] else 0.0
        for name in ("customers", "order_items")
        for row in [answers.get(f"unknown {name}", {})]
        for column, n in row.items()
        if column != "rows"
    }
    return found
