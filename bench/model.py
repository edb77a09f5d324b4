"""What is promised of a model, measured on real shops, on one without structure, and on one with planted customers.

The tests hold the same functions to the same bounds; here they say their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import msgspec
from sklearn.metrics import adjusted_rand_score

from batch_trainer import flapping, population
from batch_trainer.choose import Choice
from batch_trainer.recipes import RECIPES
from batch_trainer.source import Source, read_source
from batch_trainer.structure import shuffled
from batch_trainer.trainer import Training, train
from batch_trainer.warehouse import Customers, open_warehouse
from bench.report import Verdict
from sandbox import warehouse as shop_warehouse
from sandbox.shop import Shop
from schemas.artifact import PROSPECT
from schemas.model import Model

DATA: Final = Path(__file__).parents[2] / "shared" / "data"
THELOOK: Final = DATA / "thelook_google_generator"
UCI: Final = DATA / "uci_online_retail"
NOW: Final = 1_790_000_000_000_000
SEEDS: Final = (222, 1, 2, 3, 4)
SNAPSHOTS: Final = (("2011-09-10", "2011-11-09"), ("2011-11-09", "2011-12-10"))
"""UCI ends on 2011-12-09."""
KEPT: Final = 0.97
ALIKE: Final = 0.9
BEHAVIOUR: Final = RECIPES["behaviour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A retraining: the customers who had not changed, and the share of them who are in the same segment as before."""

    customers: int
    share: float
    publishable: bool


def uci_until(day: str) -> Source:
    """UCI Online Retail as it was before a day."""
    given = read_source("uci_online_retail", {"dir": str(UCI)})
    table = f"read_parquet('{UCI}/transactions.parquet')"
    then = f"(SELECT * FROM {table} WHERE invoice_ts < TIMESTAMP '{day}')"
    relations = {name: sql.replace(table, then) for name, sql in given.relations.items()}
    if not all(then in sql for sql in relations.values()):
        raise RuntimeError("the source uci_online_retail reads other files than transactions.parquet")
    return Source(name="uci_online_retail", relations=relations)


def uci_choices(seeds: tuple[int, ...] = SEEDS) -> list[Choice]:
    """The number of segments that each seed chooses for UCI."""
    with open_warehouse("duckdb://", "uci_online_retail", {"dir": str(UCI)}) as warehouse:
        return [train(warehouse, BEHAVIOUR, now=NOW, seed=seed).choice for seed in seeds]


def retrained(first: str, later: str) -> Kept:
    """UCI trained before one day and retrained before a later one."""
    with open_warehouse("duckdb://", uci_until(first)) as warehouse:
        before = train(warehouse, BEHAVIOUR, now=NOW)
        old: Customers = warehouse.facts()
    model = Model(before.artifact, before.model_id)
    with open_warehouse("duckdb://", uci_until(later)) as warehouse:
        after = train(warehouse, BEHAVIOUR, now=NOW + 1, previous=model)
        known = warehouse.facts()
    new = dict(zip(known.user_ids, known.facts, strict=True))
    pairs = ((f, msgspec.structs.replace(new[u], today=f.today)) for u, f in zip(old.user_ids, old.facts, strict=True))
    same = [f for f, now in pairs if now == f and f.orders]  # a later day alone is no change of hers
    here, there = model.assign_many(same), Model(after.artifact, after.model_id).assign_many(same)
    stayed = sum(a == b for a, b in zip(here, there, strict=True))
    return Kept(customers=len(same), share=stayed / len(same), publishable=after.publishable)


def invent(path: Path, seed: int) -> Shop:
    """The sandbox's shop, with its planted personas, in a DuckDB file."""
    made = Shop(seed, 1500, 365, NOW)
    shop_warehouse.create(path, made.catalogue)
    shop_warehouse.append(path, made.history)
    return made


def shop_training(path: Path, threads: int = 2) -> Training:
    """A training on it."""
    with open_warehouse(f"duckdb:///{path}?threads={threads}", "thelook") as warehouse:
        return train(warehouse, BEHAVIOUR, now=NOW)


def recovered(made: Shop, path: Path) -> tuple[Training, float]:
    """A training on the shop, and how far its segments are the planted personas (adjusted Rand index)."""
    training = shop_training(path)
    with open_warehouse(f"duckdb:///{path}", "thelook") as warehouse:
        known = warehouse.facts()
    segments = Model(training.artifact, training.model_id).assign_many(known.facts)
    found = [
        (made.persona(int(user)).name, segment)
        for user, segment in zip(known.user_ids, segments, strict=True)
        if segment != PROSPECT
    ]
    return training, float(adjusted_rand_score(*zip(*found, strict=True)))


@contextmanager
def shuffled_columns(seed: int = 9) -> Iterator[None]:
    """Trainings in here see every column of the customers shuffled for itself."""
    real = population.read

    def read(*given: Any) -> Customers:
        known = real(*given)
        return Customers(known.user_ids, shuffled(known.facts, seed))

    with patch.object(population, "read", read):
        yield


