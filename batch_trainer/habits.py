"""The habits of a warehouse's customers: whether their own orders resemble each other more than anyone's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from batch_trainer.canon import Canon
from batch_trainer.sample import hash_sample
from batch_trainer.structure import Habit, habit
from batch_trainer.warehouse import Warehouse

SAMPLE: Final = 5_000
"""Customers whose orders are looked at."""


def habits(warehouse: Warehouse, user_ids: Sequence[str], seed: int) -> tuple[Habit, ...]:
    """What can be measured: the value of their orders, and whether these come back."""
    sample = [user_ids[i] for i in hash_sample(user_ids, SAMPLE)]
    orders = warehouse.orders.filter(~warehouse.orders.cancelled, warehouse.orders.user_id.isin(sample))
    known = orders.select("order_id", "user_id", "total")
    known = known.order_by(Canon(warehouse.engine.kind).order(known.order_id))
    columns: dict[str, list[object]] = {"order_id": [], "user_id": [], "total": []}
    for batch in warehouse.batches(known):
        for name, values in batch.items():
            columns[name] += values
    customers = [str(user_id) for user_id in columns["user_id"]]
    found = []
    if "spend" in warehouse.known:
        values = [math.log1p(max(0.0, float(total) / 100.0)) for total in columns["total"]]  # type: ignore[arg-type]
        found.append(habit("value of an order", customers, values, seed))
    if warehouse.refunds is not None and "returned_orders" in warehouse.known:
        returned = set()
        for batch in warehouse.batches(warehouse.refunds.semi_join(orders, "order_id").select("order_id").distinct()):
            returned |= set(batch["order_id"])
        values = [float(order_id in returned) for order_id in columns["order_id"]]
        found.append(habit("whether an order comes back", customers, values, seed))
    return tuple(one for one in found if one is not None)
