"""`--only latency`: events at a steady rate, from the producer's hand to a change that can be read; then a crash and the way back."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException

from bench import job
from bench.calibration import TYPICAL, calibrated
from bench.catchup import verdict
from bench.generator import Log, Message, Shop, new_customer
from bench.installation import Installation, installed
from bench.lineup import ENGINES, Run, available
from bench.load import producer, send
from bench.oracle import Judgement, Oracle
from bench.probe import Probe
from bench.processes import Failed, Process, wait_for
from bench.report import Verdict, quantile, spread

WARM_SECONDS: Final = 1.0
"""At the start of each paced stretch, not counted: connections are made."""
WARM_RUN: Final = 10.0
"""Seconds of a run before all others, not counted: the broker is a JVM, and whoever came first would pay for its warming up."""
HALF_SECONDS: Final = 5.0
RECOVERY: Final = 120.0
"""Seconds that a crashed engine gets until its next change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured. `capacity`: events/s of each engine when catching up; engines without one are not run at half of it."""

    rate: float = 300.0
    seconds: float = 20.0
    events: int = 20_000
    """Events that are there before."""
    customers: int = 5_000
    repetitions: int = 3
    engines: tuple[str, ...] = tuple(ENGINES)
    capacity: dict[str, float]


@dataclass(slots=True)
class Measured:
    """One run of one engine."""

    engine: str
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_share: float = 0.0
    """Share of one core while the events come at the steady rate."""
    half_rate: float | None = None
    half_p50_ms: float | None = None
    half_p99_ms: float | None = None
    kill_to_change: float | None = None
    judgement: Judgement | None = None


class Stretch:
    """One engine at work, events added stretch by stretch, the oracle beside it."""

    def __init__(self, engine: Run, command: Sequence[str], plan: Plan) -> None:
        self.engine = engine
        self.made: Installation = engine.installation
        self.command = command
        self.plan = plan
        self.shop = Shop(plan.customers)
        self.oracle = Oracle(self.made.model, self.made.partitions)
        self.messages = self.shop.messages(10**9)
        self.log = Log(self.made.partitions)
        self.handed: dict[str, float] = {}
        """Cause of a change -> when its event was handed to the producer."""

    def preload(self) -> None:
        """The events that are there before."""
        block = list(islice(self.messages, self.plan.events))
        send(producer(self.made.kafka, 20), job.ORDERS, self.log, block)
        for message in block:
            self.oracle.append(message)

    def start(self) -> None:
        """Start the engine."""
        self.process = Process.start(self.command, self.engine.environment(), self.engine.directory)

    def paced(self, probe: Probe, rate: float, seconds: float) -> tuple[list[float], float]:
        """Let a process of its own send at a rate; milliseconds from hand to readable change, and the engine's share of a core."""
        count = int(rate * (seconds + WARM_SECONDS))
        first = self.oracle.events
        file = self.engine.directory / f"handed-{first}"
        plan, made = self.plan, self.made
        arguments = [job.ORDERS, plan.customers, 0, first, count, rate, made.partitions, file]
        causes = []
        for message in islice(self.messages, count):  # before the load: the probe must not wait for the oracle
            partition, offset = self.oracle.append(message)
            self.log.append(message.key)
            causes.append(f"{job.ORDERS}:{partition}:{offset}")
        cpu = self.process.cpu()
        load = Process.start(
            [sys.executable, "-m", "bench.load", *map(str, arguments)], made.environment, self.engine.directory, "load"
        )
        try:
            wait_for(
                lambda: load.popen.poll() is not None, "the load is sent", 120 + 4 * seconds, self.process.alive, 0.05
            )
        finally:
            load.kill()
        if load.popen.returncode:
            raise Failed(f"the load could not be sent:\n{load.tail()}")
        share = (self.process.cpu() - cpu) * rate / count
        self.caught_up(probe, 60 + 10 * seconds)
        handed = array("d")
        handed.frombytes(file.read_bytes())
        counted = {
            cause: at for i, (cause, at) in enumerate(zip(causes, handed, strict=True)) if i >= rate * WARM_SECONDS
        }
        found = []
        for identity, seen in probe.seen.items():
            at = counted.get(identity.split(":", 1)[1].rpartition(":")[0])
            if at is not None:
                found.append((seen - at) * 1000)
        return found, share

    def caught_up(self, probe: Probe, deadline: float) -> None:
        """Wait until every change expected so far has been read."""
        wait_for(lambda: len(probe.seen) >= len(self.oracle.changes), "every change", deadline, self.process.alive)

    def crash(self, probe: Probe, client: Any) -> float:
        """Kill -9, start again, and an event of a new customer; seconds from the kill to her change."""
        begun = time.monotonic()
        self.process.kill()
        self.start()
        message: Message = new_customer(self.oracle.events)
        send(client, job.ORDERS, self.log, [message])
        self.oracle.append(message)
        wanted = next(reversed(self.oracle.changes))
        wait_for(lambda: wanted in probe.seen, "the next change after a crash", RECOVERY, self.process.alive)
        return probe.seen[wanted] - begun


