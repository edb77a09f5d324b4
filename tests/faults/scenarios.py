"""The faults: what is done to workers and broker, and when, under which load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sandbox.kafka import Kafka
from tests.faults.crew import Crew
from tests.waiting import wait_for


@dataclass(slots=True)
class Stage:
    """Where a fault is inflicted: the workers, the broker, and the time since the load began."""

    crew: Crew
    broker: Kafka
    begun: float = 0.0
    broker_away: float = 0.0
    """Seconds from the broker's end to its first answer."""

    def at(self, second: float) -> None:
        """Wait for a second of the load: the faults follow a timetable, whatever the workers are doing then."""
        time.sleep(max(0.0, self.begun + second - time.monotonic()))

    def bounce(self) -> None:
        """Kill the broker with kill -9 and start it again at once (it needs some seconds to answer)."""
        self.broker.kill()
        away = time.monotonic()
        self.broker.start()
        self.broker_away = time.monotonic() - away


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
    """How long the load lasts."""
    customers: int
    inflict: Callable[[Stage], None]


def _killed_twice(stage: Stage) -> None:
    for second in (5, 15):
        stage.at(second)
        stage.crew.kill("a")
        stage.crew.join("a")


def _join_leave_kill(stage: Stage) -> None:
    stage.at(5)
    stage.crew.join("b").wait_ready()
    stage.at(12)
    stage.crew.leave("a")
    stage.at(18)
    stage.crew.join("c").wait_ready()
    stage.at(26)
    stage.crew.kill("b")


def _broker_killed(stage: Stage) -> None:
    stage.at(6)
    stage.bounce()


def _all_at_once(stage: Stage) -> None:
    stage.at(5)
    stage.crew.join("b")
    stage.at(11)
    stage.crew.kill("a")
    stage.at(15)
    stage.crew.join("a")
    stage.at(20)
    stage.bounce()


FAULTS: Final = (
    Fault(
        name="killed-twice",
        text="kill -9 of the only worker at 5 s and 15 s, each time started again at once",
        workers=("a",),
        rate=5000,
        seconds=25,
        customers=20_000,
        inflict=_killed_twice,
    ),
    Fault(
        name="join-leave-kill",
        text="a second worker joins at 5 s, the first leaves at 12 s, a third joins at 18 s, kill -9 of the second at 26 s",
        workers=("a",),
        rate=2500,
        seconds=36,
        customers=20_000,
        inflict=_join_leave_kill,
    ),
    Fault(
        name="broker-killed",
        text="kill -9 of the broker at 6 s under two workers, started again at once",
        workers=("a", "b"),
        rate=3000,
        seconds=25,
        customers=20_000,
        inflict=_broker_killed,
    ),
    Fault(
        name="all-at-once",
        text="a second worker joins at 5 s, kill -9 of the first at 11 s, it returns at 15 s, kill -9 of the broker in that "
        "rebalance at 20 s, started again at once",
        workers=("a",),
        rate=5000,
        seconds=36,
        customers=20_000,
        inflict=_all_at_once,
    ),
)


def run_load(stage: Stage, produce: Callable[[], None], inflict: Callable[[Stage], None]) -> None:
    """Inflict the fault while the load runs, and wait for the load's end."""
    failure: list[BaseException] = []

    def load() -> None:
        try:
            produce()
        except BaseException as error:  # told by the thread that waits
            failure.append(error)

    thread = threading.Thread(target=load, daemon=True)
    stage.begun = time.monotonic()
    thread.start()
    inflict(stage)
    wait_for(lambda: not thread.is_alive(), "the load has ended", 300)
    if failure:
        raise failure[0]
