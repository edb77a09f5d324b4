"""How training grows with the customers: time and peak memory of the trainer, beside scikit-learn fitted on all of them in memory.

Each size is a shop invented in DuckDB by SQL (the same for the same size). The trainer and scikit-learn run in processes of
their own, one after the other, so that the peak memory is theirs. Both count in the warehouse, project, and cluster; the trainer
also chooses the number of segments, replays, learns of newcomers and reports. The counting is done once, and its seconds are in both
figures. How much of the clustering scikit-learn does is said with its figures: at the largest sizes few starts are as much as anybody
waits for.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np

from batch_trainer import fit, formulas, population
from batch_trainer.recipes import RECIPES
from batch_trainer.source import Source
from batch_trainer.trainer import train
from batch_trainer.warehouse import Warehouse, open_warehouse
from bench.report import Verdict
from schemas.model import Model

NOW: Final = 1_790_000_000_000_000
MOST_MB: Final = 1500
"""The trainer's memory, whatever the number of customers."""
WORSE: Final = 1.001
"""How much greater the SSE over all customers may be than scikit-learn's."""
WAREHOUSE: Final = ("opening", "counting customers", "projecting", "replaying", "counting segments")
"""Stages of a training in which the warehouse works, and the trainer waits or reads."""
SOURCE: Final = Source(
    name="invented",
    relations={
        "customers": "SELECT user_id, signed_up_at, age, gender, country FROM customers",
        "orders": "SELECT order_id, user_id, ordered_at, status FROM orders",
        "order_items": "SELECT order_id, item_id, brand, category, price FROM order_items",
        "refunds": "SELECT refund_id, order_id, user_id, refunded_at FROM refunds",
    },
)

# Chance is a hash of the id and a salt, so that the shop is the same whatever the number of threads.
_SHOP: Final = """
CREATE MACRO chance(id, salt) AS hash(id * 1000 + salt) / 18446744073709551616.0;
CREATE MACRO bell(id, salt) AS chance(id, salt) + chance(id, salt + 1) + chance(id, salt + 2) - 1.5;
CREATE TABLE customers AS
SELECT i AS user_id, TIMESTAMP '2024-01-01' + to_seconds((chance(i, 1) * 30000000)::BIGINT) AS signed_up_at,
  18 + (chance(i, 2) * 60)::BIGINT AS age, ['F', 'M'][1 + (chance(i, 3) * 1.999)::INT] AS gender,
  ['DE', 'FR', 'US', 'BR', 'JP'][1 + (chance(i, 4) * chance(i, 5) * 4.999)::INT] AS country,
  CASE WHEN chance(i, 6) < 0.5 THEN 0 WHEN chance(i, 6) < 0.75 THEN 1 WHEN chance(i, 6) < 0.9 THEN 2 ELSE 3 END AS kind
FROM range({customers}) t(i);
CREATE TABLE orders AS
SELECT user_id * 64 + n AS order_id, user_id, kind, n,
  signed_up_at + to_seconds((chance(user_id * 64 + n, 7) * 40000000)::BIGINT) AS ordered_at,
  CASE WHEN chance(user_id * 64 + n, 8) < 0.03 THEN 'Cancelled' ELSE 'Complete' END AS status
FROM (
  SELECT *, unnest(range(greatest(0, round([1, 3, 2, 8][kind + 1] * exp(0.5 * bell(user_id, 10))))::BIGINT)) AS n FROM customers
);
CREATE TABLE order_items AS
SELECT order_id, order_id AS item_id, 'b' || (chance(order_id, 20) * chance(order_id, 21) * 300)::INT AS brand,
  'c' || (chance(order_id, 22) * [2, 4, 2, 12][kind + 1])::INT AS category,
  round([20, 35, 250, 60][kind + 1] * exp(0.8 * bell(order_id, 23)), 2) AS price
FROM orders;
CREATE TABLE refunds AS
SELECT order_id AS refund_id, order_id, user_id, ordered_at + INTERVAL 5 DAY AS refunded_at
FROM orders WHERE chance(order_id, 30) < [0.02, 0.05, 0.3, 0.08][kind + 1];
"""


def invent(path: Path, customers: int) -> None:
    """Write the shop."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET memory_limit = '2GB'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(_SHOP.format(customers=customers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    sizes: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    """Customers, those without orders too."""
    sweep_up_to: int = 100_000
    """Up to so many scikit-learn fits 2 to 10 segments from ten starts each, as the trainer does; beyond, only the number chosen."""
    starts_up_to: int = 1_000_000
    """Up to so many from ten starts; beyond, from three."""
    alone_beyond: int = 10_000_000
    """Beyond so many scikit-learn is not tried: its columns would not fit into this machine."""
    measured: tuple[dict[str, Any], ...] = ()
    """Rows that need not be measured again."""


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One row per size, and the verdicts."""
    rows = {row["customers"]: row for row in plan.measured}
    for customers in plan.sizes:
        say(f"training: inventing {customers:,} customers")
        path = directory / f"shop-{customers}.duckdb"
        _child("invent", str(path), str(customers))
        say("training: the trainer")
        row: dict[str, Any] = {"customers": customers, "trainer": (mine := _child("trainer", str(path)))}
        if customers <= plan.alone_beyond:
            say(f"training: scikit-learn ({mine['seconds']:.0f} s and {mine['peak_mb']:.0f} MB were the trainer's)")
            starts = 10 if customers <= plan.starts_up_to else 3
            sweep = "sweep" if customers <= plan.sweep_up_to else "one"
            how = (str(mine["k"]), str(mine["dimensions"]), sweep, str(starts), str(mine["counting"]))
            theirs = _child("everything", str(path), *how)
            row["scikit_learn"] = theirs
            row["sse_ratio"] = mine["sse"] / theirs["sse"]
            row["time_ratio"] = mine["seconds"] / theirs["seconds"]
        rows[customers] = row
        path.unlink()
        _columns(path).unlink()
    table = [rows[size] for size in sorted(rows)]
    return {"part": "training", "rows": table, "verdicts": [v.document() for v in verdicts(table)]}


