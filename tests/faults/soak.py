"""Run for long at half of the measured capacity while faults come at random; writes build/soak.json and build/soak.md."""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from schemas import topics
from schemas.model import Model
from schemas.times import rfc3339
from segstream import kafka
from segstream.outcome import No
from tests.faults.crew import Crew
from tests.faults.judgement import Judgement, judge, unprojected
from tests.faults.memory import Series, slope
from tests.faults.report import promises, told
from tests.faults.scenarios import PATIENCE, Message, Stage
from tests.faults.stand import Replicated, Servers, Stand, keep_logs
from tests.faults.traffic import POISON
from tests.faults.troubles import SESSION, redis_client
from tests.faults.watcher import Watcher
from tests.installation import Installation, Row, Unplaced, order
from tests.waiting import wait_for

CUSTOMERS: Final = 1000
"""Each soon has more orders than are remembered one by one: what a customer takes grows no more."""
WARM: Final = 250
"""Orders per customer until then."""
DRAINED: Final = 900.0
"""Seconds that the workers may take to catch up at the end."""
CAPACITY: Final = 30.0
"""Seconds of load as fast as can be by which the capacity is measured."""
STEADY: Final = "a"
"""The place whose worker is not killed, so that there is one long series of its memory."""
FLAT: Final = 1.0
"""MiB per minute."""
BEGIN: Final = 1_767_225_600_000_000
"""When the first order was made, microseconds; each is a tenth of a second later than the one before."""


@dataclass
class Long(Replicated):
    """An installation of which too much is produced to keep it: it is read again from Kafka."""

    ends: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Where the acknowledged part of each partition ends."""
    somewhere: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How many more it may hold: Kafka did not tell where."""
    count: int = 0
    """How much that is."""
    found: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How many records the log was seen to hold when it was read last."""

    def acknowledged(self, row: Row | Unplaced) -> None:
        """Note how far Kafka has each partition."""
        self.count += 1
        if row[2] is None:
            self.somewhere[row[:2]] += 1
        else:
            self.ends[row[:2]] = max(self.ends[row[:2]], row[2] + 1)

    def log(self) -> Iterator[Row]:
        """As Kafka has it now."""
        settings = self.settings
        self.found.clear()
        for topic in topics.INPUTS:
            for partition in range(settings.partitions):
                for message in kafka.read(settings, topic.name, only=partition):
                    self.found[topic.name, partition] += 1
                    yield message.topic(), message.partition(), message.offset(), message.key(), message.value()

    def erased(self) -> set[str]:
        """Nobody."""
        return set()

    def missing(self) -> list[str]:
        """What Kafka has acknowledged and did not have, or had twice, when the log was read."""
        return [
            f"{topic}-{partition} holds {self.found[topic, partition]} records, {end} were acknowledged"
            for (topic, partition), end in self.ends.items()
            if not end <= self.found[topic, partition] <= end + self.somewhere[topic, partition]
        ]


def messages(seed: int) -> Iterator[Message]:
    """Orders without end, as time goes by, each hundredth message one that nobody can use. One customer in twenty cancels whatever she orders, so that segments
    change for as long as it lasts."""
    bad = itertools.cycle(POISON)
    chosen = random.Random(seed)
    for number in itertools.count():
        if number % 100 == 99:
            yield topics.ORDERS.name, b"1", next(bad)
        customer, at = chosen.randrange(CUSTOMERS), rfc3339(BEGIN + number * 100_000)
        yield order(customer, number, timestamp=at)
        if customer % 20 == 0:
            yield order(customer, number, timestamp=at, event="Order Cancelled", properties={"order_id": f"o{number}"})


def _kill(stage: Stage, chance: random.Random) -> None:
    stage.crew.kill("b")
    time.sleep(chance.choice((0, 3)))
    stage.crew.join("b")


def _restart(stage: Stage, chance: random.Random) -> None:
    place = chance.choice([STEADY, "b"]) if chance.random() < 0.2 else "b"
    stage.crew.leave(place)
    stage.crew.join(place)


def _sleep(stage: Stage, chance: random.Random) -> None:
    sleeper = stage.crew.suspend("b")
    time.sleep(SESSION * chance.choice((0.5, 2.5)))
    stage.crew.resume(sleeper)


def _visit(stage: Stage, chance: random.Random) -> None:
    stage.crew.join("c").wait_ready(PATIENCE)
    time.sleep(10)
    chance.choice((stage.crew.leave, stage.crew.kill))("c")


def _broker(stage: Stage, chance: random.Random) -> None:
    stage.bounce(after=chance.choice((0, 5)))


def _broker_stopped(stage: Stage, chance: random.Random) -> None:
    assert stage.broker.identity is not None
    pid = stage.broker.identity.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.choice((3, 12)))
    os.kill(pid, signal.SIGCONT)


def _redis(stage: Stage, chance: random.Random) -> None:
    stage.redis.kill()
    if chance.random() < 0.5:
        shutil.rmtree(stage.redis.directory, ignore_errors=True)
    time.sleep(chance.choice((0, 8)))
    stage.redis.start()


def _redis_slow(stage: Stage, chance: random.Random) -> None:
    redis_client(stage).execute_command("CLIENT", "PAUSE", str(chance.choice((2000, 8000))), "ALL")


def _redis_full(stage: Stage, chance: random.Random) -> None:
    client = redis_client(stage)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    time.sleep(chance.choice((3, 10)))
    client.config_set("maxmemory", "0")


QUICK: Final[dict[str, Callable[[Stage, random.Random], None]]] = {
    "worker killed": _kill,
    "worker restarted": _restart,
    "worker asleep": _sleep,
    "a third worker comes and goes": _visit,
    "broker killed": _broker,
    "broker stopped": _broker_stopped,
    "redis killed": _redis,
    "redis slow": _redis_slow,
    "redis full": _redis_full,
}


class Load(threading.Thread):
    """Produces until told to end."""

    def __init__(self, shop: Installation, source: Iterable[Message], rate: float) -> None:
        super().__init__(daemon=True)
        self._shop, self._source, self._rate = shop, source, rate
        self._over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """What the thread does."""
        try:
            self._shop.produce(itertools.takewhile(lambda _: not self._over.is_set(), self._source), self._rate)
        except BaseException as error:  # told by the thread that waits
            self.failure = error

    def end(self) -> None:
        """Send no more, and wait until all is acknowledged."""
        self._over.set()
        wait_for(lambda: not self.is_alive(), "the load has ended", 2 * PATIENCE)
        if self.failure is not None:
            raise self.failure


class Scales(threading.Thread):
    """Weighs the workers every five seconds."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(daemon=True)
        self._crew = crew
        self._over = threading.Event()
        self.series: dict[str, list[Series]] = {}

    def run(self) -> None:
        """What the thread does."""
        while not self._over.wait(5.0):
            for place, worker in self._crew.present.items():
                of = self.series.setdefault(place, [])
                pid = worker.process.pid
                if not of or of[-1].pid != pid:
                    of.append(Series(pid))
                try:
                    of[-1].samples.append((time.monotonic(), psutil.Process(pid).memory_info().rss / 2**20))
                except psutil.NoSuchProcess:
                    continue

    def end(self) -> None:
        """Weigh no more."""
        self._over.set()
        self.join()


