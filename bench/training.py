"""How training grows with the customers: time and peak memory of the trainer, beside scikit-learn fitted on all of them in memory.

    python -m bench.training --customers 100000,1000000

Each size is a shop invented in DuckDB by SQL (the same for the same size). The trainer and scikit-learn run in processes of
their own, one after the other, so that the peak memory is theirs. Both do the whole job: count in the warehouse, project, and
fit 2 to 10 segments from ten starts each. Beyond `--oracle-up-to` customers scikit-learn fits only the chosen number from one start.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np

from batch_trainer import fit, moments, population
from batch_trainer.recipes import RECIPES
from batch_trainer.source import Source
from batch_trainer.trainer import train
from batch_trainer.warehouse import Warehouse, open_warehouse
from schemas.model import Model

RESULT: Final = Path("build/bench-training.json")
NOW: Final = 1_790_000_000_000_000
MOST_MB: Final = 1500
"""The trainer's memory, whatever the number of customers."""
WORSE: Final = 1.001
"""How much greater the SSE over all customers may be than scikit-learn's."""
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


def trainer(warehouse: Warehouse, begun: float) -> dict[str, Any]:
    """Train as `segstream train` does."""
    stages: dict[str, float] = {"opening": time.monotonic() - begun}
    last = ["counting customers", time.monotonic()]

    def progress(stage: str, _: float) -> None:
        if stage != last[0]:
            stages[str(last[0])] = round(time.monotonic() - float(last[1]), 2)
            last[:] = [stage, time.monotonic()]

    training = train(warehouse, RECIPES["behaviour"], now=NOW, on_progress=progress)
    seconds, peak = time.monotonic() - begun, _peak()
    sse = training.report["sse_of_all"]
    if sse is None:
        people = population.look(warehouse, RECIPES["behaviour"], 10**9)
        sse = population.census(warehouse, people, Model(training.artifact, "")).sse
    return {
        "seconds": seconds,
        "peak_mb": peak,
        "k": training.choice.k,
        "dimensions": len(training.artifact.bias),
        "customers": training.report["customers"],
        "segmented": training.artifact.rows,
        "fitted_on": training.report["fitted_on"],
        "sse": sse,
        "stages": stages,
    }


def everything(warehouse: Warehouse, begun: float, k: int, dimensions: int, sweep: bool) -> dict[str, Any]:
    """The same with every customer in memory."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    spec = RECIPES["behaviour"].spec
    facts = warehouse.everyone()
    people = facts.filter(moments.counted(spec, facts))
    wanted = {c.feature: moments.number(c.feature, c.transform, people) for c in spec.numbers()}
    arrays = [
        np.column_stack([batch.column(i).to_numpy() for i in range(len(wanted))])
        for batch in warehouse.backend.to_pyarrow_batches(people.select(**wanted), chunk_size=100_000)
    ]
    columns = np.vstack(arrays)
    points = PCA(dimensions).fit_transform(StandardScaler().fit_transform(columns))
    if sweep:
        fitted = fit.sweep(points, list(fit.SWEEP), RECIPES["behaviour"].seed, lambda _: None)[k]
    else:
        fitted = KMeans(k, n_init=1, random_state=RECIPES["behaviour"].seed).fit(points)
    return {
        "seconds": time.monotonic() - begun,
        "peak_mb": _peak(),
        "sse": float(fitted.inertia_),
        "rows": len(points),
        "whole_job": sweep,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "bench.training", "--child", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} has failed")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(sizes: list[int], oracle_up_to: int, skip_oracle_beyond: int, directory: Path) -> dict[str, Any]:
    """One row per size, and the verdicts."""
    rows: list[dict[str, Any]] = []
    for customers in sizes:
        path = directory / f"shop-{customers}.duckdb"
        begun = time.monotonic()
        _child("invent", str(path), str(customers))
        row: dict[str, Any] = {"customers": customers, "invented_in": round(time.monotonic() - begun, 1)}
        row["trainer"] = _child("trainer", str(path))
        print(json.dumps(row), file=sys.stderr, flush=True)
        if customers <= skip_oracle_beyond:
            sweep = "sweep" if customers <= oracle_up_to else "one"
            mine = row["trainer"]
            row["scikit_learn"] = _child("everything", str(path), str(mine["k"]), str(mine["dimensions"]), sweep)
            row["sse_ratio"] = mine["sse"] / row["scikit_learn"]["sse"]
            row["time_ratio"] = mine["seconds"] / row["scikit_learn"]["seconds"]
            print(json.dumps(row["scikit_learn"]), file=sys.stderr, flush=True)
        rows.append(row)
        path.unlink()
    return {"part": "training", "rows": rows, "verdicts": verdicts(rows)}


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is promised of each size."""
    found = []
    for row in rows:
        peak = round(row["trainer"]["peak_mb"], 1)
        found.append(
            {"name": f"peak MB of the trainer, {row['customers']:,} customers", "value": peak,
             "bound": f"<= {MOST_MB}", "holds": peak <= MOST_MB}
        )  # fmt: skip
        if "sse_ratio" in row:
            ratio = round(row["sse_ratio"], 6)
            found.append(
                {"name": f"SSE over all customers / scikit-learn's, {row['customers']:,} customers", "value": ratio,
                 "bound": f"<= {WORSE}", "holds": ratio <= WORSE}
            )  # fmt: skip
    return found


