"""Bad data is either handled, and told in the report, or refused with one message that says what to do and the right exit code."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_trainer.recipes import RECIPES
from batch_trainer.report import write_report
from batch_trainer.trainer import Training, train
from batch_trainer.warehouse import open_warehouse
from segstream.outcome import NO, USAGE, explain
from tests.batch_trainer.shops import TYPES, Shop, regulars

NOW = 1_790_000_000_000_000
DAY = datetime(2024, 5, 1)  # noqa: DTZ001 - a warehouse's naive time stamps


def trained(shop: Shop, path: Path, k: int | None = None) -> Training:
    with open_warehouse(*shop.write(path)) as warehouse:
        training = train(warehouse, RECIPES["behaviour"], now=NOW, k=k)
    assert write_report(training, path / "report").stat().st_size < 2_000_000
    return training


def refusal(shop: Shop, path: Path) -> tuple[int, str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, `explain` tells
        trained(shop, path)
    code, _, message = explain(caught.value)
    assert "\n" not in message
    return code, message


def changed(shop: Shop, relation: str, column: str, change: Callable[[Any], Any]) -> Shop:
    at = list(TYPES[relation]).index(column)
    shop.rows[relation] = [(*row[:at], change(row[at]), *row[at + 1 :]) for row in shop.rows[relation]]
    return shop


def verdicts(training: Training) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in training.gates if gate.verdict != "holds"}


def test_one_customer_is_not_enough(tmp_path: Path) -> None:
    code, message = refusal(regulars(1), tmp_path)
    assert code == NO
    assert "1 customers with orders cannot make 5 segments" in message


def test_customers_who_are_all_alike_make_no_segments(tmp_path: Path) -> None:
    shop = Shop({"orders": [(f"o{i}", f"u{i}", DAY, "Complete", 10.0) for i in range(200)]})
    code, message = refusal(shop, tmp_path)
    assert code == NO
    assert "only 1 different combinations" in message


def test_an_empty_relation_of_orders_is_said(tmp_path: Path) -> None:
    code, message = refusal(Shop({**regulars(20).rows, "orders": []}), tmp_path)
    assert code == NO
    assert "no usable order" in message


@pytest.mark.parametrize("relation", ["customers", "order_items", "refunds"])
def test_another_relation_may_be_empty(tmp_path: Path, relation: str) -> None:
    shop = regulars(200)
    if relation == "order_items":
        chance = random.Random(1)
        changed(shop, "orders", "total", lambda _: round(chance.uniform(1, 99), 2))
    shop.rows[relation] = []
    training = trained(shop, tmp_path, 2)
    assert training.report["quality"][relation]["rows"] == 0


@pytest.mark.parametrize(
    ("relation", "column"), [("customers", "age"), ("customers", "gender"), ("order_items", "category")]
)
def test_a_column_of_nothing_but_null_is_left_out_and_told(tmp_path: Path, relation: str, column: str) -> None:
    training = trained(changed(regulars(200), relation, column, lambda _: None), tmp_path, 3)
    assert column in training.report["features"]["left_out"]


def test_a_constant_column_divides_nobody_and_is_marked(tmp_path: Path) -> None:
    training = trained(Shop({**regulars(200).rows, "refunds": []}), tmp_path, 3)
    assert training.report["features"]["quality"]["return_rate"]["constant"]
    assert all(segment.traits.get("return_rate", 0.0) == 0.0 for segment in training.artifact.segments)
    assert "fails" not in verdicts(training).values()


def test_orders_in_the_future_are_a_warning(tmp_path: Path) -> None:
    shop = regulars(200)
    shop.rows["orders"].append(("later", "1", DAY + timedelta(days=365 * 20), "Complete", 5.0))
    training = trained(shop, tmp_path, 3)
    assert verdicts(training) == {"dates": "warns"}
    assert training.publishable


def test_negative_totals_count_as_no_spend_in_distances(tmp_path: Path) -> None:
    training = trained(changed(regulars(200), "orders", "total", lambda _: -5.0), tmp_path, 3)
    assert all(segment.medians["gross_spend"] < 0 for segment in training.artifact.segments), "raw, as they are"
    assert all(segment.traits.get("gross_spend", 0.0) == 0.0 for segment in training.artifact.segments)


def test_totals_out_of_all_proportion_are_outliers_that_make_no_segment(tmp_path: Path) -> None:
    """1e9 is usable and counted as an outlier; 1e15 and more is beyond what is counted exactly, so the order's lines count instead."""
    shop = regulars(200)
    at = DAY + timedelta(days=1)
    shop.rows["orders"] += [(f"mad{i}", str(i), at, "Complete", total) for i, total in enumerate((1e15, 1e300, 1e9))]
    training = trained(shop, tmp_path, 3)
    assert training.report["features"]["quality"]["gross_spend"]["outliers"] == 1
    assert max(segment.medians["gross_spend"] for segment in training.artifact.segments) < 1e6
    assert "fails" not in verdicts(training).values()


def test_ids_that_come_twice_are_refused_with_an_example(tmp_path: Path) -> None:
    for relation, name in (("orders", "order_id"), ("customers", "user_id")):
        shop = regulars(50)
        shop.rows[relation].append(shop.rows[relation][7])
        code, message = refusal(shop, tmp_path / relation)
        assert code == USAGE
        assert f"relation {relation} has 1 {name} more than once" in message
        assert "one row per" in message


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    shop = regulars(50)
    shop.columns["orders"] = ["order_id", "user_id", "total AS ordered_at", "status"]
    shop = changed(shop, "orders", "total", lambda _: 3.0)
    code, message = refusal(shop, tmp_path)
    assert code == USAGE
    assert "ordered_at" in message
    assert "expected a timestamp or date" in message
    words = regulars(50)
    words.columns["orders"] = ["order_id", "user_id", "ordered_at", "'a lot' AS total"]
    assert trained(words, tmp_path / "words", 3).report["rows"] == 50
