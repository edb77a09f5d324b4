"""`--only api`: how soon a service has its answer while the stream runs: a customer, her neighbours, a change at a listener, an event in Redis.

All at once on one machine: Kafka, Redis, a worker that takes events at a steady rate, the API with listeners on open connections, and
the load from processes of its own. The customers have a history before anything is measured: of those who order for the first time
nearly each event would change a segment.
"""

from __future__ import annotations

import bisect
import subprocess
import sys
import threading
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import redis

from bench import job
from bench.calibration import calibrated
from bench.generator import Log, Message, Shop, user_id
from bench.installation import Installation, installed
from bench.lineup import ENGINES, Run
from bench.load import producer, send
from bench.processes import Failed, Process, status, wait_for
from bench.report import Verdict, quantile
from bench.worker import Worker
from sandbox.process import free_port
from schemas.membership import touched_key

USER_P50_MS: Final = 2.0
USER_P99_MS: Final = 10.0
SIMILAR_P99_MS: Final = 25.0
STREAM_P99_MS: Final = 150.0
REDIS_P99_MS: Final = 50.0
LISTENERS: Final = 200
SPARE: Final = 30.0
"""Seconds that the events go on beyond what the questions should take: a slow machine asks for longer."""
SETTLING: Final = 30.0
"""Seconds of events before anything is asked: a broker started a minute ago compiles what is now asked of it, for which it takes half a core."""
WARM: Final = 3.0
"""Seconds at the start of each stretch that are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    customers: int = 80_000
    history: int = 8
    """Events per customer before anything is measured."""
    events: float = 300.0
    """Per second, at the worker."""
    requests: float = 500.0
    """For a customer, per second."""
    searches: float = 20.0
    """For neighbours, per second."""
    seconds: float = 30.0
    """Of each of the two."""
    listeners: int = LISTENERS


@dataclass(slots=True, kw_only=True)
class _Found:
    """What was measured so far: milliseconds of each kind, and why something is missing."""

    users: Sequence[float] = ()
    near: Sequence[float] = ()
    heard: Sequence[float] = ()
    shown: Sequence[float] = ()
    held: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The part's result: every promise with its verdict, also where something could not be measured."""
    found = _Found()
    try:
        _measure(plan, directory, say, found)
    except Failed as failure:
        found.failures.append(str(failure))
    return _result(plan, found)


def _measure(plan: Plan, directory: Path, say: Callable[[str], None], found: _Found) -> None:
    artifact, _ = calibrated(float(plan.history))
    stretch = plan.seconds + WARM
    count = int(plan.events * (SETTLING + 2 * stretch + SPARE))
    stream = Shop(plan.customers, rounds=1).messages(plan.customers * plan.history + count)
    recent: deque[Message] = deque(maxlen=1_000)
    with installed(directory, artifact) as made, _worker(made) as worker:
        say(f"{plan.customers:,} customers with {plan.history} events each")
        log = Log(made.partitions)
        past = islice(stream, plan.customers * plan.history)
        send(producer(made.kafka, 20), job.ORDERS, log, _noted(past, recent))
        _settled(made, worker, log, 180 + sum(log.ends) / 1000)
        live = list(stream)
        with _api(made, directory) as (api, port):
            begun = time.monotonic()
            address = f"http://127.0.0.1:{port}/v1/users/{user_id(1)}/similar"
            wait_for(lambda: status(address) == 200, "everyone is read", 900, api.alive, 0.2)
            found.figures["read_in_s"] = time.monotonic() - begun
            with _listeners(plan, port, directory) as listeners, _Touched(made) as touched:
                say(f"{plan.listeners} listeners; {plan.events:g} events/s begin")
                load = _load(plan, made, directory, len(live))
                wait_for(lambda: bool(touched.times), "the first live event is in Redis", 120, load.alive, 0.05)
                time.sleep(SETTLING)
                processes = {"api": api, "worker": worker.process, "listeners": listeners}
                from_wall, from_clock = time.time(), time.monotonic()
                before = {name: process.cpu() for name, process in processes.items()}
                _ask(plan, port, directory, say, found)
                took = time.monotonic() - from_clock
                for name, process in processes.items():
                    found.figures[f"{name}_cpu_share"] = (process.cpu() - before[name]) / took
                until = time.time()
                if load.popen.poll() is not None:
                    found.failures.append("the events ended before the questions did: nothing was beside the last ones")
                load.popen.wait(120)
                time.sleep(1.0)
                found.figures["api_peak_mib"] = api.peak()
            told = array("d", (directory / "told").read_bytes())
            pairs = list(zip(told[::2], told[1::2], strict=True))
            found.heard = [late for decided, late in pairs if decided >= from_wall]
            found.figures["changes_per_s"] = len({d for d, _ in pairs if from_wall <= d < until}) / (until - from_wall)
            found.held = int((directory / "told.held").read_text())
            handed = array("d", (directory / "handed").read_bytes())
            found.shown = touched.late(recent, live, handed, from_clock)
            worker.process.alive()