def markdown(result: dict[str, Any]) -> str:
    """The result as people read it."""
    lines = [
        f"`{result['command']}`, {result['date'][:10]}, commit {result['commit']}, {result['machine']['cores']} cores.",
        "",
        "| customers | segmented | trainer s | trainer MB | scikit-learn s | scikit-learn MB | time ratio | SSE ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        mine, theirs = row["trainer"], row.get("scikit_learn")
        other = (
            f"{theirs['seconds']:,.0f}{'' if theirs['whole_job'] else ' (one k, one start)'} | {theirs['peak_mb']:,.0f} | "
            f"{row['time_ratio']:.2f} | {row['sse_ratio']:.5f}"
            if theirs
            else "- | - | - | -"
        )
        lines.append(
            f"| {row['customers']:,} | {mine['segmented']:,} | {mine['seconds']:,.0f} | {mine['peak_mb']:,.0f} | {other} |"
        )
    lines += ["", "| promise | measured | bound | holds |", "|---|---|---|---|"]
    lines += [
        f"| {v['name']} | {v['value']:,} | {v['bound']} | {'yes' if v['holds'] else '**no**'} |"
        for v in result["verdicts"]
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code 0: every promise held; 1: one did not."""
    if sys.argv[1:2] == ["--child"]:
        return _as_child(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("--customers", default="100000,1000000", help="sizes, comma-separated")
    parser.add_argument(
        "--oracle-up-to", type=int, default=1_000_000, help="largest size at which scikit-learn does the whole job"
    )
    parser.add_argument("--skip-oracle-beyond", type=int, default=10_000_000, help="no scikit-learn beyond this size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-training-") as directory:
        sizes = [int(size) for size in options.customers.split(",")]
        measured = measure(sizes, options.oracle_up_to, options.skip_oracle_beyond, Path(directory))
    git = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    result = {
        "command": shlex.join(["python", "-m", "bench.training", *sys.argv[1:]]),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load": os.getloadavg()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **measured,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))
    return 0 if all(verdict["holds"] for verdict in result["verdicts"]) else 1


def _as_child(arguments: list[str]) -> int:
    what, path, *rest = arguments
    if what == "invent":
        invent(Path(path), int(rest[0]))
        print(json.dumps({}))
        return 0
    begun = time.monotonic()
    with open_warehouse(f"duckdb://{path}", SOURCE) as warehouse:
        if what == "trainer":
            print(json.dumps(trainer(warehouse, begun)))
        else:
            print(json.dumps(everything(warehouse, begun, int(rest[0]), int(rest[1]), rest[2] == "sweep")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
