"""The hysteresis that the trainer finds ends most of the going to and fro, holds few customers, and is what the stream will do."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from batch_trainer import flapping, history
from batch_trainer.flapping import FALL, STALE
from batch_trainer.recipes import RECIPES
from batch_trainer.trainer import train
from batch_trainer.warehouse import open_warehouse
from schemas.artifact import PROSPECT
from schemas.customer import Customer
from schemas.events import decode
from schemas.model import RETURN, Model
from stream_app.segmenter import Position, step
from tests.batch_trainer.shops import NOW, THELOOK, UCI, nasties, regulars
from tests.schemas.models import model


def streamed(events: list[history.Record], one: Model, hysteresis: float, holds: flapping.Holds) -> flapping.Flapping:
    """The same counts, by the stream's own step."""
    artifact = msgspec.structs.replace(one.artifact, hysteresis=hysteresis, holds=holds)
    used = Model(artifact, "m")
    customers: dict[bytes, Customer] = {}
    moves: dict[bytes, list[tuple[int, str, str]]] = {}
    seen: dict[bytes, int] = {}
    held_events = 0
    for offset, (_, key, value, _) in enumerate(events):
        customer = customers.setdefault(key, Customer())
        seen[key] = seen.get(key, 0) + 1
        for change in step(customer, decode(key, value), Position(0, "orders", 0, offset), used, "").changes:
            moves.setdefault(key, []).append((seen[key], change.from_segment or PROSPECT, change.to_segment))
        held_events += customer.segment != customer.nearest
    returns = sum(
        a[1] == b[2] and PROSPECT not in (a[1], a[2], b[2]) and b[0] - a[0] <= RETURN
        for own in moves.values()
        for a, b in pairwise(own)
    )
    return flapping.Flapping(
        hysteresis=hysteresis,
        holds=holds,
        returns=returns,
        changes=sum(PROSPECT not in move for own in moves.values() for move in own),
        customers=len(customers),
        segmented=sum(c.segment != PROSPECT for c in customers.values()),
        held=sum(c.segment != c.nearest for c in customers.values()),
        events=len(events),
        held_events=held_events,
    )


@pytest.mark.parametrize("nasty", [False, True], ids=["regulars", "nasties"])
def test_the_replay_is_what_the_stream_does(nasty: bool, tmp_path: Path) -> None:
    one = model()
    with open_warehouse(*(nasties() if nasty else regulars(80)).write(tmp_path)) as warehouse:
        events = list(history.events(warehouse))
        replayed = flapping.replay(warehouse, one)
    for holds in ("every", "returns"):
        for hysteresis in (0.0, 0.1, 0.4, 1.5):
            assert replayed.fold(hysteresis, holds) == streamed(events, one, hysteresis, holds)


def test_a_sample_is_replayed_and_is_the_same_each_time(tmp_path: Path) -> None:
    with open_warehouse(*regulars(200).write(tmp_path)) as warehouse:
        few = [flapping.replay(warehouse, model(), 50) for _ in range(2)]
        assert len(few[0].tracks) == 50
        assert sorted(map(str, few[0].tracks)) == sorted(map(str, few[1].tracks))
        assert flapping.estimate(few[0]) == flapping.estimate(few[1])


def test_a_hysteresis_that_is_given_is_kept_and_judged(tmp_path: Path) -> None:
    with open_warehouse(*regulars(200).write(tmp_path)) as warehouse:
        for given in (0.0, 0.25):
            training = train(warehouse, RECIPES["behaviour"], now=NOW, k=4, hysteresis=given)
            assert training.artifact.hysteresis == given == training.report["hysteresis"]["value"]
            assert training.report["hysteresis"]["with"]["customers"] == 200


@pytest.mark.parametrize(
    ("source", "directory", "k"),
    [("thelook_parquet", THELOOK, 5), ("uci_online_retail", UCI, 6)],
    ids=["theLook", "UCI"],
)
def test_on_real_shops_most_returns_end_and_few_are_held(source: str, directory: Path, k: int) -> None:
    if not directory.is_dir():
        pytest.skip(f"the data set {directory.name} is not on this machine")
    with open_warehouse("duckdb://", source, {"dir": str(directory)}) as warehouse:
        training = train(warehouse, RECIPES["behaviour"], now=NOW, k=k, fit_on=5_000)
    found = training.report["hysteresis"]
    assert found["reached"] is True, found["reason"]
    assert found["returns_fall"] >= FALL
    assert max(found["held_share"], found["held_events_share"]) <= STALE
    assert found["without"]["returns"] > 400, "or this test shows nothing"
    assert training.artifact.hysteresis == found["value"] > 0.0
    assert training.artifact.holds == found["holds"]
