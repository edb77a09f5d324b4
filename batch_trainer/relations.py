"""The relations in one canonical form, as expressions the warehouse computes: exactly what `schemas` makes of the replayed events.

How single values get their form is `canon`'s; the lines of an order are numbered from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import ibis
import ibis.expr.datatypes as dt
from ibis.expr.types import BooleanValue, Table, Value

from batch_trainer.canon import Canon
from batch_trainer.source import COLUMNS, REQUIRED, WarehouseError, suggestion
from schemas.events import MAX_LINES
from schemas.money import MAX_MINOR


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation as the source gives it: its columns by their contract names."""

    name: str
    table: Table
    columns: dict[str, str]
    """Contract name -> name in the table (they may differ in case)."""

    def has(self, column: str) -> bool:
        """Whether the source gives this column."""
        return column in self.columns

    def __getitem__(self, column: str) -> Value:
        return self.table[self.columns[column]]

    def lacks(self, column: str) -> str:
        """In words, why a column is not there."""
        others = [name for name in self.table.columns if name.lower() not in COLUMNS[self.name]]
        return f"relation {self.name} has no column {column}{suggestion(column, others)}"


_NUMBERS: Final = frozenset({"total", "age", "price", "quantity", "amount"})
_TIMES: Final = frozenset({"signed_up_at", "ordered_at", "refunded_at"})
"""Whether these can hold times is asked of the rows: a column of nothing but NULL may have any type."""


def relation(name: str, table: Table) -> Relation:
    """The relation, checked: raises WarehouseError where a required column is missing or one cannot be what it should be."""
    lower = {column.lower(): column for column in table.columns}
    columns = {column: lower[column] for column in COLUMNS[name] if column in lower}
    for column in REQUIRED[name]:
        if column not in columns:
            raise WarehouseError(
                f"relation {name} has no column {column!r}; its SQL gives {', '.join(table.columns)}"
                f"{suggestion(column, table.columns)} (rename with AS in the source file)"
            )
    for column, there in columns.items():
        _check_type(name, column, table[there].type())
    return Relation(name, table, columns)


def _check_type(name: str, column: str, kind: dt.DataType) -> None:
    """Raise WarehouseError where values of this type are no numbers or cannot stand for a text."""
    if column in _TIMES or kind.is_null() or kind.is_unknown():
        return
    if column in _NUMBERS:
        wanted, fine = "a number", kind.is_numeric() or kind.is_string()
    else:
        wanted, fine = "text or a number", not (kind.is_nested() or kind.is_binary() or kind.is_interval())
    if not fine:
        raise WarehouseError(
            f"relation {name}, column {column}: values are {kind}, expected {wanted} (convert in the source's SQL)"
        )


def _optional(source: Relation, column: str, form: Callable[[Value], Value], absent: str) -> Value:
    return form(source[column]) if source.has(column) else ibis.null(absent)


def customers(source: Relation, canon: Canon) -> Table:
    """user_id, signed_up_at, age, gender, country, traffic_source; user_id is NULL where it cannot be used."""
    return source.table.select(
        user_id=canon.text_id(source["user_id"]),
        signed_up_at=_optional(source, "signed_up_at", canon.micros, "int64"),
        age=_optional(source, "age", canon.age, "int64"),
        gender=_optional(source, "gender", canon.label, "string"),
        country=_optional(source, "country", canon.label, "string"),
        traffic_source=_optional(source, "traffic_source", canon.label, "string"),
    )


def orders(source: Relation, canon: Canon) -> Table:
    """order_id, user_id, ordered_at, cancelled, stated (the total the source states); ids and time NULL where they cannot be used."""
    return source.table.select(
        order_id=canon.text_id(source["order_id"]),
        user_id=canon.text_id(source["user_id"]),
        ordered_at=canon.micros(source["ordered_at"]),
        cancelled=_optional(source, "status", _cancelled, "boolean").fill_null(False),
        stated=_optional(source, "total", canon.minor, "int64"),
    )


def _cancelled(status: Value) -> BooleanValue:
    return status.cast("string").strip().lower().isin(["cancelled", "canceled"])


