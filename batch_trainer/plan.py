"""What a warehouse is asked to compute, in order, before any of it runs: temporary tables, and questions about them.

Running and explaining walk over the same plan, so that what is explained is what is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import ibis.expr.schema as sch
from ibis.expr.types import Table

from batch_trainer import inspection, relations
from batch_trainer.canon import Canon
from batch_trainer.relations import Relation

ORDER: Final = ("order_id", "user_id", "ordered_at")
"""What an order needs to be usable."""
REFUND: Final = ("refund_id", "order_id", "user_id", "refunded_at")


@dataclass(frozen=True, slots=True)
class Step:
    """A temporary table, and the relation to name where it fails."""

    name: str
    relation: str
    rows: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The relations in canonical form, as tables that the steps make."""

    steps: tuple[Step, ...]
    spare: tuple[str, ...]
    """Tables that nobody needs once the questions are answered."""
    questions: Mapping[str, Table]
    """About the data's quality, each with one row for an answer."""
    customers: Table | None
    orders: Table
    items: Table | None
    refunds: Table | None


def plan(
    given: Mapping[str, Relation], canon: Canon, refer: Callable[[str, sch.Schema], Table], as_of: int | None
) -> Plan:
    """The plan for the relations of a source; `refer` names a table that a step makes.

    Nothing that happened after `as_of` (microseconds) is in it: no order and its lines, no refund, no sign-up.
    """
    steps: list[Step] = []

    def kept(name: str, relation: str, rows: Table) -> Table:
        steps.append(Step(name, relation, rows))
        return refer(name, rows.schema())

    def until(rows: Table, column: str) -> Table:
        return rows if as_of is None else rows.filter(rows[column].isnull() | (rows[column] <= as_of))

    questions = {}
    stated = kept("given_orders", "orders", relations.orders(given["orders"], canon))
    placed = until(stated.drop_null(list(ORDER)), "ordered_at")
    questions["orders"] = inspection.counts(stated, ORDER, placed)
    questions["orders twice"] = inspection.repeated(placed, "order_id")
    lines = items = None
    if "order_items" in given:
        lines = kept("lines", "order_items", relations.lines(given["order_items"], canon, placed))
    orders = kept("orders", "orders", relations.totals(placed, lines))
    questions["usable orders"] = inspection.span(orders)
    if lines is not None:
        items = kept("items", "order_items", relations.items(lines, orders, canon))
        questions["order_items"] = inspection.lines(given["order_items"].table, lines, placed)
    customers = refunds = None
    if "customers" in given:
        known = kept("given_customers", "customers", relations.customers(given["customers"], canon))
        customers = until(known.drop_null(["user_id"]), "signed_up_at")
        questions["customers"] = inspection.counts(known, ("user_id",), customers)
        questions["customers twice"] = inspection.repeated(customers, "user_id")
    if "refunds" in given:
        later = None if as_of is None else stated.filter(stated.ordered_at > as_of).select("order_id")
        told = kept("given_refunds", "refunds", relations.refunds(given["refunds"], canon, orders, later))
        refunds = until(told.drop_null(list(REFUND)), "refunded_at")
        questions["refunds"] = inspection.counts(told, REFUND, refunds)
    for relation, table in (("customers", customers), ("order_items", items)):
        if table is not None and (columns := inspection.optional(given[relation])):
            questions[f"unknown {relation}"] = inspection.unknown(table, columns)
    return Plan(
        steps=tuple(steps),
        spare=("given_orders", *(() if lines is None else ("lines",))),
        questions=questions,
        customers=customers,
        orders=orders,
        items=items,
        refunds=refunds,
    )
