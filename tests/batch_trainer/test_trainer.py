"""The trainer learns what the stream can apply, exactly, and says so when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from batch_trainer.fit import TooFewCustomers
from batch_trainer.page import html
from batch_trainer.published import walk_through
from batch_trainer.recipes import RECIPES
from batch_trainer.source import Source
from batch_trainer.trainer import train
from batch_trainer.warehouse import EmptyWarehouse, WarehouseError, WarehouseUnreachable, open_warehouse
from sandbox import warehouse as shop_warehouse
from sandbox.shop import Shop
from schemas.artifact import Artifact
from schemas.coherence import left
from schemas.reference import Counts, is_clock
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring
from tests.schemas.models import SIGNER

DATA = Path(__file__).parents[2].parent / "shared" / "data"
NOW = 1_790_000_000_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Shop(5, 1200, 365, NOW)
    path = tmp_path_factory.mktemp("shop") / "shop.duckdb"
    shop_warehouse.create(path, made.catalogue)
    shop_warehouse.append(path, made.history)
    return f"duckdb:///{path}"


@pytest.mark.parametrize("recipe", ["behaviour", "article"])
def test_a_trained_model_can_be_published_and_read_again(shop: str, recipe: str) -> None:
    with open_warehouse(shop, "thelook") as warehouse:
        training = train(warehouse, RECIPES[recipe], now=NOW)
    model = from_bytes(to_bytes(training.artifact, SIGNER), Keyring([SIGNER.public]))
    assert model.id == training.model_id
    assert training.publishable
    assert_expectations_are_whole(training.artifact)
    names = [segment.name for segment in model.segments]
    assert len(set(names)) == len(names)
    assert sum(segment.size for segment in model.segments) == training.report["rows"]
    document = html(training.report)
    assert all(segment.id in document for segment in model.segments)
    assert len(document) < 1_000_000
    assert "http://" not in document
    assert "https://" not in document


def assert_expectations_are_whole(made: Artifact) -> None:
    """Each distribution knows what a rhythm makes of it; numbers that no clock moves hang together as they do in training."""
    for known in made.distributions.values():
        assert [len(shares) for shares in known.leaning] == [len(known.shares)] * 2
        assert [sum(shares) for shares in known.leaning] == pytest.approx([1.0, 1.0])
    numbers = [term.feature for term in made.numbers if not is_clock(term.feature)]
    assert made.coherence is not None
    assert set(made.coherence.features) <= set(numbers)
    usual = {
        name: Counts(bins=tuple(round(1e6 * share) for share in known.shares), nulls=round(1e6 * known.nulls))
        for name, known in made.distributions.items()
    }
    for one in left(made.coherence, made.distributions, usual):
        assert abs(one.mean) < 1e-3
        assert 0.0 < one.spread <= 1.0


def test_the_invented_shop_has_a_structure_that_the_trainer_finds(shop: str) -> None:
    with open_warehouse(shop, "thelook") as warehouse:
        report = train(warehouse, RECIPES["behaviour"], now=NOW).report
    assert report["choice"]["stable"] is True


def test_the_model_is_the_same_on_one_thread_and_on_two(shop: str) -> None:
    code = (
        "from batch_trainer.recipes import RECIPES; from batch_trainer.trainer import train; from batch_trainer.warehouse import open_warehouse;"
        f"print(train(open_warehouse({shop!r}, 'thelook'), RECIPES['behaviour'], now={NOW}).model_id)"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(ids) == 1


def test_ids_and_names_stay_over_a_retrain(shop: str) -> None:
    with open_warehouse(shop, "thelook") as warehouse:
        first = train(warehouse, RECIPES["behaviour"], now=NOW)
        previous = from_bytes(to_bytes(first.artifact, SIGNER), Keyring([SIGNER.public]))
        second = train(warehouse, RECIPES["behaviour"], now=NOW + 1, previous=previous)
    assert [(s.id, s.name) for s in second.artifact.segments] == [(s.id, s.name) for s in first.artifact.segments]
    assert second.artifact.parent == first.model_id
    with open_warehouse(shop, "thelook") as warehouse:
        third = train(warehouse, RECIPES["behaviour"], now=NOW + 2, previous=previous, k=7)
    used = {s.id for s in first.artifact.segments}
    fresh = {s.id for s in third.artifact.segments} - used
    assert fresh
    assert not fresh & set(third.artifact.retired)


def test_the_walk_through_as_published_is_found_again() -> None:
    directory = DATA / "thelook_google_generator"
    if not directory.is_dir():
        pytest.skip("the data set theLook is not on this machine")
    expected = json.loads((DATA / "reference" / "reference.json").read_text())["expected"]
    with open_warehouse("duckdb://", "thelook_parquet", {"dir": str(directory)}) as warehouse:
        customers = warehouse.facts()
        found = walk_through(warehouse, customers, lambda k: None)
    assert found["rows"] == expected["rows"]
    assert found["explained_variance"] == pytest.approx(expected["evr"], rel=1e-9)
    assert found["sse"] == pytest.approx(expected["sse_by_k_ninit10"], rel=1e-3)
    assert found["inertia"] == pytest.approx(expected["k5_inertia"], rel=1e-3)
    assert sorted(found["sizes"]) == pytest.approx(sorted(expected["k5_sizes"]), rel=2e-3)


def test_a_mistyped_column_is_named_with_a_suggestion(shop: str) -> None:
    source = Source(
        name="typo", relations={"orders": "SELECT order_id, user_idd, created_at AS ordered_at FROM orders"}
    )
    with pytest.raises(WarehouseError, match=r"user_idd.*user_id|did you mean"):
        open_warehouse(shop, source)
    source = Source(
        name="typo", relations={"orders": "SELECT order_id, user_id AS usr_id, created_at AS ordered_at FROM orders"}
    )
    with pytest.raises(WarehouseError, match="user_id"):
        open_warehouse(shop, source)


def test_what_cannot_be_opened_or_is_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(WarehouseUnreachable, match="nowhere"):
        open_warehouse("duckdb:////nowhere/shop.duckdb", "thelook")
    empty = Source(
        name="empty",
        relations={"orders": "SELECT 1 AS order_id, 1 AS user_id, TIMESTAMP '2026-01-01' AS ordered_at WHERE false"},
    )
    with pytest.raises(EmptyWarehouse):
        open_warehouse("duckdb://", empty)


def test_fewer_customers_than_segments_is_said() -> None:
    rows = " UNION ALL ".join(
        f"SELECT {n} AS order_id, {n} AS user_id, TIMESTAMP '2026-01-01' AS ordered_at, {n * 10} AS total"
        for n in (1, 2)
    )
    with (
        open_warehouse("duckdb://", Source(name="tiny", relations={"orders": rows})) as warehouse,
        pytest.raises(TooFewCustomers, match="2 customers"),
    ):
        train(warehouse, RECIPES["behaviour"], now=NOW)


def test_features_that_a_source_cannot_give_are_left_out_and_told() -> None:
    rows = " UNION ALL ".join(
        f"SELECT {n} AS order_id, {n % 40} AS user_id, TIMESTAMP '2026-01-01' AS ordered_at, {n * n % 97} AS total"
        for n in range(200)
    )
    with open_warehouse("duckdb://", Source(name="plain", relations={"orders": rows})) as warehouse:
        training = train(warehouse, RECIPES["behaviour"], now=NOW, k=3)
    assert [c.feature for c in training.artifact.spec.columns] == ["orders", "gross_spend", "average_order_value"]
    assert {"categories", "return_rate", "age"} <= training.report["features"]["left_out"].keys()
    assert all(training.report["features"]["left_out"].values())
    assert not training.publishable, "40 customers are too few to publish"
    assert msgspec.json.encode(training.report)