def _ask(plan: Plan, port: int, directory: Path, say: Callable[[str], None], found: _Found) -> None:
    stretch = plan.seconds + WARM
    who = np.random.default_rng(1).integers(0, plan.customers, 2 * int(stretch * plan.requests)).tolist()

    def ask(what: str, path: str, rate: float) -> Sequence[float]:
        say(f"{what}, {rate:g} times a second")
        try:
            return _asked(directory, port, [path.format(user_id(i)) for i in who[: int(stretch * rate)]], rate)
        except Failed as failure:
            found.failures.append(f"{what}: {failure}")
            return ()

    found.users = ask("a customer", "/v1/users/{}", plan.requests)
    found.near = ask("neighbours", "/v1/users/{}/similar?k=5", plan.searches)


def _noted(messages: Iterable[Message], recent: deque[Message]) -> Iterator[Message]:
    for message in messages:
        recent.append(message)
        yield message


def _result(plan: Plan, found: _Found) -> dict[str, Any]:
    names = {
        f"GET user, {plan.requests:g} requests/s": found.users,
        f"similar, top 5 of {plan.customers:,}, {plan.searches:g} requests/s": found.near,
        f"change decided to each of {plan.listeners} listeners": found.heard,
        "event handed to Kafka to readable in Redis": found.shown,
    }
    table = {
        name: {"n": len(ms), "p50_ms": quantile(ms, 0.5), "p99_ms": quantile(ms, 0.99), "max_ms": max(ms)}
        for name, ms in names.items()
        if ms
    }
    verdicts = [
        Verdict.of_quantile("GET user p50 ms", found.users, 0.5, USER_P50_MS),
        Verdict.of_quantile("GET user p99 ms", found.users, 0.99, USER_P99_MS),
        Verdict.of_quantile("similar top 5 p99 ms", found.near, 0.99, SIMILAR_P99_MS),
        Verdict.of_quantile("change to listener p99 ms", found.heard, 0.99, STREAM_P99_MS),
        Verdict.of_quantile("event to Redis p99 ms", found.shown, 0.99, REDIS_P99_MS),
        Verdict.at_least("listeners held", found.held, plan.listeners),
    ]
    return {
        "part": "api",
        "customers": plan.customers,
        "history": plan.history,
        "events_per_s": plan.events,
        "listeners": plan.listeners,
        "figures": found.figures,
        "table": table,
        "failures": found.failures,
        "verdicts": [v.document() for v in verdicts],
    }


@contextmanager
def _worker(made: Installation) -> Iterator[Worker]:
    """A worker that owns every partition of empty topics."""
    name = f"bench-api-{time.time_ns() // 1_000_000}"
    run = Run(engine=ENGINES["segstream"], installation=made, name=name, source=job.ORDERS)
    made.fresh(job.ORDERS)
    process = Process.start([sys.executable, "-m", "segstream", "worker"], run.environment(), run.directory)
    worker = Worker(process, run.directory)
    try:
        wait_for(worker.is_ready, "the worker is ready", 120, process.alive, 0.1)
        yield worker
    finally:
        process.stop()


