"""The stream agrees with the warehouse: history replayed through Kafka and a worker, compared customer by customer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox import warehouse
from sandbox.shop import Shop
from schemas.artifact import PROSPECT
from segstream import kafka
from tests.batch_trainer.shops import THELOOK, UCI, some_of_thelook
from tests.installation import Installation
from tests.schemas.models import SIGNER
from tests.waiting import wait_for

NOW = 1_790_000_000_000_000
FIVE = ["--k", "5"]
"""So many segments: what is compared here does not depend on their number, and choosing it takes longest."""


def segstream(shop: Installation, *arguments: str) -> tuple[int, Any]:
    """Run a command with --json; its exit code and document."""
    env = os.environ | shop.environment | {"SEGSTREAM_SIGNING_KEY": SIGNER.to_text(), "SEGSTREAM_DEBUG": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "segstream", *arguments, "--json"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout)


def agrees(shop: Installation, where: list[str]) -> dict[str, Any]:
    code, verified = segstream(shop, "verify", *where)
    assert verified["differences"] == []
    assert (code, verified["feature_mismatches"], verified["segment_mismatches"]) == (0, 0, 0)
    return dict(verified)


@pytest.mark.parametrize(
    ("source", "directory", "one_in", "customers"),
    [
        pytest.param("thelook_parquet", THELOOK, 10, 10_000, id="a tenth of theLook"),
        pytest.param("thelook_parquet", THELOOK, 1, 100_000, id="theLook", marks=pytest.mark.whole),
        pytest.param("uci_online_retail", UCI, 1, 4_372, id="UCI"),
    ],
)
def test_a_real_shops_history_gives_the_warehouses_features_and_segments(
    shop: Installation, tmp_path: Path, source: str, directory: Path, one_in: int, customers: int
) -> None:
    if not directory.is_dir():
        pytest.skip(f"the data set {directory.name} is not on this machine")
    if one_in > 1:
        directory = some_of_thelook(tmp_path / "some", one_in)
    where = ["--source", source, "--warehouse", "duckdb://", "--param", f"dir={directory}"]
    assert segstream(shop, "topics", "create")[0] == 0
    recipes = ["behaviour", "article"] if source.startswith("thelook") else ["behaviour"]
    code, trained = segstream(shop, "train", *where, "--recipe", recipes[0], *FIVE, "--publish")
    assert code == 0
    shop.worker(SEGSTREAM_TRUSTED_KEYS=SIGNER.public).wait_ready()
    assert segstream(shop, "replay", *where)[0] == 0
    assert agrees(shop, where)["customers"] == customers
    assert {change.cause for change in shop.changes()} == {"bootstrap"}
    for recipe in recipes[1:]:
        code, trained = segstream(shop, "train", *where, "--recipe", recipe, *FIVE, "--publish")
        assert code == 0
        assert agrees(shop, where)["model_id"] == trained["model_id"]


def test_an_interrupted_replay_is_run_again_beside_live_traffic(shop: Installation, tmp_path: Path) -> None:
    made = Shop(7, 1500, 200, NOW)
    path = tmp_path / "shop.duckdb"
    warehouse.create(path, made.catalogue)
    warehouse.append(path, made.history)
    where = ["--source", "thelook", "--warehouse", f"duckdb:///{path}"]
    segstream(shop, "topics", "create")
    assert segstream(shop, "train", *where, *FIVE, "--publish")[0] == 0
    shop.worker(SEGSTREAM_TRUSTED_KEYS=SIGNER.public).wait_ready()
    slow = subprocess.Popen(
        [sys.executable, "-m", "segstream", "replay", *where, "--rate", "300", "--json"],
        env=os.environ | shop.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    live = [made.live(NOW + n) for n in range(400)]
    from sandbox.events import message

    shop.produce([message(happening) for happening in live], rate=200)
    sent = len(live) + 200
    wait_for(lambda: sum(1 for _ in kafka.read(shop.settings, "orders")) > sent, "the replay is under way", 60)
    slow.terminate()
    told = json.loads(slow.communicate(timeout=60)[0])
    assert slow.returncode == 1
    assert "run it again" in told["error"]["message"]
    assert segstream(shop, "replay", *where)[0] == 0
    warehouse.append(path, live)
    agrees(shop, where)
    produced = {f"{topic}:{partition}:{offset}" for topic, partition, offset, _, _ in shop.produced}
    for change in shop.changes():
        assert change.cause == ("behaviour" if change.caused_by in produced else "bootstrap")
    signed_up_only = [c.segment for c in shop.state().values() if not c.profile.placed_orders]
    assert set(signed_up_only) == {PROSPECT}
    time_moves_customers(shop, where)


def time_moves_customers(shop: Installation, where: list[str]) -> None:
    """With recency: as of today, and again as of a day to come, on which time alone has moved customers."""
    assert segstream(shop, "train", *where, "--recipe", "rfm", *FIVE, "--publish")[0] == 0
    agrees(shop, where)
    assert shop.workers[-1].stop() == 0
    later = "2028-01-01T00:00:00Z"
    shop.worker(SEGSTREAM_AS_OF=later).wait_ready()
    agrees(shop, [*where, "--as-of", later])
    lapsed = [change for change in shop.changes() if change.cause == "time"]
    assert lapsed
    assert {(change.caused_by, change.event_time) for change in lapsed} == {(f"time:{later}", later)}
    assert (
        segstream(shop, "verify", *where, "--as-of", "2029-01-01T00:00:00Z", "--wait", "1")[1]["feature_mismatches"] > 0
    )
