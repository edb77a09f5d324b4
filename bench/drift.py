"""`--only drift`: planted changes on streams of real customers: how often found, how soon, by the right name; and how often for nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from batch_trainer import population
from batch_trainer.recipes import RECIPES
from batch_trainer.trainer import train
from batch_trainer.warehouse import open_warehouse
from bench import drift_cost
from bench.planted import BLOCK, PER_DAY, Change, Pool, Stream, pool
from bench.report import Verdict
from bench.rivals import RIVER, Evidently, River
from sandbox import warehouse
from sandbox.shop import Shop
from schemas.artifact import model_id
from schemas.changes import DriftAlert
from schemas.drift import Baseline, baseline
from schemas.features import FEATURES, Facts
from schemas.model import Model
from stream_app.drift.detectors import Thresholds
from stream_app.drift.monitor import Monitor

DATA: Final = Path("../shared/data")
NOW: Final = 1_767_225_600_000_000
HORIZON: Final = 10_000
"""Events after a change within which it must be found to be found at all."""
COOLDOWN: Final = 3_600_000_000
_MONEY: Final = ("gross_spend", "average_order_value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    runs: int = 100
    stationary: int = 2_000_000
    """Events without any change, of each shop."""
    rivals_stationary: int = 200_000
    rival_runs: int = 10
    cost_events: int = 100_000
    customers: int = 4_000
    """Of the invented shop."""
    seed: int = 0
    """Added to every seed: other streams than those of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A shop: its model and its customers."""

    name: str
    model: Model
    rows: list[Facts]
    known: Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of one planted change; delays in events, None where it was not found."""

    delay: int | None
    named: bool
    early: int
    """Alerts before the change."""


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it all; the results by shop and the verdicts."""
    results: dict[str, Any] = {}
    cost: list[dict[str, Any]] = []
    for subject in _subjects(plan, directory, say):
        if not cost:
            rates = ((2_000, 20_000.0), (20, 500.0))
            cost = [drift_cost.measure(subject.model, plan.cost_events, chunk, rate) for chunk, rate in rates]
            say(f"cost: {cost}")
        begun = time.process_time()
        results[subject.name] = _shop(subject, plan, say)
        say(f"{subject.name}: {time.process_time() - begun:.0f} s of CPU")
    return {
        "part": "drift",
        "runs": plan.runs,
        "stationary": plan.stationary,
        "per_day": PER_DAY,
        "shops": results,
        "cost": cost,
        "thresholds": msgspec.structs.asdict(Thresholds()),
        "verdicts": [v.document() for v in _verdicts(results, cost, plan)],
    }


def _subjects(plan: Plan, directory: Path, say: Callable[[str], None]) -> Iterator[Subject]:
    shop = Shop(7, plan.customers, 365, NOW)
    file = directory / "shop.duckdb"
    warehouse.create(file, shop.catalogue)
    warehouse.append(file, shop.history)
    places = {"the shop": (f"duckdb:///{file}", "thelook", {})}
    for name, source, folder in (
        ("theLook", "thelook_parquet", "thelook_google_generator"),
        ("UCI", "uci_online_retail", "uci_online_retail"),
    ):
        if (DATA / folder).is_dir():
            places[name] = ("duckdb://", source, {"dir": str(DATA / folder)})
        else:
            say(f"{name} is left out: {DATA / folder} is absent")
    recipe = RECIPES["behaviour"]
    for name, (url, source, params) in places.items():
        with open_warehouse(url, source, params) as one:
            made = train(one, recipe, now=NOW, fit_on=20_000, hysteresis=0.0)
            people = population.look(one, recipe, 20_000)
        model = Model(made.artifact, model_id(made.artifact))
        say(f"{name}: {len(people.rows):,} customers, {len(model.segments)} segments")
        needs = {feature: FEATURES[feature].needs for feature in model.feature_names}
        yield Subject(name=name, model=model, rows=people.rows, known=baseline(model, needs))


def changes(subject: Subject) -> dict[str, list[Change]]:
    """What is planted, by the row of the table it belongs to."""
    model = subject.model
    numbers = [t.feature for t in model.artifact.numbers]
    present = model.artifact.distributions
    middle = sorted(model.segments, key=lambda s: s.share)[len(model.segments) // 2]
    rows = {
        f"mean shifted by {sigma:g} sigma": [Change(name="shift", feature=f, shift=sigma) for f in numbers]
        for sigma in (0.25, 0.5, 1.0)
    }
    rows["unit error x100"] = [Change(name="unit", feature=f, times=100.0) for f in _MONEY if f in numbers]
    rows["a field goes null"] = [
        Change(name="null", feature=f, nulls=True) for f in model.feature_names if f in present
    ]
    labelled = [f for f in model.feature_names if f in present and present[f].labels and present[f].complete]
    rows["a new category at 5 %"] = [Change(name="label", feature=f, label=0.05) for f in labelled]
    rows["a segment doubles"] = [Change(name="double", doubled=middle.id)]
    return {name: planted for name, planted in rows.items() if planted}


def _shop(subject: Subject, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    usual = pool(subject.model, subject.rows)
    alarms, seconds = _stationary(subject, usual, plan.stationary, plan.seed + 1)
    say(
        f"{subject.name}: {len(alarms)} alarms in {plan.stationary:,} stationary events {[(a.signal, a.feature) for a in alarms]}"
    )
    rng = np.random.default_rng(99)
    sample = Stream(subject.known.features, 5, subject.model.id, steady=True).draw(usual, 5_000)

    def rivals() -> dict[str, Any]:
        return {**{name: River(kind) for name, kind in RIVER.items()}, "Evidently": Evidently(usual, sample)}

    false = {"Segstream": 1e6 * len(alarms) / plan.stationary}
    stream = Stream(subject.known.features, 2, subject.model.id)
    hits = dict.fromkeys(rivals(), 0)
    watching = rivals()
    for _ in range(plan.rivals_stationary // BLOCK):
        rows = stream.draw(usual)
        stream.block(usual, rows)
        for name, one in watching.items():
            hits[name] += len(list(one.update(usual, rows)))
    false |= {name: 1e6 * count / plan.rivals_stationary for name, count in hits.items()}
    table: dict[str, Any] = {}
    for row, planted in changes(subject).items():
        pools = [pool(subject.model, subject.rows, change) for change in planted]
        ours = [
            _run(subject, usual, pools[i % len(planted)], planted[i % len(planted)], plan.seed + i)
            for i in range(plan.runs)
        ]
        table[row] = {"Segstream": _summary(ours)}
        theirs: dict[str, list[Run]] = {}
        for i in range(plan.rival_runs):
            at = int(rng.integers(20, 40)) * BLOCK
            for name, run in _rival_runs(
                subject, usual, pools[i % len(planted)], planted[i % len(planted)], i, at, rivals()
            ):
                theirs.setdefault(name, []).append(run)
        table[row] |= {name: _summary(runs) for name, runs in theirs.items()}
        say(f"{subject.name}: {row}: {table[row]['Segstream']}")
    slow = [_slow(subject, usual, plan.seed + i) for i in range(max(1, plan.runs // 20))]
    table["slow drift, 1 sigma over 30 days"] = {"Segstream": _summary(slow)}
    say(f"{subject.name}: slow: {table['slow drift, 1 sigma over 30 days']['Segstream']}")
    return {
        "customers": len(subject.rows),
        "segments": len(subject.model.segments),
        "false_per_million": false,
        "false_alarms": [{"signal": a.signal, "feature": a.feature, "message": a.message} for a in alarms],
        "us_per_event": 1e6 * seconds / plan.stationary,
        "table": table,
    }


def _stationary(subject: Subject, usual: Pool, events: int, seed: int) -> tuple[list[DriftAlert], float]:
    monitor, stream = Monitor(), Stream(subject.known.features, seed, subject.model.id)
    monitor.fold(subject.known)
    found: list[DriftAlert] = []
    spent = 0.0
    for block in stream.blocks(usual, events):
        begun = time.process_time()
        found += [alert for alert in monitor.fold(block) if alert.status == "opened"]
        spent += time.process_time() - begun
    return found, spent


def _run(subject: Subject, usual: Pool, after: Pool, change: Change, seed: int) -> Run:
    monitor, stream = Monitor(), Stream(subject.known.features, 1000 + seed, subject.model.id)
    stream.at += seed * 7 * 3_600_000_000  # at another hour each time
    monitor.fold(subject.known)
    early = [a for block in stream.blocks(usual, 3_000 + BLOCK * (seed * 7 % 20)) for a in monitor.fold(block)]
    begin = stream.offset
    last: DriftAlert | None = None
    delay = None
    for block in stream.blocks(after, HORIZON):
        for alert in monitor.fold(block):
            last = alert
            delay = delay or stream.offset - begin
        if delay is not None and stream.offset - begin >= delay + 1_000:
            break
    named = last is not None and (not change.feature or last.feature == change.feature)
    return Run(delay=delay, named=named, early=len(early))


def _rival_runs(
    subject: Subject, usual: Pool, after: Pool, change: Change, seed: int, before: int, rivals: dict[str, Any]
) -> Iterator[tuple[str, Run]]:
    for name, rival in rivals.items():
        stream = Stream(subject.known.features, 1000 + seed, subject.model.id, steady=True)
        early = sum(len(list(rival.update(usual, stream.draw(usual)))) for _ in range(before // BLOCK))
        delay, named = None, False
        for i in range(HORIZON // 2 // BLOCK):
            if hits := list(rival.update(after, stream.draw(after))):
                delay = i * BLOCK + hits[0][0] + 1
                named = not change.feature or {feature for _, feature in hits} == {change.feature}
                break
        yield name, Run(delay=delay, named=named, early=early)


def _slow(subject: Subject, usual: Pool, seed: int) -> Run:
    feature = subject.model.artifact.numbers[seed % len(subject.model.artifact.numbers)].feature
    monitor, stream = Monitor(), Stream(subject.known.features, 3000 + seed, subject.model.id)
    monitor.fold(subject.known)
    early = [a for block in stream.blocks(usual, 20_000) for a in monitor.fold(block)]
    begin = stream.offset
    steps = 60
    for step in range(1, steps + 1):
        shifted = pool(subject.model, subject.rows, Change(name="slow", feature=feature, shift=step / steps))
        for block in stream.blocks(shifted, 30 * PER_DAY // steps):
            if alerts := monitor.fold(block):
                return Run(delay=stream.offset - begin, named=alerts[-1].feature == feature, early=len(early))
    return Run(delay=None, named=False, early=len(early))


def _summary(runs: list[Run]) -> dict[str, Any]:
    delays = [run.delay for run in runs if run.delay is not None]
    return {
        "runs": len(runs),
        "found": len(delays) / len(runs),
        "within_2500": sum(d <= 2_500 for d in delays) / len(runs),
        "within_500": sum(d <= 500 for d in delays) / len(runs),
        "median_delay": statistics.median(delays) if delays else None,
        "named": sum(run.named for run in runs) / len(runs),
        "early": sum(run.early > 0 for run in runs),
    }


def _verdicts(results: dict[str, Any], cost: list[dict[str, Any]], plan: Plan) -> list[Verdict]:
    alarms = sum(len(one["false_alarms"]) for one in results.values())
    total = plan.stationary * len(results)
    made = [Verdict.at_most(f"false alarms in {total:,} stationary events with rhythm, of all shops", alarms, 0)]
    share = cost[0]["share_of_work"]
    made.append(
        Verdict.at_most(
            "share of a worker's CPU that blocks cost when it catches up, transport not counted", share, 0.02
        )
    )
    for shop, one in results.items():
        table = one["table"]
        half = table["mean shifted by 0.5 sigma"]["Segstream"]
        made.append(
            Verdict.at_least(f"{shop}: 0.5 sigma found within 2,500 events, share of runs", half["within_2500"], 0.99)
        )
        for row in ("unit error x100", "a field goes null"):
            if row in table:
                found = table[row]["Segstream"]["within_500"]
                made.append(Verdict.at_least(f"{shop}: {row} found within 500 events, share of runs", found, 0.99))
        speaking = [
            r["Segstream"]
            for name, r in table.items()
            if name.startswith(("mean shifted by 0.5", "mean shifted by 1", "unit", "a field"))
        ]
        named = sum(r["named"] * r["runs"] for r in speaking) / sum(r["runs"] for r in speaking)
        made.append(Verdict.at_least(f"{shop}: the right feature is named, share of runs", named, 0.95))
    return made