def capacity(shop: Long, source: Iterator[Message]) -> float:
    """Events per second through everything that runs on this machine, from the first one sent to the last one committed."""
    begun, before = time.monotonic(), shop.count
    load = Load(shop, source, 0.0)
    load.start()
    time.sleep(CAPACITY)
    load.end()
    shop.caught_up(DRAINED)
    return (shop.count - before) / (time.monotonic() - begun)


def hurt(stage: Stage, seconds: float, chance: random.Random, load: Load) -> list[tuple[float, str]]:
    """Inflict faults for so long, one every 60 to 90 seconds: when (seconds), and which."""
    begun = time.monotonic()
    done: list[tuple[float, str]] = []
    # Each kind comes before any comes again.
    kinds = itertools.chain.from_iterable(chance.sample(sorted(QUICK), len(QUICK)) for _ in itertools.count())
    while True:
        rest = begun + seconds - time.monotonic()
        wait = chance.uniform(60, 90)
        if rest < wait + 30:
            time.sleep(max(0.0, rest))
            return done
        time.sleep(wait)
        if load.failure is not None:
            raise load.failure
        kind = next(kinds)
        done.append((round(time.monotonic() - begun, 1), kind))
        print(f"{done[-1]}, ended by themselves: {stage.crew.restarts}", flush=True)
        QUICK[kind](stage, chance)