def flapped(source: str, directory: Path) -> tuple[Training, flapping.Estimate]:
    """A training on a real shop, and its hysteresis on the shop's whole history."""
    with open_warehouse("duckdb://", source, {"dir": str(directory)}) as warehouse:
        training = train(warehouse, BEHAVIOUR, now=NOW)
        model = Model(training.artifact, training.model_id)
        replayed = flapping.replay(warehouse, model, 10**9)
    chosen = replayed.fold(model.hysteresis, model.artifact.holds)
    return training, flapping.Estimate(none=replayed.fold(0.0, "every"), chosen=chosen, reason="")


def measure(directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Every promise: a row for people, and verdicts."""
    rows: list[dict[str, str]] = []
    held: list[Verdict] = []
    failures: list[str] = []

    def told(data: str, what: str, measured: str, *verdicts: Verdict) -> None:
        say(f"model: {data}, {what}: {measured}")
        rows.append({"data": data, "what": what, "measured": measured})
        held.extend(verdicts)

    _planted(directory, told)
    if UCI.is_dir():
        _real(told)
    else:
        failures.append(f"UCI Online Retail is not at {UCI}")
    if THELOOK.is_dir():
        _without_structure(told)
    else:
        failures.append(f"theLook's data is not at {THELOOK}")
    verdicts = [verdict.document() for verdict in held]
    return {"part": "model", "rows": rows, "verdicts": verdicts, "failures": failures}


Told = Callable[..., None]


def _planted(directory: Path, told: Told) -> None:
    for seed in (1, 5, 444):
        path = directory / f"shop-{seed}.duckdb"
        training, alike = recovered(invent(path, seed), path)
        told(
            f"the sandbox's shop, seed {seed}", "segments beside the planted personas",
            f"{training.choice.k} segments, adjusted Rand index {alike:.3f}",
            Verdict.at_least(f"adjusted Rand index with the planted personas, seed {seed}", alike, ALIKE),
        )  # fmt: skip
    ids = {shop_training(path, threads).model_id for threads in (1, 2)} | {training.model_id}
    told(
        "the sandbox's shop", "trained three times, on one thread and on two", f"{len(ids)} model id",
        Verdict.at_most("different models from the same data", len(ids), 1),
    )  # fmt: skip
    with shuffled_columns():
        choice = shop_training(path).choice
    _nothing("the sandbox's shop, columns shuffled", choice, told)


def _real(told: Told) -> None:
    found = uci_choices()
    told(
        "UCI Online Retail", f"number of segments by seed {', '.join(map(str, SEEDS))}",
        ", ".join(f"{choice.k}{'' if choice.stable else ' (no stable structure)'}" for choice in found),
        Verdict.at_most("different numbers of segments over five seeds, UCI", len({c.k for c in found}), 1),
        Verdict.at_least("seeds with a stable structure, UCI", sum(bool(c.stable) for c in found), len(SEEDS)),
    )  # fmt: skip
    for first, later in SNAPSHOTS:
        kept = retrained(first, later)
        told(
            "UCI Online Retail", f"trained before {first}, retrained before {later}",
            f"{kept.share:.2%} of {kept.customers:,} unchanged customers keep their segment",
            Verdict.at_least(f"unchanged customers who keep their segment, UCI, {later}", kept.share, KEPT),
        )  # fmt: skip
    with shuffled_columns():
        choice = uci_choices(SEEDS[:1])[0]
    _nothing("UCI Online Retail, columns shuffled", choice, told)
    _calm("UCI Online Retail", flapped("uci_online_retail", UCI)[1], told)


def _without_structure(told: Told) -> None:
    training, found = flapped("thelook_parquet", THELOOK)
    _nothing("theLook", training.choice, told)
    _calm("theLook", found, told)


def _nothing(data: str, choice: Choice, told: Told) -> None:
    evidence = choice.reason.split("; the configured")[0].split(" (agreement by number")[0]
    told(
        data, "whether there is anything to segment", evidence,
        Verdict.at_most(f"stable structure found (0: none), {data}", int(bool(choice.stable)), 0),
    )  # fmt: skip


def _calm(data: str, found: flapping.Estimate, told: Told) -> None:
    chosen, none = found.chosen, found.none
    told(
        data, f"A-B-A within five events, hysteresis {chosen.hysteresis:.3f} ({chosen.holds})",
        f"{none.returns:,} returns in {none.events:,} events without; {flapping.told(chosen, none)} "
        f"({chosen.held / chosen.segmented:.2%} of those with orders)",
        Verdict.at_least(f"share of the returns that end, {data}", chosen.fall(none) or 0.0, flapping.FALL),
        Verdict.at_most(f"customers held, {data}", chosen.held_share, flapping.STALE),
        Verdict.at_most(f"moments held, {data}", chosen.held_events_share, flapping.STALE),
    )  # fmt: skip
