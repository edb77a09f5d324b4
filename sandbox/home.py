"""Where the sandbox keeps its things: servers' data, logs, the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one sandbox and the places in it."""

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Home:
        """The home that the environment names: SEGSTREAM_HOME, or `.segstream` in the working directory."""
        return cls(Path(environ.get("SEGSTREAM_HOME") or ".segstream").resolve())

    @property
    def kafka(self) -> Path:
        """Kafka's configuration, data and log."""
        return self.root / "kafka"

    @property
    def redis(self) -> Path:
        """Redis's append-only file and log."""
        return self.root / "redis"

    @property
    def state(self) -> Path:
        """What this sandbox has started."""
        return self.root / "servers.json"

    @property
    def warehouse(self) -> Path:
        """The shop's DuckDB file."""
        return self.root / "shop.duckdb"


def cache(environ: Mapping[str, str]) -> Path:
    """Where downloads are kept over sandboxes: SEGSTREAM_CACHE, or `~/.cache/segstream`."""
    return Path(environ.get("SEGSTREAM_CACHE") or Path.home() / ".cache" / "segstream")
