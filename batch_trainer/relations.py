"""The relations in one canonical form, as expressions the warehouse computes: exactly what `schemas` makes of the replayed events.

Ids are text, money is integer minor units, times are integer microseconds UTC, labels are cut as in `schemas.events`, the lines of
an order are numbered from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ibis
import ibis.expr.datatypes as dt
from ibis.expr.types import BooleanValue, IntegerValue, StringValue, Table, Value

from batch_trainer.source import COLUMNS, REQUIRED, WarehouseError, suggestion
from schemas.events import EARLIEST, LATEST, MAX_ID, MAX_LINES, MAX_TEXT
from schemas.money import MAX_MINOR

# What str.isprintable refuses: everything but letters, marks, numbers, punctuation, symbols and the space.
_UNPRINTABLE: Final = dict.fromkeys(("duckdb", "bigquery"), r"[^\p{L}\p{M}\p{N}\p{P}\p{S} ]")
_CONTROL: Final = "[[:cntrl:]]"
_MAX_QUANTITY: Final = 1e9
_MAX_AMOUNT: Final = float(MAX_MINOR // 100)


@ibis.udf.scalar.builtin(signature=((dt.Timestamp(timezone="UTC"),), dt.int64))
def epoch_us(moment: Any) -> int:  # type: ignore[empty-body]
    """DuckDB's microseconds since 1970."""


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


def relation(name: str, table: Table) -> Relation:
    """The relation, checked: raises WarehouseError where a required column is missing."""
    lower = {column.lower(): column for column in table.columns}
    columns = {column: lower[column] for column in COLUMNS[name] if column in lower}
    for column in REQUIRED[name]:
        if column not in columns:
            raise WarehouseError(
                f"relation {name} has no column {column!r}; its SQL gives {', '.join(table.columns)}"
                f"{suggestion(column, table.columns)} (rename with AS in the source file)"
            )
    return Relation(name, table, columns)


@dataclass(frozen=True, slots=True)
class Canon:
    """How one kind of warehouse writes the canonical form."""

    backend: str

    def text_id(self, value: Value) -> StringValue:
        """An id as text; NULL where it could not be the id of an event."""
        text = value.cast("string")
        pattern = _UNPRINTABLE.get(self.backend, _CONTROL)
        fine = text.length().between(1, MAX_ID) & ~text.re_search(pattern)
        return fine.ifelse(text, ibis.null("string"))

    def micros(self, source: Relation, column: str) -> IntegerValue:
        """Microseconds UTC; NULL where there is no usable time. A time without a zone is taken as UTC."""
        value = source[column]
        kind = value.type()
        if not (kind.is_timestamp() or kind.is_date() or kind.is_string()):
            if source.table.filter(value.notnull()).count().execute():
                raise WarehouseError(
                    f"relation {source.name}, column {column}: values are {kind}, expected a timestamp or date (convert in the source's SQL)"
                )
            return ibis.null("int64")
        zoned = dt.Timestamp(timezone="UTC")
        if self.backend == "duckdb":
            moment = value.try_cast(zoned) if kind.is_string() else value.cast(zoned)
            micros = epoch_us(moment)
        else:
            moment = value.cast("timestamp")
            micros = moment.epoch_seconds().cast("int64") * 1_000_000 + moment.microsecond().cast("int64")
        return micros.between(EARLIEST, LATEST - 1).ifelse(micros, ibis.null("int64"))

    def label(self, value: Value) -> StringValue:
        """A brand, category or trait: cut to length; empty and absent are the same."""
        return value.cast("string").substr(0, MAX_TEXT).nullif("")

    def age(self, value: Value) -> IntegerValue:
        """Whole years from 0 to 150, NULL for anything else."""
        years = _double(value)
        whole = (years > -1) & (years < 151)
        return whole.ifelse((years >= 0).ifelse(years.floor(), 0.0), ibis.null("float64")).cast("int64")

    def minor(self, value: Value) -> IntegerValue:
        """Minor units, by the same arithmetic as `schemas.money.to_minor`; NULL where the amount is out of range."""
        amount = _double(value)
        usable = amount.between(-_MAX_AMOUNT, _MAX_AMOUNT).ifelse(amount, ibis.null("float64"))
        return (usable * 100.0 + 0.5).floor().cast("int64")

    def quantity(self, value: Value) -> IntegerValue:
        """A whole number of pieces; 1 where it is not known."""
        pieces = _double(value)
        usable = ((pieces > -_MAX_QUANTITY) & (pieces < _MAX_QUANTITY - 1)).ifelse(pieces, 1.0)
        return (usable + 0.5).floor().fill_null(1.0).cast("int64")


