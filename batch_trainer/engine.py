"""One open warehouse of any kind: opening it by its URL, and the few things that are done with it."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.schema as sch
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.expr.types import Table

from batch_trainer import redshift
from batch_trainer.source import WarehouseError, WarehouseUnreachable, suggestion

_DRIVERS: Final = {
    "postgres": ("psycopg", "postgres"),
    "postgresql": ("psycopg", "postgres"),
    "redshift": ("psycopg", "postgres"),
    "pyspark": ("pyspark", "spark"),
    "snowflake": ("snowflake.connector", "snowflake"),
    "bigquery": ("google.cloud.bigquery", "bigquery"),
    "databricks": ("databricks.sql", "databricks"),
}
"""Scheme -> the module that must be there, and the extra that brings it."""
_VIEWS: Final = frozenset({"duckdb", "postgres", "pyspark", "databricks"})
"""Warehouses with temporary views: they read the source's SQL themselves, as it is written."""
_PREFIX: Final = "segstream_"
_EMBEDDED: Final = {
    "memory_limit": "700MB",
    "threads": str(min(os.cpu_count() or 1, 4)),  # more would not fit into the memory
    "preserve_insertion_order": "false",
    "enable_progress_bar": "false",  # from `python -c` and notebooks it would be drawn into what we print
}
"""How DuckDB runs inside this process, unless the URL says otherwise: what it may hold in memory is ours, the rest goes to the disk."""


@dataclass(slots=True)
class Engine:
    """A connection: temporary tables, reads in batches, and the SQL of both."""

    backend: Any
    borrowed: bool = False
    """Whether someone else opened the connection and will close it."""
    scratch: tempfile.TemporaryDirectory[str] | None = None
    """Where the embedded database puts what does not fit into memory; gone at the latest when this process ends."""
    _made: list[str] = field(default_factory=list)
    _reads: int = 0

    @property
    def kind(self) -> str:
        """Which kind of warehouse it is, by ibis's name."""
        return str(self.backend.name)

    def source(self, name: str, sql: str) -> Table:
        """The rows that the SQL of a source gives; nothing is read yet but their types."""
        if self.kind not in _VIEWS:
            return self.backend.sql(sql)
        view = f"{_PREFIX}source_{name}"
        self.run(self.view(name, sql))
        return self.backend.table(view)

    def view(self, name: str, sql: str) -> str:
        """The statement that names the SQL of a source; empty where it is written into each query."""
        if self.kind not in _VIEWS:
            return ""
        temporary = "TEMPORARY" if self.kind != "duckdb" else "TEMP"
        return f"CREATE OR REPLACE {temporary} VIEW {_PREFIX}source_{name} AS {sql}"

    def refer(self, name: str, schema: sch.Schema) -> Table:
        """A temporary table that `keep` makes or will make."""
        return ops.DatabaseTable(
            _PREFIX + name, schema=schema, source=self.backend, namespace=ops.Namespace()
        ).to_expr()

    def sql(self, rows: Table) -> str:
        """What is asked of the warehouse, in its dialect."""
        return str(self.backend.compiler.to_sqlglot(rows).sql(dialect=self.backend.dialect, pretty=True))

    def statement(self, name: str, rows: Table) -> str:
        """What makes a temporary table of rows, in the warehouse's dialect."""
        view = self.kind in ("pyspark", "databricks")
        return str(
            sge.Create(
                kind="VIEW" if view else "TABLE",
                this=sg.table(_PREFIX + name, quoted=True),
                replace=view,
                expression=self.backend.compiler.to_sqlglot(rows),
                properties=sge.Properties(expressions=[sge.TemporaryProperty()]),
            ).sql(dialect=self.backend.dialect, pretty=True)
        )

    def keep(self, name: str, rows: Table) -> Table:
        """The rows as they are now, in a temporary table.

        Not ibis's `cache()`: it drops its table whenever the garbage collector comes, and a statement on the connection ends a
        running read. Spark has no temporary tables: its rows are kept by the executors, and are lost (with an error) but never
        computed anew from data that may have changed.
        """
        self._reads += 1
        if self.kind == "pyspark":
            kept = self.backend.raw_sql(self.sql(rows)).localCheckpoint(eager=True)
            kept.createOrReplaceTempView(_PREFIX + name)
        else:
            self.run(self.statement(name, rows))
        if self.kind == "postgres":
            self.run(
                f"ANALYZE {_PREFIX}{name}"
            )  # nobody else does it for temporary tables, and the planner wants to know
        self._made.append(name)
        return self.refer(name, rows.schema())

    def drop(self, name: str) -> None:
        """Give the room of a temporary table back."""
        self._made.remove(name)
        kind = "VIEW" if self.kind in ("pyspark", "databricks") else "TABLE"
        self.run(sge.Drop(kind=kind, this=sg.table(_PREFIX + name, quoted=True)).sql(dialect=self.backend.dialect))

    def run(self, sql: str) -> None:
        """Execute a statement that gives no rows."""
        self._reads += 1
        if self.kind == "postgres":
            with self.backend.con.transaction():  # a savepoint: an error leaves the snapshot usable
                self.backend.con.execute(sql)
            return
        done = self.backend.raw_sql(sql)
        if self.kind in ("snowflake", "databricks"):
            done.close()

    def batches(self, rows: Table, size: int) -> Iterator[dict[str, list[Any]]]:
        """The rows of an expression, a batch of columns at a time. Finish one read before the next, or the first ends with an error."""
        self._reads += 1
        mine = self._reads
        for batch in self._fetch(rows, size):
            yield batch
            if self._reads != mine:
                raise RuntimeError(
                    "another read of the warehouse began before this one had ended; read one after the other"
                )

    def _fetch(self, rows: Table, size: int) -> Iterator[dict[str, list[Any]]]:
        if self.kind in ("postgres", "redshift"):
            yield from self._fetch_on_the_server(rows, size)
        elif self.kind == "pyspark":
            yield from _columns(rows.columns, self.backend.raw_sql(self.sql(rows)).toLocalIterator(), size)
        else:
            for batch in self.backend.to_pyarrow_batches(rows, chunk_size=size):
                yield batch.to_pydict()

    def _fetch_on_the_server(self, rows: Table, size: int) -> Iterator[dict[str, list[Any]]]:
        """By a cursor of the server: a client's cursor would fetch the whole result at once."""
        with self.backend.con.cursor(name=f"{_PREFIX}read") as cursor:
            cursor.itersize = size
            cursor.execute(self.sql(rows))
            yield from _columns(rows.columns, cursor, size)

    def one(self, rows: Table) -> tuple[Any, ...]:
        """The only row of an expression."""
        for columns in self.batches(rows, 1):
            return tuple(values[0] for values in columns.values())
        raise AssertionError("an aggregate gives a row")

    def tables(self) -> list[str]:
        """The names of the warehouse's own tables."""
        return sorted(name for name in self.backend.list_tables() if not name.startswith(_PREFIX))

    def named(self, sql: str) -> dict[str, list[str]]:
        """The tables that a source's SQL names and their columns, none where there is no such table."""
        there = {name.lower(): name for name in self.tables()}
        found = {}
        for table in sg.parse_one(sql, read=self.backend.dialect).find_all(sge.Table):
            if table.name and not table.db:
                name = there.get(table.name.lower())
                found[table.name] = [] if name is None else list(self.backend.get_schema(name))
        return found

    def close(self) -> None:
        """Give the connection back, and what was made on it."""
        try:
            if self.borrowed:
                for name in list(self._made):
                    self.drop(name)
            else:
                self.backend.disconnect()
        finally:
            if self.scratch is not None:
                self.scratch.cleanup()


