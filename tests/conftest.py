"""Real servers on free ports of 127.0.0.1, always stopped; who harms a server gets one of its own, all others share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from sandbox.kafka import Kafka, broker, missing_tools
from sandbox.redis import Redis
from tests.installation import Installation, emptied

# A law that holds must not fail because the machine is busy: timing lives in bench/.
hypothesis.settings.register_profile("laws", deadline=None)
hypothesis.settings.load_profile("laws")

FIRST = (
    "tests/segstream/test_demo.py",
    "tests/segstream/test_parity.py",
    "tests/stream_app/test_broker.py",
    "tests/stream_app/test_watchdog.py",
    "tests/stream_app/test_worker.py",
    "tests/batch_trainer/test_backends.py",
    "tests/segstream/test_trainer_loop.py",
    "tests/security/test_secured.py",
    "tests/dashboard/test_dashboard.py",
    "tests/destinations/test_shop.py",
    "tests/batch_trainer/test_choice.py",
    "tests/batch_trainer/test_retraining.py",
    "tests/batch_trainer/test_loop_crashes.py",
)
"""What lasts long begins first, so that no process works on it while the others have ended."""
APART = frozenset(
    f"tests/{name}.py"
    for name in (
        "segstream/test_parity",
        "segstream/test_redrive",
        "stream_app/test_watchdog",
        "stream_app/test_worker",
    )
)
"""Files whose tests share nothing but the broker: each may go to whichever process is free."""
TOGETHER = {f"tests/batch_trainer/test_{name}.py": "warehouses" for name in ("backends", "formulas", "past_memory")}
"""Files that share servers which take long to start: all go to one process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which tests go to a process together: those of a file, but for the above."""
    from xdist.scheduler import LoadScopeScheduling

    class Turns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return nodeid if path in APART else TOGETHER.get(path, path)

    config.option.loadscopereorder = False  # the files with the most tests first would leave the longest for the end
    return Turns(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    turns = {path: turn for turn, path in enumerate(FIRST)}
    items.sort(key=lambda item: turns.get(item.nodeid.split("::")[0], len(FIRST)))


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


class CleaningKafka(Kafka):
    """A broker that compacts at once, so that a test may wait for it."""

    def _command(self) -> list[str]:
        command = super()._command()
        with (self.directory / "server.properties").open("a") as properties:
            properties.write("log.cleaner.backoff.ms=100\n")
        return command


@pytest.fixture(scope="session")
def shared_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The broker that all tests of a process share: topics and groups of another test may be there."""
    if missing_tools():
        pytest.skip(f"not on the PATH: {', '.join(missing_tools())}")
    server = CleaningKafka(tmp_path_factory.mktemp("kafka"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest, own_redis: Redis) -> Iterator[Installation]:
    """An installation without history: on the shared broker, emptied, or on `own_kafka` where the test asks for that too."""
    if "own_kafka" in request.fixturenames:
        made = Installation(tmp_path / "home", request.getfixturevalue("own_kafka").bootstrap, own_redis.url)
    else:
        bootstrap = request.getfixturevalue("shared_kafka").bootstrap
        emptied(bootstrap)
        # A killed worker stays a member of its group until its session ends; nobody shall wait for that.
        made = Installation(tmp_path / "home", bootstrap, own_redis.url, f"segstream-{uuid.uuid4().hex[:8]}")
    try:
        yield made
    finally:
        made.close()
