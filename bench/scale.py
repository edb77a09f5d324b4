"""`--only scale`: a worker with a million customers: what an event costs, how much memory, recovery, a new model; and several workers."""

from __future__ import annotations

import statistics
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException

from bench import fleet, job
from bench.calibration import TYPICAL, calibrated, moved
from bench.generator import Log, Shop, new_customer
from bench.installation import Installation, installed
from bench.lineup import ENGINES, Run
from bench.load import producer, send
from bench.oracle import Oracle, judge, wrong_states
from bench.probe import Probe
from bench.processes import Failed, Process, wait_for
from bench.report import Verdict, quantile
from bench.worker import Worker

ROUNDS: Final = 3
"""How often every customer orders: to be known, to be unpacked after the recovery, and to be measured."""
RATE: Final = 300.0
SETTLE_SECONDS: Final = 20.0
"""Live events before any is counted: until then Kafka still compiles what this load needs, and has the load before it to compact."""
BEFORE_SECONDS: Final = 15.0
WARM_SECONDS: Final = 1.0
"""At the start of each stretch of live events, not counted."""
SAMPLE: Final = 100
"""One customer in so many is compared with the oracle where there are many."""
_BLOCK: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    customers: int = 1_000_000
    few: int = 10_000
    repetitions: int = 5
    """Of the small shop, whose measured stretch is short."""
    swap_seconds: float = 100.0
    """How long live events come while the customers are moved to a new model."""
    workers: tuple[int, ...] = (1, 2, 4)
    partitions: int = 12
    fleet_events: int = 400_000