def verdicts(rows: list[dict[str, Any]]) -> list[Verdict]:
    """What is promised of each size."""
    found = []
    for row in rows:
        size = f"{row['customers']:,} customers"
        found.append(Verdict.at_most(f"peak MB of the trainer, {size}", row["trainer"]["peak_mb"], MOST_MB))
        if "sse_ratio" in row:
            name = f"SSE over all customers / scikit-learn's, {size}"
            found.append(Verdict.at_most(name, round(row["sse_ratio"], 6), WORSE))
    return found


def _columns(shop: Path) -> Path:
    """Where the trainer leaves the features of all for scikit-learn."""
    return shop.with_suffix(".parquet")


def trainer(warehouse: Warehouse, begun: float, shop: Path) -> dict[str, Any]:
    """Train as `segstream train` does; then leave the features of everybody beside the shop, so that they are counted only once."""
    stages: dict[str, float] = {"opening": round(time.monotonic() - begun, 2)}
    last = ["counting customers", time.monotonic()]

    def progress(stage: str, _: float) -> None:
        if stage != last[0]:
            stages[str(last[0])] = round(stages.get(str(last[0]), 0.0) + time.monotonic() - float(last[1]), 2)
            last[:] = [stage, time.monotonic()]

    training = train(warehouse, RECIPES["behaviour"], now=NOW, on_progress=progress)
    seconds, peak = time.monotonic() - begun, _peak()
    sse = training.report["sse_of_all"]
    if sse is None:
        people = population.look(warehouse, RECIPES["behaviour"], 10**9)
        sse = population.census(warehouse, people, Model(training.artifact, "")).sse
    spec, facts = RECIPES["behaviour"].spec, warehouse.everyone()
    people = facts.filter(formulas.counted(spec, facts))
    wanted = {c.feature: formulas.number(c.feature, c.transform, people) for c in spec.numbers()}
    warehouse.engine.run(
        f"COPY ({warehouse.engine.sql(people.select(**wanted))}) TO '{_columns(shop)}' (FORMAT parquet)"
    )
    return {
        "seconds": seconds,
        "counting": stages["opening"] + stages["counting customers"],
        "peak_mb": peak,
        "k": training.choice.k,
        "dimensions": len(training.artifact.bias),
        "customers": training.report["customers"],
        "segmented": training.artifact.rows,
        "fitted_on": training.report["fitted_on"],
        "sse": sse,
        "in_warehouse": sum(stages.get(stage, 0.0) for stage in WAREHOUSE),
        "stages": stages,
    }


def everything(
    shop: Path, begun: float, k: int, dimensions: int, sweep: bool, starts: int, counting: float
) -> dict[str, Any]:
    """The same with every customer in memory; `counting`: the seconds that the warehouse takes for it, which both have to wait."""
    import pyarrow.parquet
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    seed = RECIPES["behaviour"].seed
    table = pyarrow.parquet.read_table(_columns(shop))
    columns = np.column_stack([column.to_numpy() for column in table.columns])
    del table
    points = PCA(dimensions).fit_transform(StandardScaler().fit_transform(columns))
    times = f"{starts} starts"
    if sweep:
        fitted, fits = fit.sweep(points, list(fit.SWEEP), seed, lambda _: None)[k], f"2 to 10 segments, {times} each"
    else:
        fitted, fits = KMeans(k, n_init=starts, random_state=seed).fit(points), f"{k} segments, {times}"
    return {
        "seconds": counting + time.monotonic() - begun,
        "peak_mb": _peak(),
        "sse": float(fitted.inertia_),
        "rows": len(points),
        "fits": fits,
    }


def _peak() -> float:
    """The most memory this process has had, MB; not what its parent had when it was forked, as `getrusage` would count."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("/proc/self/status tells no VmHWM: the peak memory can be measured on Linux only")
    return int(found.group(1)) * 1024 / 1e6


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "bench.training", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} has failed")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """One of the processes of `measure`: prints its figures as JSON."""
    what, path, *rest = sys.argv[1:]
    if what == "invent":
        invent(Path(path), int(rest[0]))
        print(json.dumps({}))
        return
    begun = time.monotonic()
    if what == "everything":
        k, dimensions, sweep, starts, counting = rest
        how = (int(k), int(dimensions), sweep == "sweep", int(starts), float(counting))
        print(json.dumps(everything(Path(path), begun, *how)))
        return
    with open_warehouse(f"duckdb://{path}", SOURCE) as warehouse:
        print(json.dumps(trainer(warehouse, begun, Path(path))))


if __name__ == "__main__":
    main()
