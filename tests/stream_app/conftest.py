"""A broker per test: topics have fixed names, and a test of crashes wants no neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.kafka import broker
from sandbox.redis import Redis
from tests.stream_app.installation import Installation


@pytest.fixture
def shop(tmp_path: Path, own_redis: Redis) -> Iterator[Installation]:
    """An installation with servers of its own."""
    server = broker(tmp_path / "kafka")
    made = Installation(tmp_path / "home", server.bootstrap, own_redis.url)
    try:
        server.start()
        yield made
    finally:
        made.close()
        server.stop()
