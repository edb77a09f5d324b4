"""The demo runs by itself: parity holds and drift is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_parity_and_an_alert(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEGSTREAM_")} | {"SEGSTREAM_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "segstream", "demo", "--for", "40", "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shown = json.loads(done.stdout)
    assert shown["parity"]["feature_mismatches"] == shown["parity"]["segment_mismatches"] == 0
    assert shown["parity"]["customers"] == shown["customers"]
    assert shown["alerts"]
    assert {"bootstrap", "behaviour"} <= shown["changes_out"].keys()
    assert len(set(shown["models"])) == 2
    assert [step["step"] for step in shown["loop"]][:4] == [
        "training-started", "candidate-published", "shadow-compared", "activated",
    ]  # fmt: skip
    assert shown["latency_ms"]["p50"] > 0
