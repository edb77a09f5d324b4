"""The history of a warehouse as events: what the shop would have sent, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import ibis
import msgspec
from ibis.expr.types import Table, Value

from batch_trainer.canon import Canon
from batch_trainer.warehouse import Warehouse
from schemas.money import to_major
from schemas.times import rfc3339
from schemas.topics import ORDERS, SIGNUPS

Record = tuple[str, bytes, bytes, int]
"""Topic, key, value and time in microseconds."""

_SIGNUP: Final = 0
_ORDER: Final = 1
_CANCEL: Final = 2
_REFUND: Final = 3

_CONTEXT: Final = {"replay": True}
_encode = msgspec.json.Encoder().encode

_COLUMNS: Final = {
    "kind": "int8",
    "at": "int64",
    "user_id": "string",
    "id": "string",
    "order_id": "string",
    "amount": "int64",
    "line": "int64",
    "brand": "string",
    "category": "string",
    "price": "int64",
    "quantity": "int64",
    "dated": "boolean",
    "age": "int64",
    "gender": "string",
    "country": "string",
    "traffic_source": "string",
}


def events(warehouse: Warehouse) -> Iterator[Record]:
    """Every sign-up, order, cancellation and refund as a Segment-spec message, in time order (then kind, user, order).

    The messages are deterministic, so a replay may be run again; `context.replay` marks them as history. A cancellation has no
    time of its own in the relations: it follows its order. A customer whose sign-up time is not known becomes an `identify` at her
    first order.
    """
    pending: dict[str, Any] | None = None
    where: tuple[str, bytes, int] = ("", b"", 0)
    products: list[dict[str, Any]] = []
    for columns in warehouse.batches(_rows(warehouse)):
        for row in zip(*(columns[name] for name in _COLUMNS), strict=True):
            kind, at, user_id, _, order_id, amount, line, brand, category, price, quantity = row[:11]
            if kind == _ORDER and line:
                products.append(_product(brand, category, price, quantity))
                continue
            if pending is not None:
                yield where[0], where[1], _encode(pending), where[2]
            where = (SIGNUPS.name if kind == _SIGNUP else ORDERS.name, user_id.encode(), at)
            if kind == _ORDER:
                products = [] if line is None else [_product(brand, category, price, quantity)]
                facts = {"order_id": order_id, "total": to_major(amount), "products": products}
                pending = _track("Order Completed", f"replay-order-{order_id}", user_id, at, facts)
            else:
                pending = _other(row)
    if pending is not None:
        yield where[0], where[1], _encode(pending), where[2]


def count(warehouse: Warehouse) -> int:
    """How many events `events` gives, for a progress bar."""
    tables = (warehouse.customers, warehouse.orders, warehouse.refunds)
    total = sum(warehouse.engine.one(table.aggregate(n=table.count()))[0] for table in tables if table is not None)
    cancelled = warehouse.orders.filter(warehouse.orders.cancelled)
    return int(total + warehouse.engine.one(cancelled.aggregate(n=cancelled.count()))[0])


def _product(brand: str | None, category: str | None, price: int, quantity: int) -> dict[str, Any]:
    return {"brand": brand, "category": category, "price": to_major(price), "quantity": quantity}


def _track(event: str, message_id: str, user_id: str, at: int, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "track",
        "event": event,
        "messageId": message_id,
        "userId": user_id,
        "timestamp": rfc3339(at),
        "context": _CONTEXT,
        "properties": properties,
    }


def _other(row: tuple[Any, ...]) -> dict[str, Any]:
    kind, at, user_id, refund_id, order_id, amount = row[:6]
    if kind == _CANCEL:
        return _track("Order Cancelled", f"replay-cancel-{order_id}", user_id, at, {"order_id": order_id})
    if kind == _REFUND:
        refund = {"order_id": order_id, "refund_id": refund_id}
        if amount is not None:
            refund["total"] = to_major(amount)
        return _track("Order Refunded", f"replay-refund-{refund_id}", user_id, at, refund)
    dated, age, gender, country, traffic_source = row[11:]
    named = {"age": age, "gender": gender, "country": country, "traffic_source": traffic_source}
    traits = {name: value for name, value in named.items() if value is not None}
    if dated:
        return _track("Signed Up", f"replay-signup-{user_id}", user_id, at, traits)
    return {
        "type": "identify",
        "messageId": f"replay-identify-{user_id}",
        "userId": user_id,
        "timestamp": rfc3339(at),
        "context": _CONTEXT,
        "traits": traits,
    }


def _rows(warehouse: Warehouse) -> Table:
    """One flat, sorted table of all that happened; an order has one row per line."""
    orders = warehouse.orders
    cancelled = orders.filter(orders.cancelled)
    parts = [
        _ordered(orders, warehouse.items),
        _part(cancelled, kind=_CANCEL, at=cancelled.ordered_at, id=cancelled.order_id, order_id=cancelled.order_id),
    ]
    if warehouse.customers is not None:
        parts.append(_signed_up(warehouse.customers, orders, warehouse.refunds))
    if warehouse.refunds is not None:
        refunds = warehouse.refunds
        parts.append(
            _part(
                refunds,
                kind=_REFUND,
                at=refunds.refunded_at,
                id=refunds.refund_id,
                order_id=refunds.order_id,
                amount=refunds.amount,
            )
        )
    rows = ibis.union(*parts)
    canon = Canon(warehouse.engine.kind)
    return rows.order_by(canon.order(rows.at, rows.kind, rows.user_id, rows.order_id, rows.id, rows.line, rows.amount))


def _part(table: Table, **values: Value | int) -> Table:
    given = {"user_id": table.user_id, **values}
    return table.select(
        **{name: given[name].cast(kind) if isinstance(given.get(name), Value) else _constant(given.get(name), kind)
           for name, kind in _COLUMNS.items()}
    )  # fmt: skip


def _constant(value: int | bool | None, kind: str) -> Value:
    return ibis.null(kind) if value is None else ibis.literal(value, kind)


def _ordered(orders: Table, items: Table | None) -> Table:
    given = {"kind": _ORDER, "at": orders.ordered_at, "id": orders.order_id, "order_id": orders.order_id}
    if items is None:
        return _part(orders, **given, amount=orders.total)
    lines = items.select("order_id", "line", "brand", "category", "price", "quantity")
    joined = orders.left_join(lines, "order_id")
    return _part(
        joined,
        kind=_ORDER,
        at=joined.ordered_at,
        id=joined.order_id,
        order_id=joined.order_id,
        amount=joined.total,
        line=joined.line,
        brand=joined.brand,
        category=joined.category,
        price=joined.price,
        quantity=joined.quantity,
    )


def _signed_up(customers: Table, orders: Table, refunds: Table | None) -> Table:
    """Who has no date of hers signed up before the first that is known of her: an order, or a refund of one that is not."""
    done = orders.select("user_id", done_at=orders.ordered_at)
    if refunds is not None:
        done = ibis.union(done, refunds.select("user_id", done_at=refunds.refunded_at))
    first = done.group_by("user_id").agg(first_done=done.done_at.min())
    joined = customers.left_join(first, "user_id")
    return _part(
        joined,
        kind=_SIGNUP,
        at=joined.signed_up_at.fill_null(joined.first_done).fill_null(0),
        dated=joined.signed_up_at.notnull(),
        age=joined.age,
        gender=joined.gender,
        country=joined.country,
        traffic_source=joined.traffic_source,
    )
