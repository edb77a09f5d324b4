"""The constants of `segstream plan`, taken from what was measured: `make bench ARGS="--constants"` after the parts hotpath and scale."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.generator import Shop
from segstream.capacity import Measured
from stream_app.stores import RocksStore

FILE: Final = Path("segstream/measured.json")
ROWS: Final = 1_000_000
ROW: Final = 250
RECORD: Final = 70
"""Bytes that Kafka adds to a record of ours: framing, and the headers of a change come on top of these."""
HEADERS: Final = 230
"""Bytes of a change's CloudEvents headers."""


def write(build: Path) -> None:
    """Write the constants. Raises SystemExit where a part was not measured."""
    hot, scale = (_part(build, name) for name in ("hotpath", "scale"))
    worker, figures = hot["parts"]["hotpath"]["engines"]["segstream"], scale["parts"]["scale"]["figures"]
    customers = scale["parts"]["scale"]["customers"]
    messages = [len(m.key) + len(m.value) for m in Shop(1_000).messages(2_000)]
    cost = worker["cpu_us"]["median"]
    resident = (figures["peak MiB, many customers"] - figures["peak MiB, no customers"]) * 2**20 / customers
    measured = Measured(
        command=f"{hot['command']}; {scale['command']}",
        commit=scale["commit"],
        machine=_machine(scale["machine"]),
        date=scale["date"],
        cpu_us_per_event=cost,
        cpu_us_per_event_million=cost * max(1.0, figures["cost per event, many / few"]),
        rss_mib_empty=figures["peak MiB, no customers"],
        rss_bytes_per_customer=resident,
        rss_mib_per_rocksdb_partition=_resident_mib(),
        event_bytes=sum(messages) / len(messages) + RECORD,
        change_bytes=figures["bytes per change"] + RECORD + HEADERS,
        state_bytes=figures["changelog bytes per customer"] + RECORD,
        share_of_changes=hot["parts"]["hotpath"]["share_of_changes"],
        redis_bytes_per_customer=figures["Redis bytes per customer"],
        restored_per_s=figures["recovery: records/s"],
        rescored_per_s=customers / figures["new model: s until every customer is on it"],
    )
    rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in msgspec.to_builtins(measured).items()}
    FILE.write_text(json.dumps(rounded, indent=2) + "\n")


def _part(build: Path, name: str) -> dict[str, Any]:
    file = build / f"bench-{name}.json"
    if not file.exists():
        raise SystemExit(f"{file} is not there: `make bench ARGS='--only {name}'` first")
    return dict(json.loads(file.read_text()))


def _machine(machine: Any) -> str:
    return machine if isinstance(machine, str) else ", ".join(str(value) for value in machine.values())


def _resident_mib() -> float:
    """Memory that a partition in RocksDB takes once it is written and read, by a process of its own."""
    done = subprocess.run([sys.executable, "-m", "bench.constants"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _fill() -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as scratch:
        store = RocksStore(Path(scratch) / "0")
        for first in range(0, ROWS, 1000):
            store.put({b"customer-%d" % n: b"%d" % n + bytes(ROW) for n in range(first, first + 1000)}, first)
        for n in range(0, ROWS, 7):
            store.get(b"customer-%d" % n)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        store.close()
    return grown / 1024


if __name__ == "__main__":
    print(_fill())
