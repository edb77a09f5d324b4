"""Real servers on free ports of 127.0.0.1, always stopped; a test of crashes gets servers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from sandbox.kafka import Kafka, broker
from sandbox.redis import Redis
from tests.installation import Installation

# A law that holds must not fail because the machine is busy: timing lives in bench/.
hypothesis.settings.register_profile("laws", deadline=None)
hypothesis.settings.load_profile("laws")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that a test may stop and wipe."""
    server = Redis(tmp_path / "redis")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker that a test may kill."""
    server = broker(tmp_path / "kafka")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def shop(tmp_path: Path, own_kafka: Kafka, own_redis: Redis) -> Iterator[Installation]:
    """An installation with servers of its own: topics have fixed names, and a test of crashes wants no neighbours."""
    made = Installation(tmp_path / "home", own_kafka.bootstrap, own_redis.url)
    try:
        yield made
    finally:
        made.close()
