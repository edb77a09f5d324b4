"""Small shops for the tests: made by Hypothesis or by a seed, written into a DuckDB file or memory."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

DATA = Path(__file__).parents[2].parent / "shared" / "data"
THELOOK = DATA / "thelook_google_generator"
UCI = DATA / "uci_online_retail"
REFERENCE = DATA / "reference" / "reference.json"

NOW = 1_770_000_000_000_000

ARROW = {"VARCHAR": pa.string(), "TIMESTAMP": pa.timestamp("us"), "DOUBLE": pa.float64(), "BIGINT": pa.int64()}

TYPES = {
    "customers": {
        "user_id": "VARCHAR",
        "signed_up_at": "TIMESTAMP",
        "age": "DOUBLE",
        "gender": "VARCHAR",
        "country": "VARCHAR",
        "traffic_source": "VARCHAR",
    },
    "orders": {
        "order_id": "VARCHAR",
        "user_id": "VARCHAR",
        "ordered_at": "TIMESTAMP",
        "status": "VARCHAR",
        "total": "DOUBLE",
    },
    "order_items": {
        "order_id": "VARCHAR",
        "item_id": "BIGINT",
        "product_id": "VARCHAR",
        "brand": "VARCHAR",
        "category": "VARCHAR",
        "price": "DOUBLE",
        "quantity": "DOUBLE",
    },
    "refunds": {
        "refund_id": "VARCHAR",
        "order_id": "VARCHAR",
        "user_id": "VARCHAR",
        "refunded_at": "TIMESTAMP",
        "amount": "DOUBLE",
    },
}


def some_of_thelook(into: Path, one_in: int) -> Path:
    """A directory with theLook as it is for every nth customer: she with all her orders, and every product."""
    into.mkdir(parents=True, exist_ok=True)
    kept = {
        "users": f"id % {one_in} = 0",
        "orders": f"user_id % {one_in} = 0",
        "order_items": f"user_id % {one_in} = 0",
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in ("users", "orders", "order_items", "products"):
            rows = f"FROM read_parquet('{THELOOK / name}.parquet') WHERE {kept.get(name, 'true')}"
            connection.execute(f"COPY ({rows}) TO '{into / name}.parquet' (FORMAT parquet)")
    return into


@dataclass
class Shop:
    """The rows of each relation, in the order of TYPES; a relation that is missing isn't in the source."""

    rows: dict[str, list[tuple[Any, ...]]]
    columns: dict[str, list[str]] = field(default_factory=lambda: {name: list(cols) for name, cols in TYPES.items()})

    def tables(self) -> dict[str, pa.Table]:
        """Its rows as Arrow tables."""
        return {name: _arrow(name, rows) for name, rows in self.rows.items()}

    def write(self, path: Path) -> tuple[str, Path]:
        """A DuckDB file and a source file for it, in the directory `path`: (url, source)."""
        path.mkdir(parents=True, exist_ok=True)
        file = path / "shop.duckdb"
        file.unlink(missing_ok=True)
        with duckdb.connect(str(file)) as connection:
            for name, rows in self.rows.items():
                columns = ", ".join(f"{column} {kind}" for column, kind in TYPES[name].items())
                connection.execute(f"CREATE TABLE {name} ({columns})")
                if rows:
                    connection.register("given", _arrow(name, rows))
                    connection.execute(f"INSERT INTO {name} FROM given")
        lines = [f'{name} = "SELECT {", ".join(self.columns[name])} FROM {name}"' for name in self.rows]
        source = path / "shop.toml"
        source.write_text("[relations]\n" + "\n".join(lines) + "\n")
        return f"duckdb://{file}", source


def _arrow(name: str, rows: list[tuple[Any, ...]]) -> pa.Table:
    fields = [pa.field(column, ARROW[kind]) for column, kind in TYPES[name].items()]
    values = [dict(zip(TYPES[name], row, strict=True)) for row in rows]
    return pa.Table.from_pylist(values, schema=pa.schema(fields))


def regulars(count: int = 400, seed: int = 7) -> Shop:
    """A shop of four kinds of customers that lie well apart."""
    chance = random.Random(seed)
    start = datetime(2024, 1, 1)  # noqa: DTZ001 - a warehouse's naive time stamps
    kinds = [(1, 20.0, 1), (9, 30.0, 4), (2, 400.0, 2), (20, 150.0, 6)]
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TYPES}
    item = 0
    for user in range(count):
        orders, price, categories = kinds[user % len(kinds)]
        traits = (chance.choice("FM"), chance.choice(["DE", "FR", "US"]), chance.choice(["Search", "Email"]))
        rows["customers"].append((str(user), start, float(chance.randint(18, 80)), *traits))
        for number in range(max(1, orders + chance.randint(-1, 1))):
            order = f"{user}-{number}"
            at = start + timedelta(hours=chance.randint(1, 8000))
            rows["orders"].append((order, str(user), at, "Complete", None))
            if chance.random() < 0.1:
                rows["refunds"].append((f"r{order}", order, str(user), at + timedelta(days=3), None))
            for _ in range(chance.randint(1, 2)):
                item += 1
                label = f"c{chance.randrange(categories)}"
                amount = round(price * chance.lognormvariate(0, 0.2), 2)
                rows["order_items"].append((order, item, f"p{item % 9}", f"b{item % 5}", label, amount, 1.0))
    return Shop(rows)


