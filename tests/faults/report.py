"""The result of many runs as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

DOWNTIME: Final = 60.0
"""Seconds without a change that a fault may cost at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one fault."""

    fault: str
    exact: bool
    events: int
    downtime: float
    """The longest time in which no change came, seconds."""
    broker_away: float
    """How long of it the broker was not there."""
    duplicates: int
    lost: int
    wrong: int
    restarts: list[int]
    """Exit codes of workers that ended by themselves and were started again."""
    seconds: float
    problem: str = ""
    differences: list[str] = field(default_factory=list)


def commit() -> str:
    """The commit that is checked out, with a mark where files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def document(runs: Sequence[Run], busy: bool) -> dict[str, Any]:
    """Everything about the runs, with a verdict per fault and law."""
    verdicts = []
    for fault in dict.fromkeys(run.fault for run in runs):
        of = [run for run in runs if run.fault == fault]
        exact = sum(run.exact for run in of)
        longest = max(run.downtime for run in of)
        verdicts += [
            {"name": f"{fault}: exact runs", "value": exact, "bound": len(of), "holds": exact == len(of)},
            {"name": f"{fault}: longest pause, s", "value": longest, "bound": DOWNTIME, "holds": longest <= DOWNTIME},
        ]
    return {
        "command": " ".join(["python -m tests.faults", *sys.argv[1:]]),
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared, Python {platform.python_version()}"
        + (", one core kept busy" if busy else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "verdicts": verdicts,
        "runs": [asdict(run) for run in runs],
    }


def table(runs: Sequence[Run]) -> str:
    """One line per fault, in Markdown."""
    lines = [
        "| fault | runs | exact | longest pause of changes, s | broker away, s | duplicates | lost | wrong | restarts | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for fault in dict.fromkeys(run.fault for run in runs):
        of = [run for run in runs if run.fault == fault]
        spans = [
            f"{min(getattr(run, name) for run in of):.1f} to {max(getattr(run, name) for run in of):.1f}"
            for name in ("downtime", "broker_away")
        ]
        sums = [sum(getattr(run, name) for run in of) for name in ("duplicates", "lost", "wrong")]
        restarts = sum(len(run.restarts) for run in of)
        cells = [
            fault,
            len(of),
            sum(run.exact for run in of),
            *spans,
            *sums,
            restarts,
            "holds" if all(run.exact for run in of) else "DOES NOT HOLD",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def write(runs: Sequence[Run], busy: bool, out: Path) -> None:
    """Write build/faults.json and build/faults.md."""
    made = document(runs, busy)
    out.mkdir(parents=True, exist_ok=True)
    (out / "faults.json").write_text(json.dumps(made, indent=1) + "\n")
    about = "\n".join(f"- {name}: {made[name]}" for name in ("command", "commit", "machine", "date"))
    (out / "faults.md").write_text(f"# Fault runs\n\n{about}\n\n{table(runs)}\n")
