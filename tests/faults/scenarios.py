"""The faults: what is done to workers and broker, and when, under which load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.kafka import Kafka
from sandbox.redis import Redis
from tests.faults.cluster import Cluster
from tests.faults.crew import Crew
from tests.faults.stand import Servers
from tests.installation import Installation, WorkerProcess
from tests.waiting import wait_for

PATIENCE: Final = 180.0
"""Seconds that a wait on a worker may last: the machine may be as slow as it likes, only the result counts."""
Message = tuple[str, bytes, bytes]
"""Topic, key and value."""


@dataclass(slots=True)
class Stage:
    """Where a fault is inflicted: the workers, the servers, and the time since the load began."""

    crew: Crew
    servers: Servers
    directory: Path
    """For what the fault needs."""
    begun: float = 0.0
    broker_away: float = 0.0
    """Seconds from the broker's end to its first answer."""

    def at(self, second: float) -> None:
        """Wait for a second of the load: faults follow a timetable."""
        time.sleep(max(0.0, self.begun + second - time.monotonic()))

    def after(self, seconds: float) -> None:
        """Wait for some seconds of the timetable."""
        time.sleep(seconds)

    @property
    def shop(self) -> Installation:
        """The installation that the workers work for."""
        return self.crew.shop

    @property
    def broker(self) -> Kafka:
        """The one broker."""
        assert self.servers.broker is not None
        return self.servers.broker

    @property
    def cluster(self) -> Cluster:
        """The brokers, where there are several."""
        assert self.servers.cluster is not None
        return self.servers.cluster

    @property
    def redis(self) -> Redis:
        """The Redis."""
        return self.servers.redis

    def bounce(self, broker: Kafka | None = None, after: float = 0.0) -> None:
        """Kill a broker with kill -9 and start it again, at once or after some seconds (it needs some more to answer)."""
        broker = broker or self.broker
        broker.kill()
        away = time.monotonic()
        time.sleep(after)
        broker.start()
        self.broker_away += time.monotonic() - away


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scenario."""

    name: str
    text: str
    workers: tuple[str, ...]
    """Those that are there when the load begins."""
    rate: int
    """Events per second."""
    seconds: int
    """How long the load lasts at least; it goes on until the fault is over."""
    customers: int
    inflict: Callable[[Stage], None]
    mixed: Callable[[Iterator[Message]], Iterator[Message]] = iter
    """What the load is made of the orders."""
    check: Callable[[Stage], list[str]] = lambda stage: []
    """What else must be true at the end: what is not, in words."""
    arrange: Callable[[Stage], AbstractContextManager[object]] = lambda stage: nullcontext()
    """What must be there before the first worker starts, and is taken away at the end. Raises CannotBeRun."""
    cluster: bool = False
    """Whether it needs several brokers."""
    own: bool = False
    """Whether it needs servers that nobody else uses, in the stage's directory."""
    alike: bool = False
    """Whether several models decide, each as the first one does."""


class CannotBeRun(RuntimeError):
    """This machine lacks what the fault needs: which."""


def owns(worker: WorkerProcess, partitions: int) -> None:
    def look() -> bool:
        owned = worker.ready().get("partitions")
        return owned is not None and len(owned) == partitions

    wait_for(look, f"the worker owns {partitions} partitions", PATIENCE)


def _killed_twice(stage: Stage) -> None:
    stage.at(5)
    stage.crew.kill("a")
    worker = stage.crew.join("a").wait_ready(PATIENCE)
    stage.at(15)
    wait_for(lambda: worker.metric("segstream_events_total") > 5000, "it works again", PATIENCE)
    stage.crew.kill("a")
    stage.crew.join("a")


def _join_leave_kill(stage: Stage) -> None:
    stage.at(5)
    second = stage.crew.join("b").wait_ready(PATIENCE)
    stage.at(12)
    owns(second, 2)
    stage.crew.leave("a")
    stage.at(18)
    owns(second, 4)
    owns(stage.crew.join("c").wait_ready(PATIENCE), 2)
    stage.at(26)
    stage.crew.kill("b")


def _broker_killed(stage: Stage) -> None:
    stage.at(6)
    stage.bounce()


def _all_at_once(stage: Stage) -> None:
    stage.at(5)
    second = stage.crew.join("b").wait_ready(PATIENCE)
    owns(second, 2)
    stage.at(11)
    stage.crew.kill("a")
    stage.after(4)
    stage.crew.join("a")
    owns(second, 0)  # it has let go of its partitions: the group rebalances
    stage.bounce()


FAULTS: Final = (
    Fault(
        name="killed-twice",
        text="kill -9 of the only worker at 5 s, and from 15 s on as soon as it works again; each time started again at once",
        workers=("a",),
        rate=3000,
        seconds=22,
        customers=10_000,
        inflict=_killed_twice,
    ),
    Fault(
        name="join-leave-kill",
        text="a second worker joins at 5 s, the first leaves at 12 s, a third joins at 18 s, kill -9 of the second at 26 s",
        workers=("a",),
        rate=2000,
        seconds=32,
        customers=10_000,
        inflict=_join_leave_kill,
    ),
    Fault(
        name="broker-killed",
        text="kill -9 of the broker at 6 s under two workers, started again at once",
        workers=("a", "b"),
        rate=2000,
        seconds=20,
        customers=10_000,
        inflict=_broker_killed,
    ),
    Fault(
        name="all-at-once",
        text="a second worker joins at 5 s; kill -9 of the first at 11 s, it returns 4 s later; kill -9 of the broker in the "
        "rebalance that follows, started again at once",
        workers=("a",),
        rate=3000,
        seconds=30,
        customers=10_000,
        inflict=_all_at_once,
    ),
)


def run_load(
    stage: Stage, messages: Iterable[Message], produce: Callable[[Iterable[Message]], None], fault: Fault
) -> None:
    """Inflict the fault while the load runs, and wait for the load's end."""
    failure: list[BaseException] = []
    over = threading.Event()
    least = fault.rate * fault.seconds

    def load() -> Iterator[Message]:
        for number, message in enumerate(messages):
            if number >= least and over.is_set():
                return
            yield message

    def run() -> None:
        try:
            produce(load())
        except BaseException as error:  # told by the thread that waits
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    stage.begun = time.monotonic()
    thread.start()
    try:
        fault.inflict(stage)
    finally:
        over.set()
        wait_for(lambda: not thread.is_alive(), "the load has ended", 2 * PATIENCE)
    if failure:
        raise failure[0]
