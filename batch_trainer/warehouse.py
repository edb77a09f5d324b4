"""The warehouse, opened through ibis: its relations in canonical form, what they can tell, and how good they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import ibis
import ibis.common.exceptions as ibis_errors
from ibis.expr.types import Table

from batch_trainer import counting, relations
from batch_trainer.relations import Canon, Relation
from batch_trainer.source import (
    COLUMNS,
    EmptyWarehouse,
    Source,
    WarehouseError,
    WarehouseUnreachable,
    read_source,
    suggestion,
)
from schemas.features import Facts

__all__ = ["Customers", "EmptyWarehouse", "Warehouse", "WarehouseError", "WarehouseUnreachable", "open_warehouse"]

BATCH: Final = 20_000
"""Rows fetched at a time."""

_NEEDS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "items": (("order_items", "order_id"),),
    "spend": (("orders", "total"), ("order_items", "price")),
    "categories": (("order_items", "category"),),
    "returned_orders": (("refunds", "order_id"),),
    "age": (("customers", "age"),),
    "gender": (("customers", "gender"),),
    "country": (("customers", "country"),),
    "traffic_source": (("customers", "traffic_source"),),
    "brand": (("order_items", "brand"),),
    "category": (("order_items", "category"),),
}
"""Fact -> the columns of which one must be there; facts not named here need only the orders."""


@dataclass(frozen=True, slots=True)
class Customers:
    """The facts of every customer, by user id in ascending order."""

    user_ids: list[str]
    facts: list[Facts]

    def __len__(self) -> int:
        return len(self.user_ids)


@dataclass(slots=True, kw_only=True)
class Warehouse:
    """A snapshot of the relations in canonical form, kept in the warehouse's own temporary tables.

    Reads go through one connection: finish (or drop) one before the next, or the first ends with an error.
    """

    name: str
    url: str
    backend: Any
    customers: Table | None
    orders: Table
    items: Table | None
    refunds: Table | None
    known: frozenset[str]
    """The facts that this source can give."""
    left_out: Mapping[str, str]
    """The facts it cannot give, and why."""
    quality: Mapping[str, Any]
    """Counts of rows, of rows that were dropped and why, and shares that are unknown."""
    data_from: int
    """Time of the first order, microseconds UTC."""
    data_until: int
    """Time of the last order, microseconds UTC."""
    _reads: int = field(default=0, repr=False)

    def facts(self) -> Customers:
        """What can be counted of every customer: computed in the warehouse, sorted by user id."""
        user_ids: list[str] = []
        known: list[Facts] = []
        for columns in self.batches(counting.facts(self.customers, self.orders, self.items, self.refunds)):
            user_ids += columns["user_id"]
            known += map(Facts, *(columns[name] for name in Facts.__struct_fields__))
        order = sorted(range(len(user_ids)), key=user_ids.__getitem__)
        return Customers([user_ids[i] for i in order], [known[i] for i in order])

    def batches(self, table: Table, rows: int = BATCH) -> Iterator[dict[str, list[Any]]]:
        """The rows of an expression, a batch of columns at a time."""
        self._reads += 1
        mine = self._reads
        for batch in table.to_pyarrow_batches(chunk_size=rows):
            yield batch.to_pydict()
            if self._reads != mine:
                raise RuntimeError(
                    "another read of the warehouse began before this one had ended; read one after the other"
                )

    def close(self) -> None:
        """Give the connection back."""
        self.customers = self.items = self.refunds = None
        self.backend.disconnect()

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_warehouse(url: str, source: str | Path | Source, params: Mapping[str, str] | None = None) -> Warehouse:
    """The warehouse at an ibis URL, its relations mapped by a source.

    `duckdb://` is an in-memory DuckDB whose SQL may read Parquet and CSV files, `duckdb:///abs/path` or `duckdb://path` a file (opened
    read-only). Other URLs go through `ibis.connect` and are not tested with every release. Raises WarehouseUnreachable where it cannot be
    opened, EmptyWarehouse where it has no order, WarehouseError where it is not what the source says.

    >>> with open_warehouse("duckdb://", Source(name="tiny", relations={
    ...         "orders": "SELECT 1 AS order_id, 7 AS user_id, TIMESTAMP '2026-01-01' AS ordered_at, 9.99 AS total"})) as shop:
    ...     customers = shop.facts()
    >>> customers.user_ids, customers.facts[0].spend
    (['7'], 999)
    """
    mapped = source if isinstance(source, Source) else read_source(source, params)
    backend = _connect(url)
    try:
        return _load(backend, mapped, url)
    except BaseException:
        backend.disconnect()
        raise


def _connect(url: str) -> Any:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise WarehouseUnreachable(
            f"warehouse URL {url!r} has no scheme; expected e.g. duckdb:///path/to/file.duckdb, duckdb:// or postgres://..."
        )
    if scheme == "duckdb":
        return _connect_duckdb(rest)
    try:
        return ibis.connect(url)
    except Exception as error:  # each backend raises its driver's own errors
        raise WarehouseUnreachable(f"warehouse {masked(url)} cannot be opened: {_first_line(error)}") from error


def _connect_duckdb(path: str) -> Any:
    memory = path in ("", ":memory:")
    if not memory and not Path(path).is_file():
        raise WarehouseUnreachable(
            f"there is no DuckDB file {path!r} (working directory {Path.cwd()}); duckdb:// alone is an in-memory database"
        )
    try:
        backend = ibis.duckdb.connect() if memory else ibis.duckdb.connect(path, read_only=True)
    except duckdb.Error as error:
        raise WarehouseUnreachable(f"the DuckDB file {path!r} cannot be opened: {_first_line(error)}") from error
    backend.raw_sql("SET TimeZone = 'UTC'")
    return backend


def _load(backend: Any, source: Source, url: str) -> Warehouse:
    canon = Canon(backend.name)
    given = {name: relations.relation(name, _view(backend, name, sql)) for name, sql in source.relations.items()}
    quality: dict[str, Any] = {}
    with _named("orders"):
        stated = relations.orders(given["orders"], canon)
        placed = _kept(backend, stated, ("order_id", "user_id", "ordered_at"), quality, "orders")
        _unique(placed, "order_id", "orders")
    items = None
    if "order_items" in given:
        with _named("order_items"):
            items = _snapshot(backend, "lines", relations.items(given["order_items"], canon, placed))
    with _named("orders"):
        summed = relations.totals(placed, items)
        orders = _snapshot(backend, "orders", summed.filter(summed.total.notnull()))
    _items_quality(quality, given.get("order_items"), placed, orders, items)
    if items is not None and quality["orders"]["unusable_total"]:
        items = _snapshot(backend, "items", items.semi_join(orders, "order_id"))
    customers = refunds = None
    if "customers" in given:
        with _named("customers"):
            customers = _kept(
                backend, relations.customers(given["customers"], canon), ("user_id",), quality, "customers"
            )
            _unique(customers, "user_id", "customers")
    if "refunds" in given:
        with _named("refunds"):
            told = relations.refunds(given["refunds"], canon, orders)
            refunds = _kept(backend, told, ("refund_id", "order_id", "user_id", "refunded_at"), quality, "refunds")
    quality["unknown_share"] = _unknown_shares(given, customers, items)
    count, first, last = _one(orders.aggregate(n=orders.count(), a=orders.ordered_at.min(), z=orders.ordered_at.max()))
    if not count:
        raise EmptyWarehouse(
            f"warehouse {masked(url)} has no usable order (source {source.name}: {quality['orders']}); check the SQL of relation orders"
        )
    left_out = _left_out(given)
    return Warehouse(
        name=source.name,
        url=masked(url),
        backend=backend,
        customers=customers,
        orders=orders,
        items=items,
        refunds=refunds,
        known=frozenset(Facts.__struct_fields__) - left_out.keys(),
        left_out=left_out,
        quality=quality,
        data_from=first,
        data_until=last,
    )


def _view(backend: Any, name: str, sql: str) -> Table:
    try:
        if backend.name != "duckdb":
            return backend.sql(sql)
        view = f"segstream_source_{name}"
        backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW {view} AS {sql}")
        return backend.table(view)
    except duckdb.IOException as error:
        raise WarehouseUnreachable(
            f"relation {name}: {_first_line(error)}; if the source has a parameter for its directory, give it with --param dir=..."
        ) from error
    except Exception as error:  # the drivers of other warehouses raise their own errors
        raise WarehouseError(
            f"the SQL of relation {name} does not run: {_reason(error)}{_tables(backend, error)}"
        ) from error


class _named:
    """Errors that the warehouse raises while it computes a relation say which relation it was."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, (duckdb.Error, ibis_errors.IbisError)):
            raise WarehouseError(f"relation {self._name} cannot be read: {_reason(error)}") from error