def _settled(made: Installation, worker: Worker, log: Log, patience: float) -> None:
    """Wait until everything is committed and Redis shows it."""
    ends = tuple(log.ends)
    group = ENGINES["segstream"].group
    with made.committed(group, job.ORDERS) as committed:
        wait_for(lambda: committed() == ends, "everything is committed", patience, worker.process.alive, 0.05)
    shown = lambda: worker.ready().get("projection_pending") == 0  # noqa: E731
    wait_for(shown, "Redis is up to date", patience, worker.process.alive, 0.2)


@contextmanager
def _api(made: Installation, directory: Path) -> Iterator[tuple[Process, int]]:
    port = free_port()
    more = {
        "SEGSTREAM_HOME": str(directory / "api-home"),
        "SEGSTREAM_API_PORT": str(port),
        "SEGSTREAM_API_RATE": "0",
        "SEGSTREAM_LOG_LEVEL": "warning",
    }
    api = Process.start([sys.executable, "-m", "segstream", "serve"], made.environment | more, directory, "api")
    try:
        yield api, port
    finally:
        api.stop()


@contextmanager
def _listeners(plan: Plan, port: int, directory: Path) -> Iterator[Process]:
    command = [sys.executable, "-m", "bench.listeners", str(port), str(plan.listeners), str(directory / "told")]
    process = Process.start(command, {}, directory, "listeners")
    try:
        wait_for((directory / "told.open").exists, "all listeners are connected", 60, process.alive, 0.05)
        yield process
    finally:
        process.stop()


def _load(plan: Plan, made: Installation, directory: Path, count: int) -> Process:
    arguments = [
        job.ORDERS,
        plan.customers,
        1,
        plan.customers * plan.history,
        count,
        plan.events,
        made.partitions,
        directory / "handed",
    ]
    command = [sys.executable, "-m", "bench.load", *map(str, arguments)]
    return Process.start(command, {"SEGSTREAM_KAFKA": made.kafka}, directory, "load")


def _asked(directory: Path, port: int, paths: Sequence[str], rate: float) -> list[float]:
    """Milliseconds of each request but the first ones."""
    asked, took = directory / "paths", directory / "took"
    asked.write_text("\n".join(paths))
    command = [
        sys.executable,
        "-m",
        "bench.asking",
        str(port),
        str(asked),
        f"{rate:g}",
        str(int(WARM * rate)),
        str(took),
    ]
    process = Process.start(command, {}, directory, "asking")
    try:
        code = process.popen.wait(60 + 3 * len(paths) / rate)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"{len(paths):,} questions were not answered in three times the time they should take") from None
    if code:
        raise Failed(process.tail().strip().splitlines()[-1])
    return array("d", took.read_bytes()).tolist()


class _Touched:
    """Notes when Redis shows each customer anew, from the stream in which the projection tells whom it has written."""

    def __init__(self, made: Installation) -> None:
        self._client = redis.Redis.from_url(made.redis)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times: dict[str, list[float]] = defaultdict(list)

    def __enter__(self) -> _Touched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        stream, at = touched_key("segstream:"), b"$"
        while not self._stop.is_set():
            answer: Any = self._client.xread({stream: at}, block=500)
            now = time.monotonic()
            for _, entries in answer or ():
                at = entries[-1][0]
                for _, fields in entries:
                    for found in msgspec.msgpack.decode(fields[b"ids"]):
                        self.times[found if isinstance(found, str) else found.decode()].append(now)

    def late(
        self, known: Iterable[Message], live: Sequence[Message], handed: Sequence[float], since: float
    ) -> list[float]:
        """Milliseconds from handing each event over until its customer was written; messages sent twice change nothing and are left out."""
        before = {message.value for message in known}
        late = []
        for message, at in zip(live, handed, strict=True):
            if message.value in before:
                continue
            before.add(message.value)
            times = self.times[message.key.decode()]
            place = bisect.bisect_left(times, at)
            if place == len(times):
                raise Failed(f"an event of {message.key.decode()} never showed in Redis")
            if at >= since:
                late.append((times[place] - at) * 1000)
        return late
