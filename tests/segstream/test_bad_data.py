"""Bad data given to `segstream train` is handled and told, or refused with one message that says what to do and the right exit code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from batch_trainer.warehouse import open_warehouse
from segstream.cli import app
from segstream.outcome import NO, OK, USAGE
from tests.batch_trainer.shops import TYPES, Shop, regulars

DAY = datetime(2024, 5, 1)  # noqa: DTZ001 - a warehouse's naive time stamps


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes most of the time, and they are the same as of good data."""
    monkeypatch.setattr("batch_trainer.page.drawable", lambda: False)


def command(shop: Shop, path: Path, *arguments: str) -> tuple[int, Any]:
    """The command itself, in this process: its exit code and its document."""
    url, source = shop.write(path)
    asked = ["train", "--source", str(source), "--warehouse", url, "--out", str(path / "report"), "--json", *arguments]
    away = {"SEGSTREAM_REDIS": "redis://127.0.0.1:1/0", "SEGSTREAM_HOME": str(path / "home")}
    done = CliRunner().invoke(app, asked, env=away)
    assert done.stdout.count("\n") == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.exit_code, json.loads(done.stdout)


def trained(shop: Shop, path: Path, k: int = 3) -> Any:
    """The report of a training that must succeed."""
    code, document = command(shop, path, "--k", str(k))
    assert (code, document.get("error")) == (OK, None)
    assert (path / "report" / "report.html").stat().st_size < 2_000_000
    return json.loads((path / "report" / "report.json").read_text())


