"""A program for an environment of its own: what Snowflake's real connector says of a shop, spoken to a fake Snowflake server.

    python -m tests.batch_trainer.snowflake DIRECTORY

reads DIRECTORY/<relation>.parquet and prints the facts of every customer and the quality of the data as JSON. The fake (fakesnow)
runs Snowflake's SQL on DuckDB; it cannot be installed beside the trainer, because it wants other versions of the same libraries.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import fakesnow
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.schema as sch
import msgspec
import pyarrow.parquet
import snowflake.connector
from ibis.backends.snowflake import Backend

from batch_trainer import warehouse
from batch_trainer.engine import Engine
from batch_trainer.source import Source

TYPES = {0: dt.int64, 1: dt.float64, 2: dt.string, 3: dt.date, 8: dt.timestamp, 13: dt.boolean}
"""By the connector's type codes, as far as the shops have them."""


def main(directory: Path) -> None:
    names = sorted(path.stem for path in directory.glob("*.parquet"))
    tables = {name: pyarrow.parquet.read_table(directory / f"{name}.parquet") for name in names}
    with duckdb.connect(str(directory / "SHOP.db")) as shop:
        shop.execute("CREATE SCHEMA PUBLIC")
        for name, table in tables.items():
            shop.register("given", table)
            shop.execute(f"CREATE TABLE PUBLIC.{name.upper()} AS FROM given")
    Backend._setup_session = lambda *_, **__: None  # the fake does not know what ibis sets there
    with fakesnow.server(session_parameters={"FAKESNOW_DB_PATH": str(directory)}) as address:
        connection = snowflake.connector.connect(**address, database="SHOP", schema="PUBLIC")
        backend = ibis.snowflake.from_connection(connection, create_object_udfs=False)

        def described(query: str) -> sch.Schema:
            """ibis asks for `DESCRIBE RESULT`, which the fake does not know; the connector can tell as well."""
            return sch.Schema({column.name: TYPES[column.type_code] for column in connection.cursor().describe(query)})

        backend._get_schema_using_query = described
        warehouse.connect = lambda url: Engine(backend)  # type: ignore[assignment]
        relations = {name: f"SELECT {', '.join(table.column_names)} FROM {name}" for name, table in tables.items()}
        with warehouse.open_warehouse("snowflake://fake", Source(name="shop", relations=relations)) as opened:
            found: dict[str, Any] = {"facts": opened.facts(), "quality": opened.quality}
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
