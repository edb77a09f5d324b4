"""The result of many runs as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
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
    parts: dict[str, float] = field(default_factory=dict)
    """Of the seconds."""
    problem: str = ""
    differences: list[str] = field(default_factory=list)


def commit() -> str:
    """The commit that is checked out, with a mark where files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def heading(program: str) -> dict[str, Any]:
    """What was run, where and when."""
    return {
        "command": " ".join([program, *sys.argv[1:]]),
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared (load average {os.getloadavg()[2]:.1f}), Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def save(name: str, title: str, made: dict[str, Any], text: str, out: Path) -> None:
    """Write build/<name>.json and build/<name>.md."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
    about = "\n".join(f"- {part}: {made[part]}" for part in ("command", "commit", "machine", "date"))
    (out / f"{name}.md").write_text(f"# {title}\n\n{about}\n\n{text}\n")


def promises(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per promise, in Markdown."""
    return [
        "| promise | measured | bound | holds |",
        "|---|---|---|---|",
        *(
            f"| {row['name']} | {row['value']} | {row['bound']} | {'yes' if row['holds'] else '**no**'} |"
            for row in verdicts
        ),
    ]


def told(name: str, found: dict[str, Any], text: Callable[[dict[str, Any]], str], out: Path) -> int:
    """Save and print what `python -m tests.faults.<name>` has found, with its `verdicts`; 1 when one of them does not hold."""
    made = heading(f"python -m tests.faults.{name}") | found
    save(name, name.capitalize(), made, text(made), out)
    print(text(made))
    return 0 if all(row["holds"] for row in made["verdicts"]) else 1


def document(runs: Sequence[Run], missing: Mapping[str, str], busy: bool) -> dict[str, Any]:
    """Everything about the runs, with a verdict per fault and law; `missing`: what could not be run here, and why."""
    verdicts = []
    for fault in dict.fromkeys(run.fault for run in runs):
        of = [run for run in runs if run.fault == fault]
        exact = sum(run.exact for run in of)
        longest = max(run.downtime for run in of)
        verdicts += [
            {"name": f"{fault}: exact runs", "value": exact, "bound": len(of), "holds": exact == len(of)},
            {"name": f"{fault}: longest pause, s", "value": longest, "bound": DOWNTIME, "holds": longest <= DOWNTIME},
        ]
    about = heading("python -m tests.faults")
    if busy:
        about["machine"] += ", one core kept busy"
    return {
        **about,
        "verdicts": verdicts,
        "not_run": dict(missing),
        "runs": [asdict(run) for run in runs],
    }


def table(runs: Sequence[Run], missing: Mapping[str, str]) -> str:
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
    lines += [f"\nNot run here: {name}: {why}" for name, why in missing.items()]
    return "\n".join(lines)


def write(runs: Sequence[Run], missing: Mapping[str, str], busy: bool, out: Path) -> None:
    """Write build/faults.json and build/faults.md."""
    save("faults", "Fault runs", document(runs, missing, busy), table(runs, missing), out)