def lines(source: Relation, canon: Canon, placed: Table) -> Table:
    """The lines of the orders in `placed`: order_id, user_id, ordered_at, line, brand, category, price, quantity."""
    order_id = canon.text_id(source["order_id"])
    price = _optional(source, "price", canon.minor, "int64")
    quantity = _optional(source, "quantity", canon.quantity, "int64").fill_null(1)
    sized = source.table.select(
        item_order=order_id,
        item_id=source["item_id"] if source.has("item_id") else ibis.null("int64"),
        product=_optional(source, "product_id", canon.text, "string"),
        brand=_optional(source, "brand", canon.label, "string"),
        category=_optional(source, "category", canon.label, "string"),
        price=(price.cast("float64").abs() * quantity.cast("float64").abs() <= MAX_MINOR).ifelse(price, 0).fill_null(0),
        quantity=quantity,
    )
    joined = sized.join(
        placed.select("order_id", "user_id", "ordered_at"), sized.item_order == placed.order_id, how="inner"
    )
    by = canon.order(joined.item_id, joined.product, joined.brand, joined.category, joined.price, joined.quantity)
    numbered = joined.mutate(line=ibis.row_number().over(group_by=joined.order_id, order_by=by))
    return numbered.filter(numbered.line < MAX_LINES).select(
        "order_id", "user_id", "ordered_at", "line", "brand", "category", "price", "quantity"
    )


def totals(placed: Table, lines: Table | None) -> Table:
    """The orders with their total: the stated one, else the sum of the lines. Orders whose total is out of range are left out."""
    if lines is None:
        total = placed.stated.fill_null(0)
        summed = placed
    else:
        sums = lines.group_by("order_id").agg(summed=whole((lines.price * lines.quantity).sum()))
        summed = placed.left_join(sums, "order_id").drop("order_id_right")
        total = summed.stated.fill_null(summed.summed).fill_null(0)
    priced = summed.select("order_id", "user_id", "ordered_at", "cancelled", total=total)
    return priced.filter(priced.total.between(-MAX_MINOR, MAX_MINOR))


def items(lines: Table, orders: Table, canon: Canon) -> Table:
    """The lines of the usable orders, with their place (from 0) among all lines of the customer by time, order and line."""
    kept = lines.semi_join(orders, "order_id")
    by = canon.order(kept.ordered_at, kept.order_id, kept.line)
    return kept.mutate(place=ibis.row_number().over(group_by=kept.user_id, order_by=by))


def refunds(source: Relation, canon: Canon, orders: Table, later: Table | None) -> Table:
    """refund_id, order_id, user_id, refunded_at, amount; ids and time NULL where they cannot be used.

    Without a user the refund is the order's customer's; without a column of times it happened with the order, so that refunds of
    the orders in `later`, those after the cut, are left out.
    """
    stated = source.table.select(
        refund_order=canon.text_id(source["order_id"]),
        refund=_optional(source, "refund_id", canon.text_id, "string"),
        by=_optional(source, "user_id", canon.text_id, "string"),
        at=_optional(source, "refunded_at", canon.micros, "int64"),
        amount=_optional(source, "amount", canon.minor, "int64"),
    )
    if later is not None and not source.has("refunded_at"):
        stated = stated.anti_join(later, stated.refund_order == later.order_id)
    joined = stated.left_join(
        orders.select("order_id", "user_id", "ordered_at"), stated.refund_order == orders.order_id
    )
    return joined.select(
        refund_id=joined.refund.fill_null(joined.refund_order),
        order_id=joined.refund_order,
        user_id=joined.by.fill_null(joined.user_id),
        refunded_at=joined.at if source.has("refunded_at") else joined.ordered_at.fill_null(0),
        amount=joined.amount,
    )


def whole(total: Value) -> Value:
    """A sum of integers as a 64-bit integer.

    By way of a decimal: ibis takes a sum of int64 for an int64 and leaves out the cast, while DuckDB makes it 128 bits wide and
    PostgreSQL a numeric.
    """
    return total.cast("decimal(38, 0)").cast("int64")
