"""`--only api`: how soon a service has its answer while the stream runs: a customer, her neighbours, a change at a listener, an event in Redis.

All at once on one machine: Kafka, Redis, a worker that takes events at a steady rate, the API with listeners on open connections, and
the load from processes of its own.
"""

from __future__ import annotations

import bisect
import contextlib
import sys
import threading
import time
import urllib.request
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import redis

from bench import job
from bench.calibration import TYPICAL, calibrated
from bench.generator import Log, Message, Shop, user_id
from bench.installation import Installation, installed
from bench.lineup import ENGINES, Run
from bench.load import producer, send
from bench.processes import Failed, Process, wait_for
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
SPARE: Final = 45.0
"""Seconds that the events go on beyond what the questions should take: a slow machine asks for longer."""
WARM: Final = 3.0
"""Seconds at the start of each stretch that are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    customers: int = 80_000
    events: float = 300.0
    """Per second, at the worker."""
    requests: float = 500.0
    """For a customer, per second."""
    searches: float = 20.0
    """For neighbours, per second."""
    seconds: float = 30.0
    """Of each of the two."""
    listeners: int = LISTENERS


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The part's result."""
    artifact, _ = calibrated(TYPICAL)
    stretch = plan.seconds + WARM
    messages = list(Shop(plan.customers, rounds=1).messages(plan.customers + int(plan.events * (2 * stretch + SPARE))))
    known, live = messages[: plan.customers], messages[plan.customers :]
    dice = np.random.default_rng(1)
    with installed(directory, artifact) as made, _worker(made) as worker:
        say(f"{plan.customers:,} customers order once")
        log = Log(made.partitions)
        send(producer(made.kafka, 20), job.ORDERS, log, known)
        _settled(made, worker, log, 180 + plan.customers / 1000)
        with _api(made, directory) as (api, port):
            begun = time.monotonic()
            path = f"/v1/users/{user_id(1)}/similar"
            wait_for(lambda: _status(port, path) == 200, "everyone is read", 900, api.alive, 0.2)
            read_in = time.monotonic() - begun
            with _listeners(plan, port, directory) as listeners, _Touched(made) as touched:
                say(f"{plan.listeners} listeners; {plan.events:g} events/s begin")
                load = _load(plan, made, directory, len(live))
                wait_for(lambda: bool(touched.times), "the first live event is in Redis", 120, load.alive, 0.05)
                time.sleep(WARM)
                from_wall, from_clock, cpu = time.time(), time.monotonic(), api.cpu()
                who = dice.integers(0, plan.customers, 2 * int(stretch * plan.requests)).tolist()
                say(f"a customer, {plan.requests:g} times a second")
                paths = [f"/v1/users/{user_id(i)}" for i in who[: int(stretch * plan.requests)]]
                users = _asked(directory, port, paths, plan.requests)
                busy = (api.cpu() - cpu) / (time.monotonic() - from_clock)
                say(f"neighbours, {plan.searches:g} times a second")
                paths = [f"/v1/users/{user_id(i)}/similar?k=5" for i in who[: int(stretch * plan.searches)]]
                near = _asked(directory, port, paths, plan.searches)
                if load.popen.poll() is not None:
                    raise Failed("the events ended before the questions did: nothing was beside them")
                load.popen.wait(120)
                time.sleep(1.0)
            told = array("d", (directory / "told").read_bytes())
            heard = [late for decided, late in zip(told[::2], told[1::2], strict=True) if decided >= from_wall]
            held = int((directory / "told.held").read_text())
            handed = array("d", (directory / "handed").read_bytes())
            shown = touched.late(known, live, handed, from_clock)
            worker.process.alive()
    assert listeners.popen.returncode == 0
    return _result(plan, read_in, busy, {"users": users, "near": near, "heard": heard, "shown": shown}, held)


def _result(plan: Plan, read_in: float, busy: float, took: dict[str, Sequence[float]], held: int) -> dict[str, Any]:
    names = {
        "users": f"GET user, {plan.requests:g} requests/s",
        "near": f"similar, top 5 of {plan.customers:,}, {plan.searches:g} requests/s",
        "heard": f"change decided to each of {plan.listeners} listeners",
        "shown": "event handed to Kafka to readable in Redis",
    }
    table = {
        names[name]: {"n": len(ms), "p50_ms": quantile(ms, 0.5), "p99_ms": quantile(ms, 0.99), "max_ms": max(ms)}
        for name, ms in took.items()
    }
    verdicts = [
        Verdict.at_most("GET user p50 ms", quantile(took["users"], 0.5), USER_P50_MS),
        Verdict.at_most("GET user p99 ms", quantile(took["users"], 0.99), USER_P99_MS),
        Verdict.at_most("similar top 5 p99 ms", quantile(took["near"], 0.99), SIMILAR_P99_MS),
        Verdict.at_most("change to listener p99 ms", quantile(took["heard"], 0.99), STREAM_P99_MS),
        Verdict.at_most("event to Redis p99 ms", quantile(took["shown"], 0.99), REDIS_P99_MS),
        Verdict.at_least("listeners held", held, plan.listeners),
    ]
    return {
        "part": "api",
        "customers": plan.customers,
        "events_per_s": plan.events,
        "listeners": plan.listeners,
        "read_in_s": read_in,
        "api_cpu_share": busy,
        "table": table,
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
        plan.customers,
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
    process.popen.wait(60 + 3 * len(paths) / rate)
    if process.popen.returncode:
        raise Failed(f"the questions failed:\n{process.tail()}")
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
        self, known: Sequence[Message], live: Sequence[Message], handed: Sequence[float], since: float
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


def _status(port: int, path: str) -> int:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return int(answer.status)
    return 0
