"""The warehouse holds exactly what has happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from sandbox import warehouse
from sandbox.shop import Cancellation, Happening, Purchase, Refund, Shop, SignUp
from schemas.times import from_micros
from tests.sandbox.shops import NOW, small


def naive(at: int) -> datetime:
    return from_micros(at).replace(tzinfo=None)


def loaded(path: Path, shop: Shop, *parts: Sequence[Happening]) -> Path:
    warehouse.create(path, shop.catalogue)
    for part in parts:
        assert warehouse.append(path, part) == len(part)
    return path


def holds(path: Path, happenings: Sequence[Happening]) -> None:
    cancelled = {h.order_id for h in happenings if isinstance(h, Cancellation)}
    returned = {h.order_id: h.at for h in happenings if isinstance(h, Refund)}
    orders = [h for h in happenings if isinstance(h, Purchase)]

    def status(order_id: int) -> str:
        return "Cancelled" if order_id in cancelled else "Returned" if order_id in returned else "Complete"

    with duckdb.connect(str(path), read_only=True) as con:
        users = con.execute("SELECT id, age, gender, country, traffic_source, created_at FROM users").fetchall()
        assert sorted(users) == sorted(
            (h.user_id, h.traits.age, h.traits.gender, h.traits.country, h.traits.traffic_source, naive(h.at))
            for h in happenings
            if isinstance(h, SignUp)
        )
        stored = con.execute(
            "SELECT order_id, user_id, status, created_at, returned_at, num_of_item FROM orders ORDER BY order_id"
        ).fetchall()
        assert stored == sorted(
            (
                o.order_id,
                o.user_id,
                status(o.order_id),
                naive(o.at),
                naive(returned[o.order_id]) if o.order_id in returned else None,
                len(o.lines),
            )
            for o in orders
        )
        items = con.execute(
            "SELECT id, order_id, user_id, product_id, status, round(sale_price * 100)::BIGINT FROM order_items ORDER BY id"
        ).fetchall()
        assert items == sorted(
            (line.item_id, o.order_id, o.user_id, line.product.id, status(o.order_id), line.price)
            for o in orders
            for line in o.lines
        )


def test_the_warehouse_holds_exactly_the_history(tmp_path: Path) -> None:
    shop = small()
    holds(loaded(tmp_path / "shop.duckdb", shop, shop.history), shop.history)


def test_what_happens_live_is_added_even_when_an_order_ends_in_a_later_part(tmp_path: Path) -> None:
    shop = small()
    live = [shop.live(NOW + i) for i in range(2000)]
    path = loaded(tmp_path / "shop.duckdb", shop, shop.history, *(live[i : i + 100] for i in range(0, len(live), 100)))
    holds(path, [*shop.history, *live])


def test_adding_nothing_is_no_error(tmp_path: Path) -> None:
    shop = small(customers=3)
    holds(loaded(tmp_path / "shop.duckdb", shop, [], shop.history, []), shop.history)


def test_products_keep_their_missing_brands(tmp_path: Path) -> None:
    shop = small()
    path = loaded(tmp_path / "shop.duckdb", shop)
    with duckdb.connect(str(path), read_only=True) as con:
        stored = con.execute("SELECT id, brand, category FROM products ORDER BY id").fetchall()
    assert stored == [(p.id, p.brand, p.category) for p in shop.catalogue]


def test_creating_again_begins_anew(tmp_path: Path) -> None:
    shop = small(customers=20)
    path = loaded(tmp_path / "shop.duckdb", shop, shop.history)
    holds(loaded(path, shop), [])
