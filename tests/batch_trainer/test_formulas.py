"""A feature has one meaning: what SQL computes of a customer's facts is what the formula computes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ibis
import pytest

from batch_trainer import formulas
from batch_trainer.warehouse import customers_of, open_warehouse
from schemas.features import FEATURES, TRANSFORMS, label, number, transformed
from schemas.recency import STEPS
from tests.batch_trainer.backends import Backend, source
from tests.batch_trainer.shops import nasties

Servers = Callable[[str], Backend]
AFTER = (0, *(step + off for step in STEPS[1:] for off in (-1, 0)), 99_999)
"""Days after that of the last order on which recency is asked for."""
SHARES = ("category_share:A", "category_share:a'b", "category_share:ä", "brand_share: A", "brand_share:(unknown)")


def test_every_feature_has_its_twin_in_sql() -> None:
    assert formulas.FORMULAS.keys() == FEATURES.keys()


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_sql_formula_is_the_python_formula(kind: str, servers: Servers, tmp_path: Path) -> None:
    tables = nasties().tables()
    with servers(kind)(tables, tmp_path) as url, open_warehouse(url, source(tables)) as warehouse:
        warehouse.count_shares(SHARES)
        days = ibis.union(
            *(warehouse.everyone().mutate(today=warehouse.today + ibis.literal(after, "int64")) for after in AFTER)
        )
        table = warehouse.engine.keep("days", days)
        features = FEATURES | {name: FEATURES[name] for name in SHARES}
        asked = {
            f"{name} {how}": formulas.number(name, how, table)
            if feature.kind == "number"
            else formulas.label(name, table)
            for name, feature in features.items()
            for how in (TRANSFORMS if feature.kind == "number" else ["onehot"])
        }
        seen = 0
        for columns in warehouse.batches(table.select(table, **asked)):
            for i, known in enumerate(customers_of(columns, warehouse.shares).facts):
                seen += 1
                for named, values in ((named, columns[named]) for named in asked):
                    name, how = named.rsplit(" ", 1)
                    if how == "onehot":
                        assert values[i] == label(name, known), (named, known)
                    else:
                        raw = number(name, known)
                        expected = None if raw is None else pytest.approx(transformed(how, raw), rel=1e-12)
                        found = (
                            None if values[i] is None else float(values[i])
                        )  # PostgreSQL's logarithm of an integer is a decimal
                        assert found == expected, (named, known)
    assert seen > 100
