"""The warehouse, opened through ibis: its relations in canonical form, what they can tell, and how good they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import ibis.common.exceptions as ibis_errors
import sqlglot
from ibis.expr.types import Table

from batch_trainer import counting, inspection, relations
from batch_trainer.canon import Canon
from batch_trainer.engine import Engine, connect, first_line, masked
from batch_trainer.plan import plan
from batch_trainer.relations import Relation
from batch_trainer.source import EmptyWarehouse, Source, WarehouseError, WarehouseUnreachable, read_source, suggestion
from schemas.features import Facts
from schemas.times import DAY, rfc3339

__all__ = [
    "Customers",
    "EmptyWarehouse",
    "Warehouse",
    "WarehouseError",
    "WarehouseUnreachable",
    "explain",
    "open_warehouse",
]

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
    engine: Engine
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
    last_order: int
    """Time of the last order, microseconds UTC."""
    as_of: int | None
    """What happened after this moment is not in it, microseconds UTC; None: whatever the warehouse holds is."""
    shares: tuple[str, ...] = ()
    """The shares of labels that are counted too: features, see `count_shares`."""
    _everyone: Table | None = None

    @property
    def data_until(self) -> int:
        """Until when it tells everything, microseconds UTC."""
        return self.last_order if self.as_of is None else self.as_of

    @property
    def today(self) -> int:
        """The day as of which it is read: that of `data_until`."""
        return self.data_until // DAY

    @property
    def backend(self) -> Any:
        """The ibis backend."""
        return self.engine.backend

    def facts(self) -> Customers:
        """What can be counted of every customer: computed in the warehouse, sorted by user id."""
        return read(self, self.counting())

    def each(self, rows: int = BATCH) -> Iterator[Customers]:
        """The same in batches and in no order, so that it needs the memory of one batch."""
        for columns in self.batches(self.counting(), rows):
            yield customers_of(columns, self.shares)

    def counting(self) -> Table:
        """The expression that counts them."""
        return counting.facts(self.customers, self.orders, self.items, self.refunds, self.today, self.shares)

    def count_shares(self, features: Iterable[str]) -> None:
        """Count these shares of labels too, from now on."""
        wanted = tuple(sorted(set(features)))
        if wanted != self.shares and self._everyone is not None:
            self.engine.drop("facts")
            self._everyone = None
        self.shares = wanted

    def everyone(self) -> Table:
        """Their facts in a temporary table, for more than one question."""
        if self._everyone is None:
            self._everyone = self.engine.keep("facts", self.counting())
        return self._everyone

    def batches(self, table: Table, rows: int = BATCH) -> Iterator[dict[str, list[Any]]]:
        """The rows of an expression, a batch of columns at a time."""
        return self.engine.batches(table, rows)

    def close(self) -> None:
        """Give the connection back."""
        self.engine.close()

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(warehouse: Warehouse, facts: Table) -> Customers:
    """Customers by user id in ascending order."""
    parts = [customers_of(columns, warehouse.shares) for columns in warehouse.batches(facts)]
    pairs = sorted((pair for some in parts for pair in zip(some.user_ids, some.facts, strict=True)), key=lambda p: p[0])
    return Customers([user_id for user_id, _ in pairs], [known for _, known in pairs])


def customers_of(columns: Mapping[str, list[Any]], shares: Sequence[str] = ()) -> Customers:
    """The customers of a batch of rows, with the shares that were counted."""
    fields = [columns[name] for name in Facts.__struct_fields__ if name != "shares"]
    if not shares:
        return Customers(columns["user_id"], list(map(Facts, *fields)))
    counts = zip(*(columns[counting.share_column(name)] for name in shares), strict=True)
    found = [
        {name: count / items for name, count in zip(shares, own, strict=True) if count}
        for items, own in zip(columns["items"], counts, strict=True)
    ]
    return Customers(columns["user_id"], list(map(Facts, *fields, found)))


def open_warehouse(
    url: str, source: str | Path | Source, params: Mapping[str, str] | None = None, *, as_of: int | None = None
) -> Warehouse:
    """The warehouse at an ibis URL, its relations mapped by a source, as it was at a moment (microseconds UTC).

    `duckdb://` is an in-memory DuckDB whose SQL may read Parquet and CSV files, `duckdb:///abs/path` or `duckdb://path` a file (opened
    read-only); `?memory_limit=4GB&threads=4` are DuckDB's own settings. `postgres://`, `pyspark://`, `snowflake://`, `bigquery://`
    and `databricks://` go through `ibis.connect`, `redshift://` through a backend of our own. Raises WarehouseUnreachable where it
    cannot be opened, EmptyWarehouse where it has no order, WarehouseError where it is not what the source says.

    >>> with open_warehouse("duckdb://", Source(name="tiny", relations={
    ...         "orders": "SELECT 1 AS order_id, 7 AS user_id, TIMESTAMP '2026-01-01' AS ordered_at, 9.99 AS total"})) as shop:
    ...     customers = shop.facts()
    >>> customers.user_ids, customers.facts[0].spend
    (['7'], 999)
    """
    mapped = source if isinstance(source, Source) else read_source(source, params)
    engine = connect(url)
    try:
        return _load(engine, mapped, url, as_of)
    except BaseException:
        engine.close()
        raise


def explain(
    url: str, source: str | Path | Source, params: Mapping[str, str] | None = None, *, as_of: int | None = None
) -> dict[str, str]:
    """The SQL that opening this warehouse and counting its customers runs, by what it is for, in the order in which it is run.

    Only the types of the columns are asked for. Raises as `open_warehouse` does.
    """
    mapped = source if isinstance(source, Source) else read_source(source, params)
    engine = connect(url)
    try:
        given = _given(engine, mapped)
        made = plan(given, Canon(engine.kind), engine.refer, as_of)
        # Without a moment the day is that of the last order, which only the data tells.
        today = 0 if as_of is None else as_of // DAY
        counted = counting.facts(made.customers, made.orders, made.items, made.refunds, today)
        views = {f"relation {name}": engine.view(name, sql) for name, sql in mapped.relations.items()}
        return (
            {name: sql for name, sql in views.items() if sql}
            | {f"check {name}": engine.sql(rows) for name, rows in inspection.times(given).items()}
            | {f"keep {step.name}": engine.statement(step.name, step.rows) for step in made.steps}
            | {f"check {name}": engine.sql(rows) for name, rows in made.questions.items()}
            | {"keep facts": engine.statement("facts", counted)}
        )
    finally:
        engine.close()


def _load(engine: Engine, source: Source, url: str, as_of: int | None) -> Warehouse:
    given = _given(engine, source)
    inspection.check_times(_answers(engine, inspection.times(given)))
    made = plan(given, Canon(engine.kind), engine.refer, as_of)
    for step in made.steps:
        with _named(engine, step.relation):
            engine.keep(step.name, step.rows)
    answers = _answers(engine, made.questions)
    inspection.check_keys(answers)
    found = inspection.findings(answers, as_of)
    span = answers["usable orders"]
    if not span["orders"]:
        until = "" if as_of is None else f" until {rfc3339(as_of)}"
        raise EmptyWarehouse(
            f"warehouse {masked(url)} has no usable order{until} (source {source.name}: {found['orders']}); check the SQL of relation orders"
        )
    for name in made.spare:
        engine.drop(name)
    left_out = _left_out(given)
    return Warehouse(
        name=source.name,
        url=masked(url),
        engine=engine,
        customers=made.customers,
        orders=made.orders,
        items=made.items,
        refunds=made.refunds,
        known=frozenset(Facts.__struct_fields__) - left_out.keys(),
        left_out=left_out,
        quality=found,
        data_from=span["first"],
        last_order=span["last"],
        as_of=as_of,
    )


def _given(engine: Engine, source: Source) -> dict[str, Relation]:
    return {name: relations.relation(name, _table(engine, name, sql)) for name, sql in source.relations.items()}


def _table(engine: Engine, name: str, sql: str) -> Table:
    try:
        return engine.source(name, sql)
    except duckdb.IOException as error:
        raise WarehouseUnreachable(
            f"relation {name}: {first_line(error)}; if the source has a parameter for its directory, give it with --param dir=..."
        ) from error
    except Exception as error:  # the drivers of other warehouses raise their own errors
        raise WarehouseError(
            f"the SQL of relation {name} does not run: {_reason(error)}{_there(engine, sql)}"
        ) from error


class _named:
    """Errors that the warehouse raises while it computes a relation say which relation it was."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        ours = (
            isinstance(error, (duckdb.Error, ibis_errors.IbisError))
            if self._engine.kind == "duckdb"
            else isinstance(error, Exception)
        )
        if ours and error is not None and not isinstance(error, WarehouseError):
            raise WarehouseError(f"relation {self._name} cannot be read: {_reason(error)}") from error


def _answers(engine: Engine, questions: Mapping[str, Table]) -> dict[str, dict[str, Any]]:
    return {name: dict(zip(rows.columns, engine.one(rows), strict=True)) for name, rows in questions.items()}


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


def _reason(error: BaseException) -> str:
    """The message of a database error without its drawing of the SQL."""
    text = re.split(r"\n\n?(?:LINE |== SQL)", str(error))[0]
    return " ".join(text.split())[:500]


def _there(engine: Engine, sql: str) -> str:
    """What the warehouse has instead of what the SQL asks for."""
    try:
        named = engine.named(sql)
    except sqlglot.errors.SqlglotError:
        return ""
    tables = engine.tables()
    told = [f"; {table} has {', '.join(columns)}" for table, columns in named.items() if columns]
    lost = [suggestion(table, tables) for table, columns in named.items() if not columns]
    return f"; the tables there are: {', '.join(tables[:20]) or 'none'}" + "".join(told + lost)
