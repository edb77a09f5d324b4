"""What we ask of warehouses that no test can run: the SQL is their dialect's, and nothing in it is of the kind they refuse."""

from __future__ import annotations

import importlib
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import pytest
import sqlglot
import sqlglot.expressions as sge

from batch_trainer import counting, formulas, relations
from batch_trainer.canon import Canon, unprintable
from batch_trainer.plan import plan
from tests.batch_trainer.shops import TYPES

KINDS = ["bigquery", "databricks", "redshift", "snowflake"]
_IBIS = {"VARCHAR": "string", "TIMESTAMP": "timestamp", "DOUBLE": "float64", "BIGINT": "int64"}


def statements(kind: str, text_times: bool = False) -> dict[str, str]:
    """Everything that a training asks of a warehouse, compiled without it."""
    home = "batch_trainer.redshift" if kind == "redshift" else f"ibis.backends.sql.compilers.{kind}"
    compiler: Any = importlib.import_module(home).compiler
    canon = Canon(kind)
    given = {}
    for name, columns in TYPES.items():
        schema = {column: _IBIS[type_] for column, type_ in columns.items()}
        if text_times:
            schema = {column: dt.string if type_ == "timestamp" else type_ for column, type_ in schema.items()}
        given[name] = relations.relation(name, ibis.table(schema, name=name))
    made = plan(given, canon, lambda name, schema: ibis.table(schema, name=f"segstream_{name}"), 1_790_000_000_000_000)
    asked = {step.name: step.rows for step in made.steps} | dict(made.questions)
    asked["facts"] = counting.facts(made.customers, made.orders, made.items, made.refunds)
    known = ibis.table(asked["facts"].schema(), name="segstream_facts")
    asked["features"] = known.select(**{name: formula(known) for name, formula in formulas.FORMULAS.items()})
    asked["digest"] = made.orders.select(digest=canon.digest(made.orders.user_id))
    return {name: compiler.to_sqlglot(rows).sql(dialect=compiler.dialect) for name, rows in asked.items()}


@pytest.mark.parametrize(
    ("kind", "text_times"),
    [
        (kind, text) for kind in KINDS for text in (False, True) if (kind, text) != ("redshift", True)
    ],  # it must cast itself
)
def test_the_sql_is_the_dialects(kind: str, text_times: bool) -> None:
    for name, sql in statements(kind, text_times).items():
        parsed = sqlglot.parse(sql, read=kind, error_level=sqlglot.ErrorLevel.RAISE)
        assert len(parsed) == 1, name
        found = parsed[0]
        assert found is not None
        assert sqlglot.parse_one(found.sql(dialect=kind), read=kind) == found, "it reads back as the same"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_that_the_dialect_refuses(kind: str) -> None:
    for name, sql in statements(kind).items():
        parsed = sqlglot.parse_one(sql, read=kind)
        where = f"{name}: {sql}"
        assert not list(parsed.find_all(sge.Filter)), where  # aggregate FILTER: BigQuery and Snowflake have none
        for join in parsed.find_all(sge.Join):
            assert kind == "databricks" or join.kind not in ("SEMI", "ANTI"), where
            assert join.args.get("on") or join.args.get("using") or join.kind == "CROSS", where
        for window in parsed.find_all(sge.Window):
            if isinstance(window.this, sge.RowNumber) and (frame := window.args.get("spec")) is not None:
                # Ranking functions take no frame; Spark allows the one it would use anyway.
                assert kind == "databricks", where
                assert (frame.args["start"], frame.args["end"]) == ("UNBOUNDED", "CURRENT ROW"), where
            assert window.args.get("order") or not isinstance(window.this, sge.RowNumber), where
        called = {call.sql(dialect=kind).partition("(")[0].upper() for call in parsed.find_all(sge.Func)}
        assert kind != "redshift" or not called & {
            "CONVERT_TO",
            "TRY_CAST",
            "ARRAY_AGG",
            "GENERATE_SERIES",
            "STRING_AGG",
        }
        for cast in parsed.find_all(sge.Cast):
            target = cast.to.sql(dialect=kind).upper()
            assert kind != "redshift" or target not in ("VARCHAR", "TEXT", "TIME", "BYTEA"), (
                where
            )  # 256 bytes, or not there
            assert kind != "bigquery" or not target.startswith(("VARCHAR", "TEXT", "DOUBLE", "DECIMAL", "BIGINT")), (
                where
            )


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_says_where_nulls_go(kind: str) -> None:
    """The dialects put them at either end, so that each nullable key stands behind its own `is null`."""
    parsed = sqlglot.parse_one(statements(kind)["lines"], read=kind)
    [window] = [w for w in parsed.find_all(sge.Window) if isinstance(w.this, sge.RowNumber)]
    keys = [ordered.this for ordered in window.args["order"].expressions]
    assert len(keys) == 12
    assert all(key.find(sge.Is) is not None or key.find(sge.If) is not None for key in keys[::2])


def test_the_unprintable_characters_are_pythons() -> None:
    import re

    pattern = re.compile(unprintable())
    for code in [*range(1, 0x3000), *range(0xFE00, 0x10000), *range(0x1F000, 0x20000), 0xE0001, 0x10FFFF]:
        assert bool(pattern.search(chr(code))) is not chr(code).isprintable(), hex(code)
