"""One run of one engine over a preloaded topic: how fast, at what cost, and whether everything came out right."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from bench.lineup import Run
from bench.oracle import Expected, Judgement, judge, wrong_states
from bench.probe import Probe
from bench.processes import Failed, Process, wait_for
from bench.worker import Worker

FIRST: Final = 90.0
"""Seconds within which the first change must be there."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """What was seen of one run. Seconds unless said otherwise."""

    engine: str
    events: int
    start_to_first: float
    """From the start of the process to the first change readable."""
    catch_up: float
    """From the first change to the last one readable."""
    to_committed: float
    """From the first change to the offsets committed at the end of every partition."""
    events_per_s: float
    cpu_us: float
    """Microseconds per event, user and system, whole process tree, from the first change until all is committed."""
    start_cpu: float
    wall: float
    """From the start of the process until all is committed."""
    peak_mib: float
    projected: float | None = None
    """From the first change until Redis showed everything, where the engine keeps Redis up to date."""
    held: float | None = None
    """Share of the looks, 50 a second, at which our worker's event loop was more than 20 ms late."""
    judgement: Judgement | None = None

    def document(self) -> dict[str, object]:
        """For the results."""
        return asdict(self)


def run(engine: Run, command: Sequence[str], expected: Expected, deadline: float) -> Measured:
    """Start the engine on what is preloaded and measure until all is out and committed. Raises Failed."""
    made = engine.installation
    cpu_at_first: list[float] = []
    process: Process | None = None
    probe = Probe(made.kafka, made.partitions, on_first=lambda: cpu_at_first.append(process.cpu() if process else 0.0))
    try:
        process = Process.start(command, engine.environment(), engine.directory)
        wait_for(lambda: bool(cpu_at_first) or probe.error is not None, "the first change", FIRST, process.alive)
        with made.committed(engine.group, engine.source) as committed:
            wait_for(lambda: len(probe.times) >= len(expected.changes), "every change", deadline, process.alive)
            wait_for(lambda: len(probe.seen) >= len(expected.changes), "every change", deadline, process.alive)
            last = max(probe.seen.values())
            wait_for(lambda: committed() == expected.ends, "offsets committed at the end", 60, process.alive, 0.02)
        end, cpu = time.monotonic(), process.cpu()
        first = probe.times[0]
        measured = Measured(
            engine=engine.engine.name,
            events=expected.events,
            start_to_first=first - process.started,
            catch_up=last - first,
            to_committed=end - first,
            events_per_s=expected.events / (last - first),
            cpu_us=(cpu - cpu_at_first[0]) / expected.events * 1e6,
            start_cpu=cpu_at_first[0],
            wall=end - process.started,
            peak_mib=process.peak(),
        )
        if engine.engine.name == "segstream":
            worker = Worker(process, engine.directory)
            wait_for(
                lambda: worker.ready().get("projection_pending") == 0, "Redis is up to date", deadline, process.alive
            )
            measured.projected = time.monotonic() - first
            measured.held = worker.share_above("segstream_loop_held_seconds", 0.02)
        process.stop()
        measured.judgement = verdict(engine, expected, probe)
    except Failed as error:
        raise Failed(str(error) + (f"\n{process.tail()}" if process else "")) from error
    finally:
        probe.close()
        if process is not None:
            process.kill()
    return measured


def verdict(engine: Run, expected: Expected, probe: Probe) -> Judgement:
    """What came out against what must have come out, the stored state included where it can be read."""
    result = judge(expected, probe.records, engine.engine.tolerance)
    if engine.engine.changelog is not None:
        stored = engine.installation.latest(engine.engine.changelog.format(group=engine.group))
        result.states_wrong = wrong_states(expected, stored)
    return result