def soak(shop: Long, servers: Servers, directory: Path, minutes: float, seed: int) -> dict[str, Any]:
    """The whole run; what was found."""
    model = shop.prepare()
    crew = Crew(shop)
    stage = Stage(crew, servers, directory)
    watcher = Watcher(shop.settings).start()
    scales = Scales(crew)
    source = messages(seed)
    problems: list[str] = []
    try:
        for worker in [crew.join(place) for place in (STEADY, "b")]:
            worker.wait_ready(PATIENCE)
        scales.start()
        most = capacity(shop, source)
        rate = most / 2
        print(f"capacity {most:.0f} events/s, load {rate:.0f} events/s", flush=True)
        load = Load(shop, source, rate)
        begun = time.monotonic()
        load.start()
        faults = hurt(stage, minutes * 60, random.Random(seed), load)
        load.end()
        lasted = time.monotonic() - begun
        sent = time.monotonic()
        try:
            shop.caught_up(DRAINED)
        except No as error:
            problems.append(str(error))
        drained = time.monotonic() - sent
        scales.end()
        judged = _judged(shop, model)
        problems += crew.dismiss()
    finally:
        crew.dismiss()
        watcher.end()
    warm = begun + max(0.0, CUSTOMERS * WARM - most * CAPACITY) / rate
    flat = {place: slope(one.settled(warm) for one in series) for place, series in scales.series.items()}
    return {
        "minutes": round(lasted / 60, 1),
        "seed": seed,
        "capacity_events_per_s": round(most),
        "load_events_per_s": round(rate),
        "events": shop.count,
        "changes": watcher.changes,
        "faults": faults,
        "longest_pause_s": round(watcher.pause, 1),
        "drained_s": round(drained, 1),
        "lost": judged.lost,
        "wrong": judged.wrong,
        "duplicates": judged.duplicates,
        "differences": judged.differences,
        "problems": problems,
        "restarts": crew.restarts,
        "slope_mib_per_min": {place: round(value, 3) for place, value in flat.items() if value is not None},
        "memory_mib": {
            place: [[round(at - begun), round(mib, 1)] for one in series for at, mib in one.samples[::6]]
            for place, series in scales.series.items()
        },
    }


def _judged(shop: Long, model: Model) -> Judgement:
    state = shop.state()
    judged = judge(shop, state, model)
    for difference in [*shop.missing(), *unprojected(shop, state, 120.0)]:
        judged.differs(difference)
    return judged


def verdicts(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What is promised, and whether it holds."""
    rows: list[dict[str, Any]] = [
        {"name": "events lost", "value": found["lost"], "bound": 0},
        {"name": "customers, changes and rows of Redis that are wrong or out of order", "value": found["wrong"], "bound": 0},
        {"name": "events not handled when drained, workers that do not end well", "value": len(found["problems"]), "bound": 0},
    ]  # fmt: skip
    rows += [
        {"name": f"memory of the worker at {place}, MiB per minute", "value": value, "bound": FLAT}
        for place, value in found["slope_mib_per_min"].items()
    ]
    return [{**row, "holds": row["value"] <= row["bound"]} for row in rows]


def text(made: dict[str, Any]) -> str:
    """The result in Markdown."""
    kinds = Counter(kind for _, kind in made["faults"])
    lines = [
        f"{made['minutes']} minutes at {made['load_events_per_s']:,} events/s, half of the {made['capacity_events_per_s']:,} measured just before; "
        f"{made['events']:,} events of {CUSTOMERS:,} customers, one message in a hundred of no use, {made['changes']:,} changes; {len(made['faults'])} faults "
        f"({', '.join(f'{count} x {kind}' for kind, count in sorted(kinds.items()))}; seed {made['seed']}); longest pause of changes "
        f"{made['longest_pause_s']} s; drained {made['drained_s']} s after the last event; {made['duplicates']} changes came twice; workers that ended by "
        f"themselves and were started again: {made['restarts'] or 'none'}.",
        "",
        *promises(made["verdicts"]),
    ]
    return "\n".join(lines)


def main() -> int:
    """The soak; 1 when a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=1, help="of the orders and faults")
    parser.add_argument("--out", type=Path, default=Path("build"), help="where the results go")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as rest:
        stand = Stand()
        rest.callback(stand.close)
        servers = stand.servers(cluster=False)
        shop = rest.enter_context(stand.installation(servers, Long))
        rest.callback(lambda: keep_logs(shop, asked.out / "soak"))
        directory = Path(tempfile.mkdtemp(dir=stand.root))
        found = soak(shop, servers, directory, asked.minutes, asked.seed)
    return told("soak", {"verdicts": verdicts(found)} | found, text, asked.out)


if __name__ == "__main__":
    sys.exit(main())
