"""`--only hotpath`: every engine catches up with the same preloaded topic, in turns, several times over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException

from bench import job
from bench.calibration import calibrated
from bench.catchup import Measured, run
from bench.generator import Log, Shop
from bench.installation import Installation, installed
from bench.lineup import ENGINES, Run, available
from bench.load import producer, send
from bench.oracle import Expected, Oracle
from bench.processes import Failed
from bench.report import Verdict, spread

SLICE: Final = "orders-slice"
_BLOCK: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    events: int = 1_000_000
    customers: int = 50_000
    slice: int = 30_000
    """Events for the slow engines: the first ones of the same stream."""
    repetitions: int = 3
    engines: tuple[str, ...] = tuple(ENGINES)


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it all; the results by engine and the verdicts."""
    commands = available(list(plan.engines), say)
    artifact, share = calibrated(plan.events / plan.customers)
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    failures: list[str] = []
    with installed(directory, artifact) as made:
        whole, part = preload(made, plan)
        share = len(whole.changes) / whole.events
        say(f"{plan.events:,} events of {plan.customers:,} customers, {len(whole.changes):,} changes ({share:.1%})")
        for repetition in range(plan.repetitions):
            names = list(commands)
            turn = repetition % len(names)
            for name in names[turn:] + names[:turn]:
                slow = ENGINES[name].slow
                engine = Run(
                    engine=ENGINES[name],
                    installation=made,
                    name=f"bench-{name}-{repetition}-{time.time_ns() // 1_000_000}",
                    source=SLICE if slow else job.ORDERS,
                    static=False,
                )
                try:
                    engine.forget()  # whatever a failed run left behind
                    made.fresh()
                    expected = part if slow else whole
                    measured = run(engine, commands[name], expected, deadline=max(300.0, plan.events / 1000))
                    engine.forget()
                except (Failed, KafkaException) as error:
                    failures.append(f"{name}: {error}")
                    say(str(error))
                else:
                    runs[name].append(measured)
                    say(line(measured))
    results = {name: summary(measured) for name, measured in runs.items() if measured}
    return {
        "part": "hotpath",
        "events": plan.events,
        "customers": plan.customers,
        "slice": plan.slice,
        "repetitions": plan.repetitions,
        "share_of_changes": share,
        "engines": results,
        "runs": [one.document() for measured in runs.values() for one in measured],
        "failures": failures,
        "verdicts": [v.document() for v in verdicts(results)],
    }


def preload(made: Installation, plan: Plan) -> tuple[Expected, Expected]:
    """Put the stream into `orders` and its first part into the slice's topic; what must come of each."""
    made.create_topic(SLICE)
    client = producer(made.kafka, 20)
    oracle = Oracle(made.model, made.partitions)
    log = Log(made.partitions)
    messages = Shop(plan.customers).messages(plan.events)
    first = list(islice(messages, plan.slice))
    send(client, SLICE, Log(made.partitions), first)
    part: Expected | None = None
    block = first
    while block:
        send(client, job.ORDERS, log, block)
        for message in block:
            oracle.append(message)
        part = part or oracle.expected()
        block = list(islice(messages, _BLOCK))
    assert part is not None
    return oracle.expected(), part


def line(measured: Measured) -> str:
    """One run in one line."""
    j = measured.judgement
    right = "exact" if j is not None and j.exact else f"NOT EXACT: {j}"
    return (
        f"{measured.engine:10} {measured.events_per_s:9,.0f} events/s {measured.cpu_us:7.1f} us/event "
        f"{measured.peak_mib:6.0f} MiB, first change after {measured.start_to_first:.2f} s, {right}"
    )


def summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """Medians and spread over the repetitions of one engine, and whether every run was exact."""
    judgements = [one.judgement for one in runs if one.judgement is not None]
    numbers = ("events_per_s", "cpu_us", "peak_mib", "start_to_first", "catch_up", "to_committed", "wall", "start_cpu")
    return {
        "label": ENGINES[runs[0].engine].label,
        "events": runs[0].events,
        **{name: spread([getattr(one, name) for one in runs]) for name in numbers},
        "projected": spread([one.projected for one in runs if one.projected is not None]),
        "held": spread([one.held for one in runs if one.held is not None]),
        "lost": sum(j.lost for j in judgements),
        "wrong": sum(j.wrong for j in judgements),
        "reordered": sum(j.reordered for j in judgements),
        "duplicated": sum(j.duplicated for j in judgements),
        "states_wrong": sum(j.states_wrong or 0 for j in judgements),
    }


def verdicts(engines: dict[str, Any]) -> list[Verdict]:
    """The promises about catching up, as far as the engines they speak of took part."""
    made: list[Verdict] = []
    ours = engines.get("segstream")
    if ours is None:
        return made
    rate, cpu = ours["events_per_s"]["median"], ours["cpu_us"]["median"]
    for other, least in (("aiokafka", 0.85), ("faust", 20.0), ("kstreams", 1.0), ("quix", 1.0)):
        if other in engines:
            theirs = engines[other]
            ratio = rate / theirs["events_per_s"]["median"]
            made.append(Verdict.at_least(f"events/s, as a multiple of {theirs['label']}", ratio, least))
    for other in ("kstreams", "quix"):
        if other in engines:
            theirs = engines[other]
            ratio = cpu / theirs["cpu_us"]["median"]
            made.append(Verdict.at_most(f"CPU per event, as a multiple of {theirs['label']}", ratio, 1.0))
    made.append(Verdict.at_most("CPU per event with three products, transport included, us", cpu, 25.0))
    if held := ours.get("held"):
        made.append(Verdict.at_most("share of looks at which the event loop was held over 20 ms", held["median"], 0.01))
    made.append(Verdict.at_most("start to first change, s", ours["start_to_first"]["median"], 1.5))
    made.append(Verdict.at_most("changes lost, wrong or out of order, and states wrong", _faults(ours), 0))
    return made


def _faults(engine: dict[str, Any]) -> int:
    return int(engine["lost"] + engine["wrong"] + engine["reordered"] + engine["states_wrong"])
