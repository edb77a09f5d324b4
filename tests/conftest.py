"""Real servers, started once per run, on free ports of 127.0.0.1, and always stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.kafka import Kafka, broker
from sandbox.redis import Redis

Waiting = Callable[[Callable[[], bool], str, float], None]


def wait_for(condition: Callable[[], bool], what: str, deadline: float = 60.0) -> None:
    """Wait until a condition holds; fail with what was awaited when the deadline (seconds) passes."""
    until = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"not within {deadline:.0f} s: {what}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker for the whole run."""
    server = broker(tmp_path_factory.mktemp("kafka"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for the whole run."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that a test may stop and wipe."""
    server = Redis(tmp_path / "redis")
    try:
        yield server.start()
    finally:
        server.stop()