class Crowd:
    """A worker that owns every partition, its customers, and what they do."""

    def __init__(self, made: Installation, customers: int, one_in: int) -> None:
        self.made = made
        self.customers = customers
        self.patience = 180 + customers / 1000
        """Seconds that one round may take."""
        name = f"bench-scale-{customers}-{time.time_ns() // 1_000_000}"
        self.run = Run(engine=ENGINES["segstream"], installation=made, name=name, source=job.ORDERS)
        self.oracle = Oracle(made.model, made.partitions, keep=lambda key: int(key[1:]) % one_in == 0)
        self.messages = Shop(customers, rounds=ROUNDS).messages(ROUNDS * customers)
        self.log = Log(made.partitions)
        self.client = producer(made.kafka, 20)
        self.newcomers = 0
        made.fresh(job.ORDERS)
        self.client.list_topics(job.ORDERS, timeout=10)
        self.process = self.start()

    def start(self) -> Process:
        """Start the worker."""
        command = [sys.executable, "-m", "segstream", "worker"]
        return Process.start(command, self.run.environment(), self.run.directory)

    @property
    def worker(self) -> Worker:
        """The worker as it shows itself."""
        return Worker(self.process, self.run.directory)

    def round(self) -> float:
        """Every customer orders once more; the CPU seconds of the worker until all is committed and projected."""
        before = self.process.cpu()
        left = self.customers
        while left:
            block = list(islice(self.messages, min(_BLOCK, left)))
            left -= len(block)
            send(self.client, job.ORDERS, self.log, block)
            for message in block:
                self.oracle.append(message)
        self.settled()
        return self.process.cpu() - before

    def settled(self) -> None:
        """Wait until everything is committed and Redis shows it."""
        with self.made.committed(self.run.group, job.ORDERS) as committed:
            ends = tuple(self.log.ends)
            wait_for(lambda: committed() == ends, "everything is committed", self.patience, self.process.alive, 0.05)
        self.projected()

    def projected(self) -> None:
        """Wait until Redis shows everyone."""
        shown = lambda: self.worker.ready().get("projection_pending") == 0  # noqa: E731
        wait_for(shown, "Redis is up to date", self.patience, self.process.alive, 0.2)

    def recover(self, probe: Probe) -> tuple[int, float, float]:
        """Kill -9 and start again: changelog records, seconds from the start until ready, from the kill to the next change."""
        with self.made.ends(job.CHANGELOG) as ends:
            records = sum(ends())
        killed = time.monotonic()
        self.process.kill()
        self.process = self.start()
        started = self.process.started
        identity = self.newcomer()
        wait_for(self.worker.is_ready, "ready again", self.patience, self.process.alive, 0.05)
        ready = time.monotonic() - started
        wait_for(lambda: identity in probe.seen, "the next change after a crash", self.patience, self.process.alive)
        return records, ready, probe.seen[identity] - killed

    def newcomer(self) -> str:
        """Someone new orders; the id of the change that this must lead to."""
        message = new_customer(self.newcomers)
        self.newcomers += 1
        partition, offset = self.oracle.append(message)
        send(self.client, job.ORDERS, self.log, [message])
        return f"{message.key.decode()}:{job.ORDERS}:{partition}:{offset}:1"

    def live(self, probe: Probe, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> dict[float, float]:
        """Newcomers at a steady rate by a process of its own: when each was handed over -> milliseconds to her change."""
        count, first = int(RATE * seconds), self.newcomers
        self.newcomers += count
        file = self.run.directory / f"handed-{first}"
        arguments = [job.ORDERS, 0, 0, first, count, RATE, self.made.partitions, file]
        command = [sys.executable, "-m", "bench.load", *map(str, arguments)]
        identities = []
        for number in range(first, first + count):
            message = new_customer(number)
            self.log.append(message.key)
            partition, offset = self.oracle.append(message)
            identities.append(f"{message.key.decode()}:{job.ORDERS}:{partition}:{offset}:1")
        load = Process.start(command, self.made.environment, self.run.directory, "load")
        try:
            wait_for(lambda: identities[0] in probe.seen, "the first live change", 60, self.process.alive)
            meanwhile()
            patience = 60 + 2 * seconds
            wait_for(lambda: load.popen.poll() is not None, "the load is sent", patience, self.process.alive, 0.05)
        finally:
            load.kill()
        wait_for(lambda: identities[-1] in probe.seen, "the last live change", 60, self.process.alive, 0.05)
        handed = array("d")
        handed.frombytes(file.read_bytes())
        wait_for(lambda: all(i in probe.seen for i in identities), "every live change", 60, self.process.alive, 0.05)
        seen = probe.seen
        warm = handed[0] + WARM_SECONDS
        return {at: (seen[i] - at) * 1000 for at, i in zip(handed, identities, strict=True) if at >= warm}

    def faults(self, probe: Probe) -> int:
        """Changes lost, wrong or out of order and states wrong, among the customers of the oracle."""
        expected = self.oracle.expected()
        result = judge(expected, [(k, v) for k, v in probe.records if self.oracle.keep(k)])
        stored = {k: v for k, v in self.made.latest(job.CHANGELOG).items() if self.oracle.keep(k)}
        return result.lost + result.wrong + result.reordered + wrong_states(expected, stored)

    def broken(self, probe: Probe, model: str) -> int:
        """Customers of the oracle who are not as they must be after a change of model.

        Whether a live event or the sweep moved a customer first is chance, so that her changes cannot be foretold; but all she did must be in
        her profile, she must be on the model, and her changes must be without a gap and end where she is.
        """
        changes: dict[bytes, dict[int, str]] = {}
        for key, value in probe.records:
            if self.oracle.keep(key):
                change = msgspec.json.decode(value)
                changes.setdefault(key, {})[change["sequence"]] = change["to_segment"]
        stored = self.made.latest(job.CHANGELOG)
        wrong = 0
        for key, wanted in self.oracle.customers.items():
            found = job.from_bytes(stored[key]) if key in stored else job.Customer()
            seen = changes.get(key, {})
            whole = sorted(seen) == list(range(1, found.sequence + 1)) and seen.get(found.sequence) == found.segment
            wrong += not (whole and found.model_id == model and found.profile == wanted.profile)
        return wrong

    def end(self) -> None:
        """Stop the worker and forget its group."""
        self.process.stop()
        self.process.kill()
        self.run.forget()


def cost_of_few(made: Installation, plan: Plan) -> tuple[float, int]:
    """CPU microseconds per event with few customers, by the same steps as with many; and what was wrong."""
    costs, faults = [], 0
    for _ in range(plan.repetitions):
        crowd = Crowd(made, plan.few, 1)
        probe = Probe(made.kafka, made.partitions)
        try:
            crowd.round()
            crowd.recover(probe)
            crowd.projected()
            crowd.round()
            costs.append(crowd.round() / plan.few * 1e6)
            faults += crowd.faults(probe)
        finally:
            probe.close()
            crowd.end()
    return statistics.median(costs), faults


def with_many(made: Installation, plan: Plan, say: Callable[[str], None]) -> dict[str, float]:
    """The figures of one worker with all the customers."""
    figures: dict[str, float] = {}
    crowd = Crowd(made, plan.customers, max(1, min(SAMPLE, plan.customers // 1000)))
    probe = Probe(made.kafka, made.partitions)
    try:
        wait_for(crowd.worker.is_ready, "the worker is ready", crowd.patience, crowd.process.alive, 0.05)
        figures["peak MiB, no customers"] = crowd.process.peak()
        empty = made.redis_bytes()
        crowd.round()
        say(f"{plan.customers:,} customers are known")
        records, ready, change = crowd.recover(probe)
        figures["recovery: changelog records"] = records
        figures["recovery: s from start to ready"] = ready
        figures["recovery: records/s"] = records / ready
        figures["recovery: kill -9 to next change, s"] = change
        say(f"recovery of {records:,} records: ready after {ready:.1f} s, next change {change:.1f} s after the kill")
        crowd.projected()
        crowd.round()
        begun = time.monotonic()
        figures["CPU us/event, many customers"] = crowd.round() / plan.customers * 1e6
        figures["s for a round, Redis included"] = time.monotonic() - begun
        figures["peak MiB, many customers"] = crowd.process.peak()
        figures["Redis bytes per customer"] = (made.redis_bytes() - empty) / plan.customers
        states = made.latest(job.CHANGELOG)
        figures["changelog bytes per customer"] = sum(len(k) + len(v) for k, v in states.items()) / len(states)
        figures["bytes per change"] = statistics.mean(len(k) + len(v) for k, v in islice(probe.records, 10_000))
        figures["changes lost or wrong, states wrong (sample)"] = crowd.faults(probe)
        say(f"{figures['CPU us/event, many customers']:.1f} us/event, {figures['peak MiB, many customers']:.0f} MiB")
        figures.update(swap(crowd, probe, plan))
    finally:
        probe.close()
        crowd.end()
    return figures


def swap(crowd: Crowd, probe: Probe, plan: Plan) -> dict[str, float]:
    """A new model under live events: how long until everyone is on it, and the latency before and meanwhile."""
    made = crowd.made
    crowd.live(probe, SETTLE_SECONDS)
    before = crowd.live(probe, BEFORE_SECONDS)
    new = moved(made.artifact)
    times: list[float] = []
    names: list[str] = []
    peak = 0.0

    def publish() -> None:
        names.append(name := made.publish(new))
        times.append(time.monotonic())

        def moved_to() -> bool:
            nonlocal peak
            peak = max(peak, crowd.process.peak())
            return crowd.worker.ready().get("migrated_to") == name

        wait_for(moved_to, "every customer is on the new model", 600, crowd.process.alive, 0.2)
        times.append(time.monotonic())

    during = crowd.live(probe, plan.swap_seconds, publish)
    crowd.settled()
    meanwhile = [ms for at, ms in during.items() if times[0] <= at <= times[1]]
    return {
        "customers lost or wrong after a new model (sample)": crowd.broken(probe, names[0]),
        "new model: s until every customer is on it": times[1] - times[0],
        "new model: peak MiB meanwhile, helper included": peak,
        "live p50 before, ms": quantile(list(before.values()), 0.5),
        "live p99 before, ms": quantile(list(before.values()), 0.99),
        "live p50 meanwhile, ms": quantile(meanwhile, 0.5) if meanwhile else 0.0,
        "live p99 meanwhile, ms": quantile(meanwhile, 0.99) if meanwhile else 0.0,
    }


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it; figures and verdicts."""
    artifact, _ = calibrated(TYPICAL)
    figures: dict[str, float] = {}
    failures: list[str] = []
    try:
        with installed(directory / "one", artifact) as made:
            few, wrong = cost_of_few(made, plan)
            figures["CPU us/event, few customers"] = few
            figures["changes lost or wrong, states wrong (few)"] = wrong
            say(f"{few:.1f} us/event with {plan.few:,} customers")
            figures.update(with_many(made, plan, say))
            figures["cost per event, many / few"] = figures["CPU us/event, many customers"] / few
    except (Failed, KafkaException) as error:
        failures.append(str(error))
        say(str(error))
    try:
        with installed(directory / "fleet", artifact, plan.partitions) as made:
            figures.update(fleet.measure(made, plan.workers, plan.fleet_events, say))
    except (Failed, KafkaException) as error:
        failures.append(str(error))
        say(str(error))
    return {
        "part": "scale",
        "customers": plan.customers,
        "few": plan.few,
        "figures": figures,
        "failures": failures,
        "verdicts": [v.document() for v in _verdicts(plan.customers, figures)],
    }


def _verdicts(customers: int, figures: dict[str, float]) -> list[Verdict]:
    many = f"{customers:,} customers: "
    bounds = (
        ("peak MiB, many customers", "peak memory, MiB", 1.2 * 1000**3 / 2**20),
        ("new model: peak MiB meanwhile, helper included", "the same with a new model", 1.2 * 1000**3 / 2**20),
        ("cost per event, many / few", "cost per event as a multiple of that with few", 1.3),
        ("new model: s until every customer is on it", "seconds until all are on a new model", 60.0),
        ("recovery: kill -9 to next change, s", "kill -9 to the next change, s", 10.0),
        ("changes lost or wrong, states wrong (sample)", "lost, wrong or out of order", 0.0),
        ("customers lost or wrong after a new model (sample)", "the same after a new model", 0.0),
        ("changes lost or wrong, states wrong (few)", "the same with few customers", 0.0),
        ("changes lost or wrong, states wrong (fleet)", "the same with several workers", 0.0),
    )
    made = [Verdict.at_most(many + text, figures[name], most) for name, text, most in bounds if name in figures]
    if "recovery: records/s" in figures:
        made.append(Verdict.at_least(f"{many}recovery, changelog records/s", figures["recovery: records/s"], 200_000))
    if figures.get("live p99 before, ms"):
        ratio = figures["live p99 meanwhile, ms"] / figures["live p99 before, ms"]
        made.append(Verdict.at_most(f"{many}live p99 during a new model, as a multiple of before", ratio, 2.0))
    return made
