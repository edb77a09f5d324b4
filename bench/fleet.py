"""Several workers on one machine: how many events a second they do together."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from bench import job
from bench.generator import Log, Shop
from bench.installation import Installation
from bench.lineup import ENGINES, Run
from bench.load import producer, send
from bench.oracle import Expected, Oracle, judge, wrong_states
from bench.probe import Probe
from bench.processes import Process, wait_for


def measure(made: Installation, counts: Sequence[int], events: int, say: Callable[[str], None]) -> dict[str, float]:
    """Events a second of so many workers together, on the same preloaded topic; and what was wrong."""
    oracle = Oracle(made.model, made.partitions)
    messages = list(Shop(events // 20).messages(events))
    send(producer(made.kafka, 20), job.ORDERS, Log(made.partitions), messages)
    for message in messages:
        oracle.append(message)
    expected = oracle.expected()
    figures: dict[str, float] = {}
    faults = 0
    for count in counts:
        rate, wrong = _together(made, count, expected)
        figures[f"events/s, {count} worker{'s' if count > 1 else ''} on {made.partitions} partitions"] = rate
        faults += wrong
        say(f"{count} workers: {rate:,.0f} events/s, {wrong} wrong")
    figures["changes lost or wrong, states wrong (fleet)"] = faults
    return figures


def _together(made: Installation, count: int, expected: Expected) -> tuple[float, int]:
    made.fresh()
    probe = Probe(made.kafka, made.partitions)
    stamp = time.time_ns() // 1_000_000
    runs = [
        Run(
            engine=ENGINES["segstream"],
            installation=made,
            name=f"bench-fleet-{count}-{i}-{stamp}",
            source=job.ORDERS,
            static=False,
        )
        for i in range(count)
    ]
    processes: list[Process] = []
    try:
        for run in runs:
            command = [sys.executable, "-m", "segstream", "worker"]
            processes.append(Process.start(command, run.environment(), run.directory))

        def alive() -> None:
            for process in processes:
                process.alive()

        wait_for(lambda: bool(probe.times), "the first change", 120, alive)
        deadline = 180 + expected.events / 1000
        wait_for(lambda: len(probe.seen) >= len(expected.changes), "every change", deadline, alive)
        with made.committed(runs[0].group, job.ORDERS) as committed:
            wait_for(lambda: committed() == expected.ends, "offsets committed at the end", 60, alive, 0.05)
        last = max(probe.seen.values())
        for process in processes:
            process.stop()
        result = judge(expected, probe.records)
        wrong = wrong_states(expected, made.latest(job.CHANGELOG))
        return expected.events / (last - probe.times[0]), result.lost + result.wrong + result.reordered + wrong
    finally:
        probe.close()
        for process in processes:
            process.kill()
        runs[0].forget()