def refusal(shop: Shop, path: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and message of a training that must not."""
    code, document = command(shop, path, *arguments)
    assert not (path / "report").exists()
    message = document["error"]["message"]
    assert "\n" not in message
    return code, message


def changed(shop: Shop, relation: str, column: str, change: Callable[[Any], Any]) -> Shop:
    at = list(TYPES[relation]).index(column)
    shop.rows[relation] = [(*row[:at], change(row[at]), *row[at + 1 :]) for row in shop.rows[relation]]
    return shop


def asking(relation: str, column: str, sql: str) -> Shop:
    """A shop whose source gives another expression for a column."""
    shop = regulars(60)
    shop.columns[relation] = [f"{sql} AS {name}" if name == column else name for name in shop.columns[relation]]
    return shop


def verdicts(report: Any) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in report["gates"] if gate["verdict"] != "holds"}


def test_one_customer_is_not_enough(tmp_path: Path) -> None:
    code, message = refusal(regulars(1), tmp_path)
    assert code == NO
    assert "1 customers with orders cannot make 5 segments" in message


def test_customers_who_are_all_alike_make_no_segments(tmp_path: Path) -> None:
    shop = Shop({"orders": [(f"o{i}", f"u{i}", DAY, "Complete", 10.0) for i in range(80)]})
    code, message = refusal(shop, tmp_path)
    assert code == NO
    assert "only 1 different combinations" in message


@pytest.mark.parametrize("how", ["no rows", "no user", "no time", "all later"])
def test_a_shop_without_a_usable_order_is_told(tmp_path: Path, how: str) -> None:
    shop, arguments = regulars(20), []
    if how == "no rows":
        shop.rows["orders"] = []
    elif how == "all later":
        arguments = ["--as-of", "2020-01-01T00:00:00Z"]
    else:
        changed(shop, "orders", "user_id" if how == "no user" else "ordered_at", lambda _: None)
    code, message = refusal(shop, tmp_path, *arguments)
    assert code == NO
    assert "has no usable order" in message
    assert "check the SQL of relation orders" in message


def test_all_other_relations_may_be_empty(tmp_path: Path) -> None:
    chance = random.Random(1)
    shop = changed(regulars(80), "orders", "total", lambda _: round(chance.uniform(1, 99), 2))
    empty = ("customers", "order_items", "refunds")
    shop.rows |= {relation: [] for relation in empty}
    report = trained(shop, tmp_path, 2)
    assert [report["quality"][relation]["rows"] for relation in empty] == [0, 0, 0]
    assert report["rows"] == 80


def test_a_column_of_nothing_but_null_is_left_out_and_told(tmp_path: Path) -> None:
    shop = regulars(80)
    empty = [("customers", "age"), ("customers", "gender"), ("order_items", "category")]
    for relation, column in empty:
        changed(shop, relation, column, lambda _: None)
    report = trained(shop, tmp_path)
    left_out = report["features"]["left_out"]
    assert set(left_out) == {"age", "gender", "category"}
    assert "no customer with orders has a known value" in left_out["age"]
    assert report["features"]["quality"]["categories"]["constant"]
    assert report["quality"]["unknown_share"]["customers.age"] == 1.0


def test_a_constant_column_divides_nobody_and_is_marked(tmp_path: Path) -> None:
    report = trained(Shop({**regulars(80).rows, "refunds": []}), tmp_path)
    assert report["features"]["quality"]["return_rate"]["constant"]
    assert all(segment["traits"].get("return_rate", 0.0) == 0.0 for segment in report["segments"])
    assert "fails" not in verdicts(report).values()


def test_orders_in_the_future_are_a_warning(tmp_path: Path) -> None:
    shop = regulars(80)
    shop.rows["orders"].append(("later", "1", DAY + timedelta(days=365 * 20), "Complete", 5.0))
    report = trained(shop, tmp_path)
    assert verdicts(report) == {"dates": "warns"}
    assert report["publishable"]


def test_negative_totals_count_as_no_spend_in_distances(tmp_path: Path) -> None:
    report = trained(changed(regulars(80), "orders", "total", lambda _: -5.0), tmp_path)
    assert all(segment["medians"]["gross_spend"] < 0 for segment in report["segments"]), "raw, as they are"
    assert all(segment["traits"].get("gross_spend", 0.0) == 0.0 for segment in report["segments"])
    assert report["features"]["quality"]["gross_spend"]["constant"]


def test_totals_out_of_all_proportion_are_outliers_that_make_no_segment(tmp_path: Path) -> None:
    """1e9 is usable and counted as an outlier; 1e15 and more is beyond what is counted exactly, so the order's lines count instead."""
    shop = regulars(200)
    at = DAY + timedelta(days=1)
    shop.rows["orders"] += [(f"mad{i}", str(i), at, "Complete", total) for i, total in enumerate((1e15, 1e300, 1e9))]
    report = trained(shop, tmp_path)
    assert report["features"]["quality"]["gross_spend"]["outliers"] == 1
    assert max(segment["medians"]["gross_spend"] for segment in report["segments"]) < 1e6
    assert "fails" not in verdicts(report).values()


@pytest.mark.parametrize(("relation", "key"), [("orders", "order_id"), ("customers", "user_id")])
def test_ids_that_come_twice_are_refused_with_an_example(tmp_path: Path, relation: str, key: str) -> None:
    shop = regulars(50)
    shop.rows[relation].append(shop.rows[relation][7])
    code, message = refusal(shop, tmp_path)
    assert code == USAGE
    assert f"relation {relation} has 1 {key} more than once" in message
    assert f"one row per {key}" in message


def test_a_refund_that_comes_twice_counts_once(tmp_path: Path) -> None:
    once, twice = regulars(80), regulars(80)
    twice.rows["refunds"] *= 2
    found = []
    for shop, name in ((once, "once"), (twice, "twice")):
        with open_warehouse(*shop.write(tmp_path / name)) as warehouse:
            found.append(warehouse.facts())
    assert found[0] == found[1]
    assert sum(known.returned_orders for known in found[0].facts) > 20


@pytest.mark.parametrize(
    ("relation", "column", "sql", "why"),
    [
        ("orders", "ordered_at", "5.0", "expected a timestamp or date"),
        ("customers", "signed_up_at", "true", "expected a timestamp or date"),
        ("orders", "total", "[1.5, 2]", "expected a number"),
        ("order_items", "price", "TIMESTAMP '2024-01-01'", "expected a number"),
        ("order_items", "quantity", "INTERVAL 2 DAY", "expected a number"),
        ("customers", "age", "DATE '1990-01-01'", "expected a number"),
        ("orders", "user_id", "[user_id]", "expected text or a number"),
        ("order_items", "category", "{'name': category}", "expected text or a number"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path: Path, relation: str, column: str, sql: str, why: str) -> None:
    code, message = refusal(asking(relation, column, sql), tmp_path)
    assert code == USAGE
    assert f"relation {relation}, column {column}: values are" in message
    assert why in message


def test_text_that_is_no_number_is_not_known_and_what_can_be_read_is(tmp_path: Path) -> None:
    shop = regulars(60)
    given = {
        "orders": {"total": "'a lot'", "ordered_at": "strftime(ordered_at, '%Y-%m-%d %H:%M')"},
        "customers": {"age": "'old'", "gender": "gender = 'F'"},
        "order_items": {"quantity": "'two'", "category": "length(category)"},
    }
    for relation, columns in given.items():
        shop.columns[relation] = [f"{columns.get(name, name)} AS {name}" for name in shop.columns[relation]]
    report = trained(shop, tmp_path)
    assert report["rows"] == 60
    assert "age" in report["features"]["left_out"]
    assert {top["value"] for segment in report["segments"] for top in segment["top"]["gender"]} == {"true", "false"}
    assert min(segment["medians"]["gross_spend"] for segment in report["segments"]) > 0, "the lines' prices count"