def once(engine: Run, command: Sequence[str], plan: Plan) -> Measured:
    """One run. Raises Failed."""
    made = engine.installation
    made.fresh(job.ORDERS)
    stretch = Stretch(engine, command, plan)
    stretch.preload()
    probe = Probe(made.kafka, made.partitions)
    measured = Measured(engine.engine.name)
    stretch.start()
    try:
        stretch.caught_up(probe, 180)
        found, measured.cpu_share = stretch.paced(probe, plan.rate, plan.seconds)
        measured.p50_ms, measured.p99_ms = quantile(found, 0.5), quantile(found, 0.99)
        if capacity := plan.capacity.get(engine.engine.name):
            measured.half_rate = capacity / 2
            found, _ = stretch.paced(probe, capacity / 2, min(HALF_SECONDS, plan.seconds))
            measured.half_p50_ms, measured.half_p99_ms = quantile(found, 0.5), quantile(found, 0.99)
        client = producer(made.kafka, 0)
        client.list_topics(job.ORDERS, timeout=10)
        measured.kill_to_change = stretch.crash(probe, client)
        expected = stretch.oracle.expected()
        with made.committed(engine.group, engine.source) as committed:
            wait_for(
                lambda: committed() == expected.ends, "offsets committed at the end", 60, stretch.process.alive, 0.02
            )
        stretch.process.stop()
        measured.judgement = verdict(engine, expected, probe)
    except Failed as error:
        raise Failed(f"{error}\n{stretch.process.tail()}") from error
    finally:
        probe.close()
        stretch.process.kill()
    return measured


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every engine in turns; the results by engine and the verdicts."""
    commands = available(list(plan.engines), say)
    artifact, _ = calibrated(TYPICAL)
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    failures: list[str] = []
    warm = replace(plan, seconds=min(WARM_RUN, plan.seconds), capacity={})
    turns = [(next(iter(commands)), warm), *((name, plan) for _ in range(plan.repetitions) for name in commands)]
    with installed(directory, artifact) as made:
        for turn, (name, planned) in enumerate(turns):
            unique = f"bench-{name}-{turn}-{time.time_ns() // 1_000_000}"
            engine = Run(engine=ENGINES[name], installation=made, name=unique, source=job.ORDERS)
            try:
                engine.forget()  # whatever a failed run left behind
                measured = once(engine, commands[name], planned)
                engine.forget()
            except (Failed, KafkaException) as error:
                failures.append(f"{name}: {error}")
                say(str(error))
            else:
                if turn:
                    runs[name].append(measured)
                say(_line(measured) if turn else "the broker is warm")
    results = {name: _summary(found) for name, found in runs.items() if found}
    return {
        "part": "latency",
        "rate": plan.rate,
        "seconds": plan.seconds,
        "engines": results,
        "failures": failures,
        "verdicts": [v.document() for v in _verdicts(results)],
    }


def _line(m: Measured) -> str:
    right = "exact" if m.judgement is not None and m.judgement.exact else f"NOT EXACT: {m.judgement}"
    half = "" if m.half_p50_ms is None else f", half: {m.half_p50_ms:.1f} / {m.half_p99_ms:.1f}"
    return f"{m.engine:10} p50 {m.p50_ms:.1f} ms, p99 {m.p99_ms:.1f} ms{half}, kill to change {m.kill_to_change:.1f} s, {right}"


def _summary(runs: Sequence[Measured]) -> dict[str, Any]:
    judgements = [one.judgement for one in runs if one.judgement is not None]
    numbers = ("p50_ms", "p99_ms", "cpu_share", "half_rate", "half_p50_ms", "half_p99_ms", "kill_to_change")
    return {
        "label": ENGINES[runs[0].engine].label,
        **{name: spread([v for one in runs if (v := getattr(one, name)) is not None]) for name in numbers},
        "lost": sum(j.lost for j in judgements),
        "wrong": sum(j.wrong for j in judgements),
        "reordered": sum(j.reordered for j in judgements),
        "duplicated": sum(j.duplicated for j in judgements),
        "states_wrong": sum(j.states_wrong or 0 for j in judgements),
    }


def _verdicts(engines: dict[str, Any]) -> list[Verdict]:
    ours = engines.get("segstream")
    if ours is None:
        return []
    faults = ours["lost"] + ours["wrong"] + ours["reordered"] + ours["states_wrong"]
    return [
        Verdict.at_most("300 events/s: p50, ms", ours["p50_ms"]["median"], 3.0),
        Verdict.at_most("300 events/s: p99, ms", ours["p99_ms"]["median"], 10.0),
        Verdict.at_most("kill -9 to the next change, s", ours["kill_to_change"]["median"], 10.0),
        Verdict.at_most("after a crash: changes lost, wrong or out of order, and states wrong", faults, 0),
    ]