def _one(table: Table) -> tuple[Any, ...]:
    columns = table.to_pyarrow().to_pydict()
    return tuple(values[0] for values in columns.values())


def _snapshot(backend: Any, name: str, table: Table) -> Table:
    """The rows as they are now, in a temporary table.

    Not ibis's `cache()`: it drops its table whenever the garbage collector comes, and a statement on the connection ends a running read.
    """
    return backend.create_table(f"segstream_{name}", table, temp=True)


def _kept(backend: Any, table: Table, needed: tuple[str, ...], quality: dict[str, Any], name: str) -> Table:
    """The rows that have all they need, and in `quality` how many had not."""
    whole = _snapshot(backend, f"given_{name}", table)
    counts = _one(whole.aggregate(rows=whole.count(), **{f"no_{c}": whole[c].isnull().sum() for c in needed}))
    kept = whole.drop_null(list(needed))
    dropped = {column: int(n or 0) for column, n in zip(needed, counts[1:], strict=True)}
    rows = int(counts[0])
    quality[name] = {"rows": rows, "kept": int(kept.count().execute()), "without_usable": dropped}
    return kept


def _unique(table: Table, key: str, name: str) -> None:
    counted = table.group_by(key).agg(n=table.count())
    twice = counted.filter(counted.n > 1)
    found = twice.order_by(key).limit(1).to_pyarrow().to_pydict()
    if found[key]:
        raise WarehouseError(
            f"relation {name} has {int(twice.count().execute())} {key} more than once, e.g. {found[key][0]!r} in {found['n'][0]} rows; "
            f"its SQL must give one row per {key}"
        )


