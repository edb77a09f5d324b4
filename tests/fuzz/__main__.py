"""`make fuzz`: break whatever is read from outside for as long as one likes; what breaks a reader is kept in build/crashers."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

BUILD = Path("build")


@dataclass
class Found:
    """What came of a target."""

    name: str
    tried: int = 0
    seconds: float = 0.0
    crashers: dict[str, str] = field(default_factory=dict)
    """File -> error, one for each kind of error."""


def hunt(target: Target, seconds: float, seed: int) -> Found:
    """Break one target for some seconds."""
    found, rng, begun = Found(target.name), random.Random(f"{target.name}{seed}"), time.monotonic()
    kinds: set[str] = set()
    while time.monotonic() - begun < seconds:
        data = mutate(rng, target.seeds())
        found.tried += 1
        try:
            target.law(data)
        except Exception as error:
            kind = f"{type(error).__name__}: {str(error)[:60]}"
            if kind not in kinds:
                kinds.add(kind)
                path = BUILD / "crashers" / target.name / hashlib.sha256(data).hexdigest()[:12]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                found.crashers[str(path)] = kind
    found.seconds = time.monotonic() - begun
    return found


def main() -> int:
    """Hunt through the chosen targets; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument(
        "--only", nargs="*", default=[t.name for t in TARGETS] + ["api"], help="targets, api among them"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    every = [hunt(target, options.seconds, options.seed) for target in TARGETS if target.name in options.only]
    if "api" in options.only:
        from tests.fuzz.api import hunt_api

        tried, failures, took = hunt_api(options.seconds)
        every.append(Found("api", tried, took, dict(enumerate(failures))))  # type: ignore[arg-type]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    document = {
        "command": f'make fuzz ARGS="{" ".join(sys.argv[1:])}"',
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seed": options.seed,
        "verdicts": [
            {"name": f"{one.name}: nothing breaks it", "value": len(one.crashers), "bound": 0, "holds": not one.crashers, "tried": one.tried,
             "seconds": round(one.seconds, 1), "crashers": one.crashers}
            for one in every
        ],
    }  # fmt: skip
    BUILD.mkdir(exist_ok=True)
    (BUILD / "fuzz.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = ["| reader | inputs | seconds | broke it |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.tried} | {one.seconds:.0f} | {len(one.crashers)} |" for one in every]
    (BUILD / "fuzz.md").write_text("\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    for one in every:
        for path, kind in one.crashers.items():
            sys.stdout.write(f"{one.name}: {path}: {kind}\n")
    return int(any(one.crashers for one in every))


if __name__ == "__main__":
    sys.exit(main())
