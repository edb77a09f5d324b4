"""Topics and groups of its own for each test; every member that a test starts is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.kafka import Kafka
from tests.fastlane.lane import Log, Member


@pytest.fixture
def log(shared_kafka: Kafka, tmp_path: Path) -> Log:
    """The log of one test."""
    return Log(shared_kafka.bootstrap, tmp_path)


Members = Callable[..., Member]


@pytest.fixture
def member(log: Log) -> Iterator[Members]:
    """Makes members; they are stopped when the test ends."""
    made: list[Member] = []

    def make(*topics: str, **more: Any) -> Member:
        made.append(Member(log, *topics, **more))
        return made[-1]

    yield make
    for one in made:
        if one.failure is None:
            one.stop()
