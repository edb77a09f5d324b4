"""Amazon Redshift, which ibis has no backend for: it speaks PostgreSQL's protocol and most of its SQL; here is what it does not.

No ranking function takes a frame, a VARCHAR without a length is 256 bytes long, views cannot be temporary, there are no savepoints,
and text is ordered by its bytes.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.schema as sch
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.postgres import PostgresCompiler
from ibis.expr.types import Table
from sqlglot.dialects import Redshift

from batch_trainer.source import WarehouseError

PORT: Final = 5439
LONGEST: Final = 65_535
"""Bytes that a text may have."""
_TYPES: Final[dict[str, dt.DataType]] = {
    "bool": dt.boolean,
    "int2": dt.int16,
    "int4": dt.int32,
    "int8": dt.int64,
    "float4": dt.float32,
    "float8": dt.float64,
    "numeric": dt.decimal,
    "text": dt.string,
    "varchar": dt.string,
    "bpchar": dt.string,
    "name": dt.string,
    "date": dt.date,
    "timestamp": dt.timestamp,
    "timestamptz": dt.Timestamp(timezone="UTC"),
    "interval": dt.Interval("s"),
    "bytea": dt.binary,
}


class Compiler(PostgresCompiler):
    """PostgreSQL's SQL without what Redshift refuses."""

    __slots__ = ()
    dialect = Redshift

    def to_sqlglot(self, *given: Any, **more: Any) -> Any:
        """The expression in Redshift's form."""
        return super().to_sqlglot(*given, **more).transform(_accepted)


def _accepted(node: sge.Expression) -> sge.Expression:
    if isinstance(node, sge.Window) and isinstance(node.this, sge.RowNumber):
        node.set("spec", None)
    elif isinstance(node, sge.DataType) and node.this in (sge.DataType.Type.VARCHAR, sge.DataType.Type.TEXT):
        return sge.DataType.build(f"VARCHAR({LONGEST})", dialect="redshift")
    return node


compiler: Final = Compiler()


class Backend:
    """What the trainer needs of an ibis backend, by psycopg."""

    name: Final = "redshift"
    dialect: Final = Redshift
    compiler: Final = compiler

    def __init__(self, url: str) -> None:
        import psycopg

        parts = urlsplit(url)
        if parts.port is None and parts.hostname:
            parts = parts._replace(netloc=f"{parts.netloc}:{PORT}")
        # The server calls its encoding UNICODE, which psycopg does not know; one transaction sees one state of everything.
        where = urlunsplit(parts._replace(scheme="postgresql"))
        self.con = psycopg.connect(where, client_encoding="utf8", prepare_threshold=None, autocommit=False)
        self.con.execute("SELECT 1")

    def sql(self, query: str) -> Table:
        """The rows of a query; nothing is read yet but their types."""
        return ops.SQLQueryResult(query, self._schema(f"SELECT * FROM ({query}) AS asked LIMIT 0"), self).to_expr()

    def get_schema(self, name: str) -> sch.Schema:
        """The columns of a table."""
        quoted = sge.to_identifier(name, quoted=True).sql(dialect="redshift")
        return self._schema(f"SELECT * FROM {quoted} LIMIT 0")

    def _schema(self, query: str) -> sch.Schema:
        try:
            found = self.con.execute(query).description or ()
        except Exception:
            self.con.rollback()  # nothing has been made yet; without savepoints nothing else could be asked
            raise
        return sch.Schema({column.name: self._type(column) for column in found})

    def _type(self, column: Any) -> dt.DataType:
        known = self.con.adapters.types.get(column.type_code)
        if known is None or known.name not in _TYPES:
            told = column.type_code if known is None else known.name
            raise WarehouseError(
                f"column {column.name} has the type {told}, which is not known; cast it in the source's SQL"
            )
        return _TYPES[known.name]

    def list_tables(self) -> list[str]:
        """The tables and views that there are."""
        asked = "SELECT table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        return [name for (name,) in self.con.execute(asked).fetchall()]

    def raw_sql(self, sql: str) -> Any:
        """Execute a statement."""
        return self.con.execute(sql)

    def disconnect(self) -> None:
        """Give the connection back; the temporary tables go with it."""
        self.con.close()