def _double(value: Value) -> Value:
    return value.try_cast("float64") if value.type().is_string() else value.cast("float64")


def _optional(source: Relation, column: str, form: Callable[[Value], Value], absent: str) -> Value:
    return form(source[column]) if source.has(column) else ibis.null(absent)


def customers(source: Relation, canon: Canon) -> Table:
    """user_id, signed_up_at, age, gender, country, traffic_source; user_id is NULL where it cannot be used."""
    return source.table.select(
        user_id=canon.text_id(source["user_id"]),
        signed_up_at=canon.micros(source, "signed_up_at") if source.has("signed_up_at") else ibis.null("int64"),
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
        ordered_at=canon.micros(source, "ordered_at"),
        cancelled=_optional(source, "status", _cancelled, "boolean").fill_null(False),
        stated=_optional(source, "total", canon.minor, "int64"),
    )


def _cancelled(status: Value) -> BooleanValue:
    return status.cast("string").strip().lower().isin(["cancelled", "canceled"])


def items(source: Relation, canon: Canon, placed: Table) -> Table:
    """The lines of the orders in `placed`: order_id, user_id, ordered_at, line, brand, category, price, quantity."""
    order_id = canon.text_id(source["order_id"])
    price = _optional(source, "price", canon.minor, "int64")
    quantity = _optional(source, "quantity", canon.quantity, "int64").fill_null(1)
    sized = source.table.select(
        item_order=order_id,
        item_id=source["item_id"] if source.has("item_id") else ibis.null("int64"),
        product=_optional(source, "product_id", lambda v: v.cast("string"), "string"),
        brand=_optional(source, "brand", canon.label, "string"),
        category=_optional(source, "category", canon.label, "string"),
        price=(price.cast("float64").abs() * quantity.cast("float64").abs() <= MAX_MINOR).ifelse(price, 0).fill_null(0),
        quantity=quantity,
    )
    joined = sized.join(
        placed.select("order_id", "user_id", "ordered_at"), sized.item_order == placed.order_id, how="inner"
    )
    by = [joined.item_id, joined.product, joined.brand, joined.category, joined.price, joined.quantity]
    numbered = joined.mutate(line=ibis.row_number().over(group_by=joined.order_id, order_by=by))
    return numbered.filter(numbered.line < MAX_LINES).select(
        "order_id", "user_id", "ordered_at", "line", "brand", "category", "price", "quantity"
    )


def totals(placed: Table, lines: Table | None) -> Table:
    """The orders with their total: the stated one, else the sum of the lines. Totals out of range are NULL."""
    if lines is None:
        total = placed.stated.fill_null(0)
        summed = placed
    else:
        sums = lines.group_by("order_id").agg(summed=(lines.price * lines.quantity).sum().cast("int64"))
        summed = placed.left_join(sums, "order_id").drop("order_id_right")
        total = summed.stated.fill_null(summed.summed).fill_null(0)
    return summed.select(
        "order_id",
        "user_id",
        "ordered_at",
        "cancelled",
        total=total.between(-MAX_MINOR, MAX_MINOR).ifelse(total, ibis.null("int64")),
    )


def refunds(source: Relation, canon: Canon, placed: Table) -> Table:
    """refund_id, order_id, user_id, refunded_at, amount; ids and time NULL where they cannot be used.

    Without a user the refund is the order's customer's; without a column of times it happened with the order.
    """
    stated = source.table.select(
        refund_order=canon.text_id(source["order_id"]),
        refund=_optional(source, "refund_id", canon.text_id, "string"),
        by=_optional(source, "user_id", canon.text_id, "string"),
        at=canon.micros(source, "refunded_at") if source.has("refunded_at") else ibis.null("int64"),
        amount=_optional(source, "amount", canon.minor, "int64"),
    )
    joined = stated.left_join(
        placed.select("order_id", "user_id", "ordered_at"), stated.refund_order == placed.order_id
    )
    return joined.select(
        refund_id=joined.refund.fill_null(joined.refund_order),
        order_id=joined.refund_order,
        user_id=joined.by.fill_null(joined.user_id),
        refunded_at=joined.at if source.has("refunded_at") else joined.ordered_at.fill_null(0),
        amount=joined.amount,
    )
