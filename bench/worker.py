"""Our worker seen from outside: its readiness document and its metrics."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import Process


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and its home, where it leaves its address."""

    process: Process
    home: Path

    def get(self, path: str) -> str:
        """The body of an answer, whatever its status. Raises OSError while the worker cannot be asked."""
        port = json.loads((self.home / f"worker-{self.process.pid}.json").read_text())["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def ready(self) -> dict[str, Any]:
        """The readiness document; empty while the worker cannot be asked."""
        try:
            return dict(json.loads(self.get("/ready")))
        except (OSError, ValueError):
            return {}

    def is_ready(self) -> bool:
        """Whether it says so itself."""
        return self.ready().get("ready") is True

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = [line for line in self.get("/metrics").splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def share_above(self, name: str, bound: float) -> float:
        """The share of a histogram's observations that exceed one of its bounds."""
        within = sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics").splitlines()
            if line.startswith(f"{name}_bucket{{") and f'le="{bound}"' in line
        )
        count = self.metric(f"{name}_count")
        return 1 - within / count if count else 0.0
