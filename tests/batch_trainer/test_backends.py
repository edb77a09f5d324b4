"""Every warehouse counts the same, sees one state, and says clearly what it lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batch_trainer import engine, history
from batch_trainer.engine import Engine
from batch_trainer.source import Source, WarehouseError, WarehouseUnreachable, read_source
from batch_trainer.warehouse import Warehouse, explain, open_warehouse
from schemas.events import decode
from schemas.features import Facts, facts
from schemas.profile import Profile, update
from schemas.times import DAY, parse_rfc3339
from tests.batch_trainer.backends import Backend, Tables, source
from tests.batch_trainer.shops import THELOOK, UCI, Shop, nasties, regulars, shops, some_of_thelook

Servers = Callable[[str], Backend]
KINDS = ["postgres", "spark"]


def relations(name: str, directory: Path) -> Tables:
    """A data set's relations as its source gives them, as tables."""
    mapped = read_source(name, {"dir": str(directory)})
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            relation: _plain(connection.execute(sql).to_arrow_table()) for relation, sql in mapped.relations.items()
        }


def _plain(table: pa.Table) -> pa.Table:
    """With 64-bit numbers, strings and microseconds, as the test servers know them."""
    kinds = {
        field.name: pa.int64()
        if pa.types.is_integer(field.type)
        else pa.timestamp("us")
        if pa.types.is_timestamp(field.type)
        else pa.float64()
        if pa.types.is_floating(field.type)
        else pa.string()
        for field in table.schema
    }
    return table.cast(pa.schema(list(kinds.items())))


def sandbox_shop(path: Path) -> Tables:
    from sandbox import warehouse
    from sandbox.shop import Shop as Invented

    made = Invented(5, 400, 200, 1_790_000_000_000_000)
    file = path / "sandbox.duckdb"
    warehouse.create(file, made.catalogue)
    warehouse.append(file, made.history)
    with duckdb.connect(str(file), read_only=True) as connection:
        return {
            name: _plain(connection.execute(f"FROM {name}").to_arrow_table())
            for name in ("users", "orders", "order_items", "products")
        }


def counted(warehouse: Warehouse) -> dict[str, Facts]:
    customers = warehouse.facts()
    return dict(zip(customers.user_ids, customers.facts, strict=True))


def told(backend: Backend, tables: Tables, path: Path, mapped: Source, **more: Any) -> tuple[Any, ...]:
    """Everything a warehouse says: facts, quality, span and history."""
    with backend(tables, path) as url, open_warehouse(url, mapped, **more) as warehouse:
        return counted(warehouse), warehouse.quality, warehouse.data_from, warehouse.data_until


@pytest.mark.parametrize(
    ("kind", "shop"),
    # Spark needs many seconds for each: the shipped SQL of one source, and everything nasty.
    [(kind, shop) for kind in KINDS for shop in ("sandbox", "nasties")]
    # Redshift's SQL and our way of speaking to it, on PostgreSQL: what a Redshift makes of it nobody has tried.
    + [("postgres", "a tenth of theLook"), ("postgres", "UCI"), ("redshift", "nasties")]
    + [pytest.param("postgres", "theLook", marks=pytest.mark.whole)],
)
def test_every_warehouse_counts_the_same(kind: str, shop: str, servers: Servers, tmp_path: Path) -> None:
    directory = {"theLook": THELOOK, "a tenth of theLook": THELOOK, "UCI": UCI}.get(shop)
    if directory is not None and not directory.is_dir():
        pytest.skip(f"the data set {directory.name} is not on this machine")
    backend = servers(kind)
    if shop == "sandbox":
        tables, mapped = sandbox_shop(tmp_path), read_source("thelook")
    elif directory is not None:
        if shop == "a tenth of theLook":
            directory = some_of_thelook(tmp_path / "some", 10)
        tables = relations("uci_online_retail" if directory == UCI else "thelook_parquet", directory)
        mapped = source(tables)
    else:
        tables = nasties().tables()
        mapped = source(tables)
    expected = told(servers("duckdb"), tables, tmp_path, mapped)
    assert told(backend, tables, tmp_path, mapped) == expected
    customers = {"theLook": 100_000, "a tenth of theLook": 10_000, "UCI": 4372}
    assert len(expected[0]) == customers.get(shop, len(expected[0]))


