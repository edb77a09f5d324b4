"""The facts of every customer, counted by the warehouse: the SQL twin of `schemas.features.facts` over replayed events."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import ibis
from ibis.expr.types import Table, Value

from batch_trainer.relations import whole
from schemas.features import SHARES


def facts(
    customers: Table | None,
    orders: Table,
    items: Table | None,
    refunds: Table | None,
    today: int = 0,
    shares: Sequence[str] = (),
) -> Table:
    """user_id and the fields of `schemas.features.Facts`, one row per customer who is known, has ordered or was refunded.

    For each of the `shares` (features of that kind) there is a column of its own: how many items have the label.
    """
    joined = _everyone(customers, orders, refunds)
    for part in (customers, _ordered(orders), _lines(items), _favourite(items, "brand"), _favourite(items, "category")):
        joined = _beside(joined, part)
    joined = _beside(joined, _returned(orders, refunds))
    joined = _beside(joined, _chosen(items, shares))
    return joined.select(
        user_id=joined.user_id,
        placed_orders=_count(joined, "placed_orders"),
        orders=_count(joined, "orders"),
        items=_count(joined, "items"),
        spend=_count(joined, "spend"),
        categories=_count(joined, "categories"),
        returned_orders=_count(joined, "returned_orders"),
        age=_value(joined, "age", "int64"),
        gender=_value(joined, "gender", "string"),
        country=_value(joined, "country", "string"),
        traffic_source=_value(joined, "traffic_source", "string"),
        brand=_value(joined, "brand", "string"),
        category=_value(joined, "category", "string"),
        last_order_at=joined.last_order_at,
        today=ibis.literal(today, "int64"),
        **{share_column(name): _count(joined, share_column(name)) for name in shares},
    )


def share_column(feature: str) -> str:
    """The column that counts the items of a share: a name that every dialect takes."""
    return "share_" + hashlib.md5(feature.encode(), usedforsecurity=False).hexdigest()[:16]


def _chosen(items: Table | None, shares: Sequence[str]) -> Table | None:
    if items is None or not shares:
        return None
    counts = {}
    for name in shares:
        family, _, label = name.partition(":")
        counts[share_column(name)] = (items[SHARES[family]] == label).ifelse(1, 0).sum()
    return items.group_by("user_id").agg(**counts)


def _everyone(customers: Table | None, orders: Table, refunds: Table | None) -> Table:
    known = [table.select("user_id") for table in (customers, orders, refunds) if table is not None]
    return ibis.union(*known, distinct=True) if len(known) > 1 else known[0].distinct()


def _beside(left: Table, right: Table | None) -> Table:
    if right is None:
        return left
    joined = left.left_join(right, "user_id")
    return joined.drop([name for name in joined.columns if name.endswith("_right")])


def _count(table: Table, name: str) -> Value:
    return whole(table[name].fill_null(0)) if name in table.columns else ibis.literal(0, "int64")


def _value(table: Table, name: str, kind: str) -> Value:
    return table[name] if name in table.columns else ibis.null(kind)


def _ordered(orders: Table) -> Table:
    kept = ~orders.cancelled
    return orders.group_by("user_id").agg(
        placed_orders=orders.count(),
        orders=kept.sum(),
        spend=kept.ifelse(orders.total, 0).sum(),
        last_order_at=kept.ifelse(orders.ordered_at, ibis.null("int64")).max(),
    )


def _lines(items: Table | None) -> Table | None:
    if items is None:
        return None
    return items.group_by("user_id").agg(items=items.count(), categories=items.category.nunique())


def _favourite(items: Table | None, column: str) -> Table | None:
    """The value of most lines; a tie goes to the one chosen last. Not known is a value too."""
    if items is None:
        return None
    counted = items.group_by("user_id", column).agg(n=items.count(), last=items.place.max())
    ranked = counted.mutate(
        rank=ibis.row_number().over(group_by=counted.user_id, order_by=[counted.n.desc(), counted.last.desc()])
    )
    return ranked.filter(ranked["rank"] == 0).select("user_id", column)


def _returned(orders: Table, refunds: Table | None) -> Table | None:
    """Distinct refunded orders that she has not cancelled; an order nobody has placed counts too, as in a profile."""
    if refunds is None:
        return None
    cancelled = orders.filter(orders.cancelled).select("user_id", "order_id")
    kept = refunds.select("user_id", "order_id").distinct().anti_join(cancelled, ["user_id", "order_id"])
    return kept.group_by("user_id").agg(returned_orders=kept.count())
