"""What `segstream train` says of a warehouse before it trains: the SQL, a wrong moment, a server that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.batch_trainer.shops import regulars


def train(home: Path, *arguments: str) -> tuple[int, Any]:
    """Run the command with --json; its exit code and document."""
    done = subprocess.run(
        [sys.executable, "-m", "segstream", "train", *arguments, "--json"],
        env=os.environ | {"SEGSTREAM_HOME": str(home), "SEGSTREAM_REDIS": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_explain_prints_every_statement_and_trains_nothing(tmp_path: Path) -> None:
    url, source = regulars(10).write(tmp_path)
    code, statements = train(tmp_path, "--source", str(source), "--warehouse", url, "--explain")
    assert code == 0
    assert {"relation orders", "keep orders", "check orders twice", "keep facts"} <= statements.keys()
    assert "FROM orders" in statements["relation orders"]
    assert not (tmp_path / "reports").exists()


def test_as_of_is_told_by_the_model_and_the_report(tmp_path: Path) -> None:
    url, source = regulars(400).write(tmp_path)
    moment = "2024-09-01T02:00:00+02:00"
    out = tmp_path / "report"
    where = ["--source", str(source), "--warehouse", url, "--as-of", moment, "--k", "3", "--out", str(out)]
    code, summary = train(tmp_path, *where)
    assert code in (0, 1), "few customers: a gate may not hold"
    report = json.loads((out / "report.json").read_text())
    assert report["data_until"] == "2024-09-01T00:00:00Z"
    assert summary["window"]["until"] <= "2024-09-01T00:00:00Z"


def test_a_moment_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    code, told = train(tmp_path, "--source", "thelook", "--warehouse", "duckdb://", "--as-of", "yesterday")
    assert code == 2
    assert "--as-of 'yesterday'" in told["error"]["message"]


def test_a_warehouse_that_is_not_there_is_exit_code_69(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    code, told = train(tmp_path, "--source", "thelook", "--warehouse", "postgres://me:secret@127.0.0.1:1/shop")
    assert code == 69
    assert "secret" not in told["error"]["message"]
