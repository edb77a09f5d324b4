"""The shop's data warehouse: a DuckDB file with theLook's tables and columns, loaded with history and kept up with what happens live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from sandbox.shop import Cancellation, Happening, Product, Purchase, Refund, SignUp
from schemas.times import from_micros

_TABLES = """
CREATE TABLE users (id BIGINT, age BIGINT, gender VARCHAR, country VARCHAR, traffic_source VARCHAR, created_at TIMESTAMP);
CREATE TABLE orders (order_id BIGINT, user_id BIGINT, status VARCHAR, created_at TIMESTAMP, returned_at TIMESTAMP, num_of_item INTEGER);
CREATE TABLE order_items (id BIGINT, order_id BIGINT, user_id BIGINT, product_id BIGINT, inventory_item_id BIGINT, status VARCHAR,
                          created_at TIMESTAMP, sale_price DOUBLE);
CREATE TABLE products (id BIGINT, cost DOUBLE, category VARCHAR, name VARCHAR, brand VARCHAR, retail_price DOUBLE, department VARCHAR);
"""


def create(path: Path, catalogue: Sequence[Product]) -> None:
    """A new warehouse with the catalogue; an old one at this path is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as con:
        con.execute(_TABLES)
        rows = [
            (
                p.id,
                p.price / 250,
                p.category,
                f"{p.brand or 'No-name'} {p.category} {p.id}",
                p.brand,
                p.price / 100,
                "All",
            )
            for p in catalogue
        ]
        _insert(con, "products", rows)


def append(path: Path, happenings: Iterable[Happening]) -> int:
    """Take in what has happened, in one transaction; how much that was."""
    users: list[tuple[Any, ...]] = []
    orders: list[tuple[Any, ...]] = []
    items: list[tuple[Any, ...]] = []
    fates: list[tuple[Any, ...]] = []
    count = 0
    for happening in happenings:
        count += 1
        at = _naive(happening.at)
        if isinstance(happening, SignUp):
            t = happening.traits
            users.append((happening.user_id, t.age, t.gender, t.country, t.traffic_source, at))
        elif isinstance(happening, Purchase):
            orders.append((happening.order_id, happening.user_id, "Complete", at, None, len(happening.lines)))
            items += [
                (
                    line.item_id,
                    happening.order_id,
                    happening.user_id,
                    line.product.id,
                    line.item_id,
                    "Complete",
                    at,
                    line.price / 100,
                )
                for line in happening.lines
            ]
        elif isinstance(happening, Cancellation):
            fates.append((happening.order_id, "Cancelled", None))
        elif isinstance(happening, Refund):
            fates.append((happening.order_id, "Returned", at))
    with duckdb.connect(str(path)) as con:
        con.execute("BEGIN")
        _insert(con, "users", users)
        _insert(con, "orders", orders)
        _insert(con, "order_items", items)
        if fates:
            con.execute("CREATE TEMP TABLE fates (order_id BIGINT, status VARCHAR, returned_at TIMESTAMP)")
            _insert(con, "fates", fates)
            con.execute(
                "UPDATE orders SET status = f.status, returned_at = f.returned_at FROM fates f WHERE orders.order_id = f.order_id"
            )
            con.execute("UPDATE order_items SET status = f.status FROM fates f WHERE order_items.order_id = f.order_id")
            con.execute("DROP TABLE fates")
        con.execute("COMMIT")
    return count


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    described = con.execute(f"DESCRIBE {table}").fetchall()
    frame = pd.DataFrame(rows, columns=[name for name, *_ in described], dtype=object)
    columns = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind, *_ in described)
    con.register("incoming", frame)
    con.execute(f"INSERT INTO {table} SELECT {columns} FROM incoming")
    con.unregister("incoming")


def _naive(at: int) -> datetime:
    return from_micros(at).replace(tzinfo=None)