def _columns(names: tuple[str, ...], rows: Any, size: int) -> Iterator[dict[str, list[Any]]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield dict(zip(names, map(list, zip(*batch, strict=True)), strict=True))
            batch = []
    if batch:
        yield dict(zip(names, map(list, zip(*batch, strict=True)), strict=True))


def connect(url: str) -> Engine:
    """Open the warehouse at a URL; all reads on it see one state where the warehouse can do that.

    Raises WarehouseUnreachable where it cannot be opened, WarehouseError where the URL or a driver is not there.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise WarehouseError(
            f"warehouse URL {url!r} has no scheme; expected e.g. duckdb:///path/to/file.duckdb, duckdb:// or postgres://..."
        )
    if scheme == "duckdb":
        return _embedded(rest)
    if scheme not in _DRIVERS:
        known = ["duckdb", *_DRIVERS]
        raise WarehouseError(
            f"warehouse URL {masked(url)}: scheme {scheme!r} is not known; there are {', '.join(known)}{suggestion(scheme, known)}"
        )
    module, extra = _DRIVERS[scheme]
    if not _installed(module):
        raise WarehouseError(
            f"{scheme}:// needs the driver {module}, which is not installed: pip install 'segstream[{extra}]'"
        )
    before = _spark_session() if scheme == "pyspark" else None
    try:
        backend = redshift.Backend(url) if scheme == "redshift" else ibis.connect(url)
        if backend.name == "postgres":
            _one_snapshot(backend.con)
    except Exception as error:  # each backend raises its driver's own errors
        raise WarehouseUnreachable(f"warehouse {masked(url)} cannot be opened: {first_line(error)}") from error
    return Engine(backend, borrowed=before is not None)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _spark_session() -> Any:
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession()


def _one_snapshot(connection: Any) -> None:
    """From here to the end one transaction, in which every query sees the same state."""
    from psycopg import IsolationLevel

    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.autocommit = False
    connection.execute("SELECT 1")


def _embedded(rest: str) -> Engine:
    path, _, query = rest.partition("?")
    memory = path in ("", ":memory:")
    if not memory and not Path(path).is_file():
        raise WarehouseUnreachable(
            f"there is no DuckDB file {path!r} (working directory {Path.cwd()}); duckdb:// alone is an in-memory database"
        )
    try:
        backend = ibis.duckdb.connect() if memory else ibis.duckdb.connect(path, read_only=True)
    except duckdb.Error as error:
        raise WarehouseUnreachable(f"the DuckDB file {path!r} cannot be opened: {first_line(error)}") from error
    scratch = tempfile.TemporaryDirectory(prefix="segstream-duckdb-", ignore_cleanup_errors=True)
    engine = Engine(backend, scratch=scratch)
    try:
        for name, value in {"temp_directory": scratch.name, **_EMBEDDED, **dict(parse_qsl(query))}.items():
            backend.raw_sql(
                f"SET {sg.to_identifier(name, quoted=True).sql('duckdb')} = {sge.convert(value).sql('duckdb')}"
            )
    except duckdb.Error as error:
        engine.close()
        raise WarehouseError(
            f"the settings in {masked('duckdb://' + rest)} are not DuckDB's: {first_line(error)}"
        ) from error
    backend.raw_sql("SET TimeZone = 'UTC'")
    return engine


def masked(url: str) -> str:
    """The URL without its secrets.

    >>> masked("postgres://me:secret@host/shop"), masked("databricks://host/path?access_token=abc&catalog=main")
    ('postgres://me:***@host/shop', 'databricks://host/path?access_token=***&catalog=main')
    """
    url = re.sub(r"(://[^:/@]*:)[^@/]*@", r"\1***@", url)
    return re.sub(
        r"([?&][^=&]*(?:password|token|secret|key|credentials)[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE
    )


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]