_ids = st.sampled_from(["1", "2", "10", "é", "Z", "a b", "\U0001f600", "\uffff0", "\uff5e"])
_order_ids = st.sampled_from([str(i) for i in range(12)] + ["B", "a", "Ä", "\U0001f600"])
_times = st.integers(0, 6).map(lambda i: datetime(2024, 1, 1) + timedelta(days=i, microseconds=i * 111_111))  # noqa: DTZ001
_maybe_times = st.one_of(st.none(), _times, st.just(datetime(1950, 1, 1)))  # noqa: DTZ001
_labels = st.one_of(
    st.none(),
    st.sampled_from(["", "A", "B", "a\x1fb", "ä", "Z", "x" * 250, "\U0001f468\u200d\U0001f469" * 90]),
    st.text(max_size=4),
).filter(lambda text: text is None or "\x00" not in text)
_amounts = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.005, 1.005, 29.989999771118164, -3.5, 1e10, 1e15, math.nan, math.inf]),
    st.floats(-1e6, 1e6),
)
_quantities = st.sampled_from([None, 1.0, 2.0, 0.0, -1.0, 1.5, 1e12, math.nan])
_ages = st.sampled_from([None, 0.0, -0.4, 33.7, 150.0, 151.0, -3.0, math.nan, 1e300])
_statuses = st.sampled_from([None, "Complete", "Cancelled", " canceled ", "CANCELLED", "Returned"])


def nasties(orders: int = 300, seed: int = 3) -> Shop:
    """One shop with much of what `shops` thinks of, for warehouses that are too slow for many."""
    chance = random.Random(seed)
    labels = [None, "", "A", "B", "a\x1fb", "ä", "Z", "x" * 250, "\U0001f468\u200d\U0001f469" * 90, " A", "a"]
    users = [
        None,
        "1",
        "2",
        "10",
        "é",
        "Z",
        "a b",
        "\U0001f600",
        "\uffff0",
        "\uff5e",
        "",
        "x" * 201,
        "tab\tbed",
        "a\nb\n",
    ]
    users += ["nbsp\u00a0", "\u0378", "\u200b", "\ue000"]
    amounts = [None, 0.0, 0.005, 1.005, 29.989999771118164, -3.5, 1e10, 1e15, math.nan, math.inf, -1e6 / 3]
    quantities = [None, 1.0, 2.0, 0.0, -1.0, 1.5, 1e12, math.nan]
    ages = [None, 0.0, -0.4, 33.7, 150.0, 151.0, -3.0, math.nan, 1e300]
    start = datetime(2024, 1, 1)  # noqa: DTZ001
    times = [start + timedelta(days=i, microseconds=i * 111_111) for i in range(7)] + [None, datetime(1950, 1, 1)]  # noqa: DTZ001
    statuses = [None, "Complete", "Cancelled", " canceled ", "CANCELLED", "Returned"]
    ids = [str(i) for i in range(orders)] + ["B", "a", "Ä", "\U0001f600"]
    pick = chance.choice
    rows: dict[str, list[tuple[Any, ...]]] = {
        "customers": [(user, pick(times), pick(ages), pick(labels), pick(labels), pick(labels)) for user in users],
        "orders": [(i, pick(users), pick(times), pick(statuses), pick(amounts)) for i in ids],
        "order_items": [
            (pick(ids), pick([None, 1, 2, 3]), pick([None, "p", "Q", "q"]), pick(labels), pick(labels), pick(amounts), pick(quantities))
            for _ in range(orders * 4)
        ],
        "refunds": [(pick([None, *ids]), pick(ids), pick(users), pick(times), pick(amounts)) for _ in range(orders // 2)],
    }  # fmt: skip
    rows["orders"].append(("sure", "1", start, "Complete", 5.0))
    return Shop(rows)


def shops() -> st.SearchStrategy[Shop]:
    """Small shops with every kind of nastiness: ties, gaps, strange amounts, refunds of unknown orders, missing relations."""
    users = st.one_of(st.none(), _ids, st.sampled_from(["", "x" * 201, "tab\tbed", "nbsp\u00a0"]))
    customers = st.lists(
        st.tuples(users, _maybe_times, _ages, _labels, _labels, _labels), max_size=6, unique_by=lambda row: row[0]
    )
    orders = st.lists(
        st.tuples(_order_ids, users, _maybe_times, _statuses, _amounts), max_size=14, unique_by=lambda row: row[0]
    )
    items = st.lists(
        st.tuples(
            st.one_of(st.none(), _order_ids),
            st.one_of(st.none(), st.integers(0, 5)),
            st.one_of(st.none(), st.sampled_from(["p", "q"])),
            _labels,
            _labels,
            _amounts,
            _quantities,
        ),
        max_size=30,
    )
    refunds = st.lists(
        st.tuples(st.one_of(st.none(), _order_ids), st.one_of(st.none(), _order_ids), users, _maybe_times, _amounts),
        max_size=8,
    )
    rows = st.fixed_dictionaries(
        {"orders": orders}, optional={"customers": customers, "order_items": items, "refunds": refunds}
    )
    return st.builds(_with_columns, rows, st.randoms(use_true_random=False))


def _with_columns(rows: dict[str, list[tuple[Any, ...]]], chance: random.Random) -> Shop:
    """One order that is certainly usable, and now and then a column that the source doesn't give."""
    sure = ("sure", "1", datetime(2024, 1, 2), "Complete", 5.0)  # noqa: DTZ001
    shop = Shop({**rows, "orders": [*rows["orders"], sure]})
    required = {"user_id", "order_id", "ordered_at"}
    for name, columns in shop.columns.items():
        shop.columns[name] = [c for c in columns if c in required or chance.random() < 0.9]
    return shop
