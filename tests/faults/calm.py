"""Hours in which nothing is wrong: silence, a trickle, slow work, and workers that come and go. Nobody may be restarted; writes build/calm.json and .md."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.settings import Settings
from segstream.outcome import No
from tests.faults.crew import Crew
from tests.faults.judgement import judge, unprojected
from tests.faults.report import promises, told
from tests.faults.scenarios import PATIENCE, Message
from tests.faults.stand import Replicated, Servers, Stand, keep_logs
from tests.installation import WorkerProcess, order

PHASE: Final = 150.0
"""Seconds of each phase: beyond twice the time after which standing still counts as a stall."""
STARTED: Final = 900.0
"""Seconds that a joining worker may take to be ready: the machine may be as slow as it likes, only restarts count."""
CUSTOMERS: Final = 500
SLOW: Final = """
import time
from stream_app import work
fold = work.fold
def slowly(*args, **more):
    time.sleep(0.5)
    return fold(*args, **more)
work.fold = slowly
"""
"""The worker at one place takes half a second longer for each chunk than it needs."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A kind of calm traffic: events per second, 0 for none; whether a worker comes and goes."""

    name: str
    rate: float
    moving: bool = False


PHASES: Final = (
    Phase("idle", 0.0),
    Phase("trickle", 0.2),
    Phase("slow", 40.0),
    Phase("rebalancing", 20.0, moving=True),
)


class Calm:
    """The traffic of one phase after the other, and what happened."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._until = time.monotonic() + seconds
        self._chance = random.Random(seed)
        self.phase = PHASES[0]
        self.counts = dict.fromkeys((phase.name for phase in PHASES), 0)
        self.moves = 0
        self.unready: list[str] = []
        """When a worker said that it was not ready, and why; not while it started or while the group moved."""

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._until

    def end(self) -> None:
        """Go on no longer."""
        self._until = time.monotonic()

    def messages(self) -> Iterator[Message]:
        """The orders, paced."""
        numbers = itertools.count()
        for phase in itertools.cycle(PHASES):
            self.phase = phase
            end = min(self._until, time.monotonic() + PHASE)
            while (now := time.monotonic()) < end:
                if phase.rate:
                    self.counts[phase.name] += 1
                    yield order(self._chance.randrange(CUSTOMERS), next(numbers))
                time.sleep(max(0.0, min(end - now, 1 / phase.rate if phase.rate else 1.0)))
            if self.is_over:
                return

    def watch(self, crew: Crew) -> None:
        """Let a worker come and go where the phase says so, and look at the others, until the time is up."""
        while not self.is_over:
            if self.phase.moving:
                crew.join("c").wait_ready(STARTED)
                self._pause(15)
                crew.leave("c")
                self.moves += 2
                self._pause(10)
            else:
                for place, worker in crew.present.items():
                    self._look(place, worker)
                self._pause(1)

    def _look(self, place: str, worker: WorkerProcess) -> None:
        said = worker.ready()
        if said and not said.get("ready") and not self.phase.moving:
            self.unready.append(f"{self.phase.name}: the worker at {place}: {said.get('reasons')}")

    def _pause(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._until - time.monotonic())))


def calm(shop: Replicated, minutes: float, seed: int) -> dict[str, Any]:
    """The whole run; what was found."""
    model = shop.prepare()
    crew = Crew(shop)
    crew.programs["b"] = SLOW
    as_shipped = {"SEGSTREAM_SESSION_TIMEOUT": str(Settings.model_fields["session_timeout"].default)}
    crew.environments = dict.fromkeys(("a", "b", "c"), as_shipped)
    problems: list[str] = []
    try:
        for worker in [crew.join(place) for place in ("a", "b")]:
            worker.wait_ready(STARTED)
        begun = time.monotonic()
        quiet = Calm(minutes * 60, seed)
        failure: list[BaseException] = []
        load = threading.Thread(target=_told, args=(lambda: shop.produce(quiet.messages()), failure), daemon=True)
        load.start()
        try:
            quiet.watch(crew)
        except (AssertionError, pytest.fail.Exception) as error:
            problems.append(str(error))
            quiet.end()
        load.join(2 * PATIENCE)
        problems += [repr(error) for error in failure]
        try:
            shop.caught_up(PATIENCE)
        except No as error:
            problems.append(str(error))
        state = shop.state()
        judged = judge(shop, state, model)
        for difference in unprojected(shop, state, 60.0):
            judged.differs(difference)
        lasted = time.monotonic() - begun
        problems += crew.dismiss()
    finally:
        crew.dismiss()
    stalls = sum(worker.log.read_text().count("the worker does not get on") for worker in shop.workers)
    return {
        "minutes": round(lasted / 60, 1),
        "seed": seed,
        "events": quiet.counts,
        "joins_and_leaves": quiet.moves,
        "restarts": crew.restarts,
        "stalls_reported": stalls,
        "not_ready": quiet.unready,
        "lost": judged.lost,
        "wrong": judged.wrong,
        "duplicates": judged.duplicates,
        "differences": judged.differences,
        "problems": problems,
    }


def _told(what: Callable[[], None], failure: list[BaseException]) -> None:
    try:
        what()
    except BaseException as error:  # told by the thread that waits
        failure.append(error)


def verdicts(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What is promised, and whether it holds."""
    values = {
        "workers that ended by themselves": len(found["restarts"]),
        "stalls reported": found["stalls_reported"],
        "events lost": found["lost"],
        "customers, changes and rows of Redis that are wrong": found["wrong"],
        "events not handled, workers that do not end well": len(found["problems"]),
    }
    return [{"name": name, "value": value, "bound": 0, "holds": value <= 0} for name, value in values.items()]


def text(made: dict[str, Any]) -> str:
    """The result in Markdown."""
    events = ", ".join(f"{count:,} {name}" for name, count in made["events"].items())
    lines = [
        f"{made['minutes']} minutes in phases of {PHASE:.0f} s; events: {events}; {made['joins_and_leaves']} joins and leaves; "
        f"looks that found a worker not ready: {len(made['not_ready'])}; seed {made['seed']}.",
        "",
        *promises(made["verdicts"]),
    ]
    return "\n".join(lines)


def main() -> int:
    """The calm hours; 1 when a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.calm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="how long it lasts")
    parser.add_argument("--seed", type=int, default=1, help="of the orders")
    parser.add_argument("--out", type=Path, default=Path("build"), help="where the results go")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as rest:
        stand = Stand()
        rest.callback(stand.close)
        servers: Servers = stand.servers(cluster=False)
        shop = rest.enter_context(stand.installation(servers, Replicated))
        rest.callback(lambda: keep_logs(shop, asked.out / "calm"))
        found = calm(shop, asked.minutes, asked.seed)
    return told("calm", {"verdicts": verdicts(found)} | found, text, asked.out)


if __name__ == "__main__":
    sys.exit(main())