def test_snowflakes_own_connector_counts_the_same_on_a_fake_server(servers: Servers, tmp_path: Path) -> None:
    python = Path(sys.prefix) / "snowflake" / "bin" / "python"
    if not python.is_file():
        pytest.skip("the environment of tests/batch_trainer/snowflake.py is not there: `make test` makes it")
    tables = nasties().tables()
    for name, table in tables.items():
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    done = subprocess.run(
        [python, "-W", "ignore", "-m", "tests.batch_trainer.snowflake", tmp_path],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    with servers("duckdb")(tables, tmp_path) as url, open_warehouse(url, source(tables)) as warehouse:
        expected = {"facts": warehouse.facts(), "quality": warehouse.quality}
    assert found == json.loads(msgspec.json.encode(expected))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(shop=shops())
def test_postgres_counts_any_shop_as_duckdb_does(servers: Servers, shop: Shop) -> None:
    tables = shop.tables()
    mapped = source(tables, shop.columns)
    with TemporaryDirectory() as directory:
        path = Path(directory)
        assert told(servers("postgres"), tables, path, mapped) == told(servers("duckdb"), tables, path, mapped)


def test_postgres_tells_the_same_history(servers: Servers, tmp_path: Path) -> None:
    tables = nasties().tables()
    found = []
    for kind in ("duckdb", "postgres"):
        with servers(kind)(tables, tmp_path) as url, open_warehouse(url, source(tables)) as warehouse:
            found.append(list(history.events(warehouse)))
    assert found[0] == found[1]


def replayed(warehouse: Warehouse, until: int, today: int) -> dict[str, Facts]:
    profiles: dict[str, Profile] = {}
    for _, key, value, at in history.events(warehouse):
        if at <= until:
            event = decode(key, value)
            update(profiles.setdefault(event.user_id, Profile(today=today)), event)
    return {user_id: facts(profile) for user_id, profile in profiles.items()}


def active(known: dict[str, Facts]) -> dict[str, Facts]:
    """Without those of whom nothing but a sign-up is known: an undated one has no place in time."""
    return {user_id: f for user_id, f in known.items() if f.placed_orders or f.returned_orders}


REFUNDED_FIRST = Shop(
    {
        "customers": [("a", None, 30.0, "F", "DE", "Search")],
        "orders": [
            ("1", "b", datetime.fromisoformat("2024-01-01"), "Complete", 5.0),
            ("2", "a", datetime.fromisoformat("2024-01-06"), "Complete", 5.0),
        ],
        "refunds": [("r", "0", "a", datetime.fromisoformat("2024-01-03"), 5.0)],
    }
)
"""Someone whose sign-up has no date, and of whom a refund is known before her first order."""


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(shop=shops(), day=st.integers(-1, 7))
@example(shop=REFUNDED_FIRST, day=2)
def test_a_warehouse_as_of_a_moment_counts_the_events_until_then(shop: Shop, day: int) -> None:
    moment = parse_rfc3339("2024-01-02") + day * DAY
    with TemporaryDirectory() as directory:
        url, mapped = shop.write(Path(directory))
        with open_warehouse(url, mapped) as whole:
            expected = active(replayed(whole, moment, moment // DAY))
        try:
            with open_warehouse(url, mapped, as_of=moment) as cut:
                assert active(counted(cut)) == expected
                assert cut.data_until == moment >= cut.last_order
                assert replayed(cut, 1 << 62, moment // DAY) == counted(cut)
        except WarehouseError as error:
            assert "no usable order until" in str(error)
            assert not any(f.placed_orders for f in expected.values())


@pytest.mark.parametrize("kind", KINDS)
def test_as_of_cuts_alike_everywhere(kind: str, servers: Servers, tmp_path: Path) -> None:
    tables = nasties().tables()
    moment = parse_rfc3339("2024-01-03T12:00:00Z")
    without = source(tables, {n: [c for c in t.column_names if c != "refunded_at"] for n, t in tables.items()})
    for mapped in (source(tables), without):
        expected = told(servers("duckdb"), tables, tmp_path, mapped, as_of=moment)
        assert told(servers(kind), tables, tmp_path, mapped, as_of=moment) == expected


def test_what_is_written_while_postgres_is_read_is_not_seen(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    tables = regulars(20).tables()
    keep = Engine.keep
    with servers("postgres")(tables, tmp_path) as url:
        with open_warehouse(url, source(tables)) as warehouse:
            expected = counted(warehouse)

        def keep_and_write(self: Engine, name: str, rows: Any) -> Any:
            kept = keep(self, name, rows)
            with psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True) as other:
                other.execute("INSERT INTO orders VALUES (%s, '1', '2024-01-01', 'Complete', 9)", (f"late {name}",))
                other.execute("INSERT INTO order_items VALUES ('1-0', 999, 'p', 'b', 'c', 1, 1)")
                other.execute(
                    "INSERT INTO customers VALUES (%s, '2024-01-01', 30, 'F', 'DE', 'Email')", (f"new {name}",)
                )
            return kept

        monkeypatch.setattr(Engine, "keep", keep_and_write)
        with open_warehouse(url, source(tables)) as warehouse:
            assert counted(warehouse) == expected
        monkeypatch.undo()
        with open_warehouse(url, source(tables)) as warehouse:
            assert counted(warehouse) != expected


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the engine runs and asks."""
    heard: list[str] = []
    run, batches = Engine.run, Engine.batches

    def heard_run(self: Engine, sql: str) -> None:
        heard.append(sql)
        run(self, sql)

    def heard_batches(self: Engine, rows: Any, size: int) -> Any:
        heard.append(self.sql(rows))
        return batches(self, rows, size)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", heard_run)
        patch.setattr(Engine, "batches", heard_batches)
        yield heard


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_what_is_explained_is_what_is_run(
    kind: str, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = regulars(20).tables()
    with servers(kind)(tables, tmp_path) as url:
        with listening(monkeypatch) as asked:
            explained = explain(url, source(tables), as_of=5)
        assert all(sql.startswith("CREATE OR REPLACE TEMP") for sql in asked), "explaining reads nothing"
        try:
            with listening(monkeypatch) as heard, open_warehouse(url, source(tables), as_of=5):
                pass
        except WarehouseError as error:
            assert "no usable order" in str(error)
    counting = explained.pop("keep facts")
    assert 'CREATE TEMPORARY TABLE "segstream_facts"' in counting
    heard = [sql for sql in heard if not sql.startswith(("ANALYZE", "DROP"))]
    assert heard == list(explained.values())


def test_a_server_that_is_not_there_is_unreachable() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(WarehouseUnreachable, match=r"postgres://me:\*\*\*@127.0.0.1:1/shop cannot be opened"):
        open_warehouse("postgres://me:secret@127.0.0.1:1/shop", "thelook")


@pytest.mark.parametrize(
    ("scheme", "extra"),
    [("postgres", "postgres"), ("redshift", "postgres"), ("pyspark", "spark")]
    + [(name, name) for name in ("snowflake", "bigquery", "databricks")],
)
def test_a_missing_driver_names_the_extra(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_installed", lambda module: False)
    with pytest.raises(WarehouseError, match=rf"pip install 'segstream\[{extra}\]'"):
        open_warehouse(f"{scheme}://somewhere/shop", "thelook")


def test_an_unknown_kind_of_warehouse_is_named_with_those_there_are() -> None:
    with pytest.raises(WarehouseError, match=r"'postgers' is not known.*did you mean 'postgres'"):
        open_warehouse("postgers://somewhere/shop", "thelook")


@pytest.mark.parametrize("kind", ["duckdb", "postgres", "redshift"])
def test_a_wrong_name_is_told_with_the_relation_and_what_there_is(kind: str, servers: Servers, tmp_path: Path) -> None:
    tables = regulars(5).tables()
    with servers(kind)(tables, tmp_path) as url:
        wrong = Source(name="wrong", relations={"orders": "SELECT order_id, user_idd, ordered_at FROM orders"})
        with pytest.raises(
            WarehouseError, match=r"relation orders .*user_idd.*orders has order_id, user_id, ordered_at"
        ):
            open_warehouse(url, wrong)
        wrong = Source(name="wrong", relations={"orders": "SELECT order_id, user_id, ordered_at FROM ordres"})
        with pytest.raises(
            WarehouseError,
            match=r"relation orders .*ordres.*tables there are: customers, order_items, orders.*'orders'",
        ):
            open_warehouse(url, wrong)


def test_text_that_postgres_cannot_try_is_told(servers: Servers, tmp_path: Path) -> None:
    tables = regulars(5).tables()
    text = Source(
        name="text", relations={"orders": "SELECT order_id, user_id, ordered_at::text AS ordered_at FROM orders"}
    )
    with (
        servers("postgres")(tables, tmp_path) as url,
        pytest.raises(WarehouseError, match=r"column ordered_at is text.*cast it"),
    ):
        open_warehouse(url, text)


def test_a_setting_that_duckdb_does_not_know_is_told() -> None:
    with pytest.raises(WarehouseError, match="memory_limitt"):
        open_warehouse("duckdb://?memory_limitt=1GB", "thelook")


@pytest.mark.parametrize(("query", "drawn"), [("", False), ("?enable_progress_bar=true", True)])
def test_duckdb_draws_no_progress_into_what_a_script_prints_unless_asked(query: str, drawn: bool) -> None:
    """DuckDB draws it for `python -c`, notebooks and prompts by itself: so this is asked there."""
    code = f"""
from batch_trainer.source import Source
from batch_trainer.warehouse import open_warehouse
tiny = Source(name="tiny", relations={{"orders": "SELECT 'o' AS order_id, 'c' AS user_id, TIMESTAMP '2020-01-01' AS ordered_at"}})
with open_warehouse("duckdb://{query}", tiny) as warehouse:
    print(warehouse.backend.con.sql("SELECT current_setting('enable_progress_bar')").fetchone())
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == f"({drawn},)\n"
