"""One broker for the whole suite; topics and groups of its own for each test; every member that a test starts is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.kafka import Kafka, missing_tools
from tests.fastlane.lane import Log, Member


class CleaningKafka(Kafka):
    """A broker that compacts at once, so that a test may wait for it."""

    def _command(self) -> list[str]:
        command = super()._command()
        with (self.directory / "server.properties").open("a") as properties:
            properties.write("log.cleaner.backoff.ms=100\n")
        return command


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    if missing_tools():
        pytest.skip(f"not on the PATH: {', '.join(missing_tools())}")
    server = CleaningKafka(tmp_path_factory.mktemp("fastlane"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def log(kafka: Kafka, tmp_path: Path) -> Log:
    """The log of one test."""
    return Log(kafka.bootstrap, tmp_path)


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