def _items_quality(
    quality: dict[str, Any], given: Relation | None, placed: Table, orders: Table, items: Table | None
) -> None:
    quality["orders"]["unusable_total"] = quality["orders"]["kept"] - int(orders.count().execute())
    if given is None or items is None:
        return
    rows = int(given.table.count().execute())
    joined = int(items.count().execute())
    quality["order_items"] = {
        "rows": rows,
        "kept": joined,
        "without_usable_order": rows - joined,
        "orders_without_items": int(placed.anti_join(items, "order_id").count().execute()),
    }


def _unknown_shares(given: Mapping[str, Relation], customers: Table | None, items: Table | None) -> dict[str, float]:
    shares: dict[str, float] = {}
    for relation, table in (("customers", customers), ("order_items", items)):
        if table is None:
            continue
        columns = [c for c in COLUMNS[relation] if c in table.columns and given[relation].has(c)]
        columns = [c for c in columns if c not in ("user_id", "order_id", "price", "quantity")]
        if columns:
            values = _one(table.aggregate(**{c: table[c].isnull().mean() for c in columns}))
            shares |= {f"{relation}.{c}": round(float(v or 0.0), 6) for c, v in zip(columns, values, strict=True)}
    return shares


def _left_out(given: Mapping[str, Relation]) -> dict[str, str]:
    left_out = {}
    for fact, columns in _NEEDS.items():
        reasons = []
        for relation, column in columns:
            if relation in given and given[relation].has(column):
                break
            reasons.append(given[relation].lacks(column) if relation in given else f"there is no relation {relation}")
        else:
            left_out[fact] = " and ".join(reasons)
    return left_out


def masked(url: str) -> str:
    """The URL without its password.

    >>> masked("postgres://me:secret@host/shop")
    'postgres://me:***@host/shop'
    """
    return re.sub(r"(://[^:/@]*:)[^@/]*@", r"\1***@", url)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _reason(error: Exception) -> str:
    """The message of a database error without its drawing of the SQL."""
    text = str(error).split("\n\nLINE ")[0]
    return " ".join(text.split())[:500]


def _tables(backend: Any, error: Exception) -> str:
    match = re.search(r"Table with name (\S+) does not exist", str(error))
    if match is None:
        return ""
    tables = [name for name in backend.list_tables() if not name.startswith("segstream_source_")]
    listed = ", ".join(sorted(tables)[:20]) or "none"
    return f"; the tables there are: {listed}{suggestion(match.group(1), tables)}"
