"""Starting and stopping the servers of a sandbox: idempotent, remembered on disk, only ever ending what was started here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.home import Home
from sandbox.kafka import broker
from sandbox.process import Identity
from sandbox.redis import Redis


@dataclass(frozen=True, slots=True)
class Started:
    """A server of ours: its process and the settings its clients need."""

    identity: Identity
    environment: dict[str, str]
    note: str = ""


def start(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """Start what the environment does not already name; the settings for clients.

    Servers named by SEGSTREAM_KAFKA and SEGSTREAM_REDIS are used as they are. Raises process.ServerUnavailable.
    """
    running = {name: server for name, server in _load(home).items() if server.identity.process() is not None}
    if not environ.get("SEGSTREAM_KAFKA") and "kafka" not in running:
        kafka = broker(home.kafka).start()
        assert kafka.identity is not None
        running["kafka"] = Started(kafka.identity, kafka.environment, kafka.difference)
        _save(home, running)
    if not environ.get("SEGSTREAM_REDIS") and "redis" not in running:
        redis = Redis(home.redis).start()
        assert redis.identity is not None
        running["redis"] = Started(redis.identity, redis.environment)
        _save(home, running)
    return environment(home, environ)


def environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings for clients of what runs now."""
    found: dict[str, str] = {}
    for server in _load(home).values():
        if server.identity.process() is not None:
            found.update(server.environment)
    found.update({name: environ[name] for name in ("SEGSTREAM_KAFKA", "SEGSTREAM_REDIS") if environ.get(name)})
    return found


def notes(home: Home) -> list[str]:
    """What is different about the servers that run, one line each."""
    return [server.note for server in _load(home).values() if server.note]


def status(home: Home) -> dict[str, bool]:
    """Which servers were started here, and whether they still run."""
    return {name: server.identity.process() is not None for name, server in _load(home).items()}


def stop(home: Home) -> list[str]:
    """Stop what was started here; the names of what was stopped."""
    stopped = []
    for name, server in _load(home).items():
        if server.identity.process() is not None:
            server.identity.end()
            stopped.append(name)
    home.state.unlink(missing_ok=True)
    return stopped


def _load(home: Home) -> dict[str, Started]:
    if not home.state.exists():
        return {}
    return {
        name: Started(Identity(row["pid"], row["started"]), row["environment"], row.get("note", ""))
        for name, row in json.loads(home.state.read_text()).items()
    }


def _save(home: Home, servers: Mapping[str, Started]) -> None:
    rows = {
        name: {"pid": s.identity.pid, "started": s.identity.started, "environment": s.environment, "note": s.note}
        for name, s in servers.items()
    }
    home.root.mkdir(parents=True, exist_ok=True)
    partial = home.state.with_suffix(".partial")
    partial.write_text(json.dumps(rows, indent=1))
    partial.replace(home.state)
