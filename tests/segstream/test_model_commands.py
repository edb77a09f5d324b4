"""Models are renamed and compared from the command line; a new name is a new version, taken over by compare-and-set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_trainer.engine import Engine
from batch_trainer.migration import migration
from batch_trainer.warehouse import open_warehouse
from sandbox.redis import Redis
from schemas.registry import Registry
from segstream.comparison import compare
from tests.batch_trainer.shops import regulars
from tests.schemas.models import SIGNER, model, sealed
from tests.segstream.test_commands import run


@pytest.fixture
def env(own_redis: Redis, tmp_path: Path) -> dict[str, str]:
    return {
        "SEGSTREAM_REDIS": own_redis.url,
        "SEGSTREAM_KAFKA": "127.0.0.1:1",
        "SEGSTREAM_HOME": str(tmp_path / "home"),
        "SEGSTREAM_SIGNING_KEY": SIGNER.to_text(),
    }


def registry(env: dict[str, str]) -> Registry:
    import redis

    return Registry(redis.Redis.from_url(env["SEGSTREAM_REDIS"]))


def ask(env: dict[str, str], *arguments: str) -> tuple[int, Any]:
    code, out, err = run(*arguments, "--json", environment=env)
    assert out.count("\n") == 1, err
    return code, json.loads(out)


def test_a_redis_that_lost_everything_gets_its_model_back_from_a_worker(env: dict[str, str], tmp_path: Path) -> None:
    model_id, data = sealed()
    code, refused = ask(env, "models", "restore")
    assert code == 2
    assert "last-good.model cannot be read" in refused["error"]["message"]
    kept = tmp_path / "home" / "last-good.model"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(data[:-1] + b"x")
    assert ask(env, "models", "restore")[0] == 1, "nobody trusts it"
    kept.write_bytes(data)
    assert ask(env, "models", "restore", "--reason", "after the fire") == (0, {"model_id": model_id, "file": str(kept)})
    assert registry(env).active() == model_id
    assert registry(env).load(model_id) == data
    assert "after the fire" in registry(env).history()[0].reason
    code, refused = ask(env, "models", "restore")
    assert code == 1
    assert f"{model_id} is active" in refused["error"]["message"]


def test_a_renamed_segment_is_a_new_active_version(env: dict[str, str]) -> None:
    assert ask(env, "models", "rename", "s1", "Best")[0] == 1, "no model is there to be renamed"
    models = registry(env)
    model_id, data = sealed()
    models.publish(model_id, data, at=1, by="me")
    code, done = ask(env, "models", "rename", "s1", "Best customers", "--reason", "as marketing calls them")
    assert code == 0
    assert models.active() == done["model_id"] != model_id == done["before"]
    code, shown = ask(env, "models", "show")
    assert shown["parent"] == model_id
    assert [s["name"] for s in shown["segments"]] == ["Best customers", "Segment 2", "Segment 3"]
    assert "as marketing calls them" in models.history()[0].reason
    code, refused = ask(env, "models", "rename", "s2", "best customers")
    assert code == 2
    assert "s1 has the name" in refused["error"]["message"]
    assert ask(env, "models", "rollback")[1]["model_id"] == model_id


def test_two_models_are_compared_on_golden_customers_and_on_a_warehouse(env: dict[str, str], tmp_path: Path) -> None:
    models = registry(env)
    (first, data), (second, other) = sealed(), sealed(shift=0.5)
    models.publish(first, data, at=1, by="me")
    models.publish(second, other, at=2, by="me")
    code, found = ask(env, "models", "diff", first, "--picture", str(tmp_path / "moves.svg"))
    assert code == 0
    assert (found["before"], found["after"]) == (first, second), "the later one is by default the active one"
    assert sum(map(sum, found["matrix"])) == found["customers"] == 1
    assert (found["sample"], found["measured_on"]) == (False, "all 1 golden customers of both models")
    drawn = (tmp_path / "moves.svg").read_text()
    assert drawn.startswith("<svg")
    assert "golden customers of both models" in drawn
    url, source = regulars(200).write(tmp_path / "shop")
    where = ["--source", str(source), "--warehouse", url]
    code, found = ask(env, "models", "diff", first, second, *where)
    assert found["customers"] == 200
    assert found["moved"] == found["customers"] - sum(
        row[found["segments"]["after"].index(name)]
        for name, row in zip(found["segments"]["before"], found["matrix"], strict=True)
    )
    assert found["moved_share"] == found["moved"] / 200
    assert (found["sample"], found["measured_on"]) == (False, "all 200 customers of the warehouse")
    assert ask(env, "models", "diff", first, first, *where)[1]["moved"] == 0
    _, out, _ = run("models", "diff", first, second, *where, "--customers", "50", environment=env)
    assert "would move" in out
    assert "a sample of 50 of 200 customers" in " ".join(out.split())
    assert ask(env, "models", "diff", "m-unknown", first)[0] == 1
    assert ask(env, "models", "diff", first, "--source", str(source))[0] == 2
    assert ask(env, "models", "diff", first, "--picture", str(tmp_path / "moves.gif"))[0] == 2


def test_all_customers_are_compared_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, source = regulars(200).write(tmp_path)
    before, after = model(), model(shift=0.5)
    with open_warehouse(url, source) as warehouse:
        expected = migration(before, after, warehouse.facts().facts)
    whole, read = Engine.batches, []

    def batches(self: Engine, rows: Any, size: int) -> Iterator[dict[str, list[Any]]]:
        for columns in whole(self, rows, min(size, 50)):
            read.append(len(next(iter(columns.values()))))
            yield columns

    monkeypatch.setattr(Engine, "batches", batches)
    few = [compare(before, after, str(source), url, {}, 60) for _ in range(2)]
    assert few[0].moves == few[1].moves, "the same sample each time"
    assert (few[0].sample, few[0].moves.customers, few[0].of) == (True, 60, 200)
    assert few[0].measured_on == "a sample of 60 of 200 customers of the warehouse, by hash"
    read.clear()
    found = compare(before, after, str(source), url, {}, 0)
    assert found.moves == expected
    assert read.count(50) == 4
    assert max(read) == 50, "never more than a batch"


def test_flapping_is_told_with_and_without_the_hysteresis(env: dict[str, str], tmp_path: Path) -> None:
    url, source = regulars(120).write(tmp_path / "shop")
    where = ("--source", str(source), "--warehouse", url)
    models = registry(env)
    model_id, data = sealed()
    models.publish(model_id, data, at=1, by="me")
    code, found = ask(env, "models", "flapping", *where, "--hysteresis", "0.4")
    assert code == (0 if found["reached"] else 1)
    assert found["model_id"] == model_id
    assert found["value"] == 0.4
    assert found["without"]["returns"] >= found["with"]["returns"]
    assert found["without"]["held"] == 0 < found["with"]["held"]
    assert found["with"]["customers"] == 120
    code, none = ask(env, "models", "flapping", *where, "--model", model_id, "--customers", "30")
    assert none["value"] == 0.0, "the model's own"
    assert none["without"] == none["with"]
    assert none["with"]["customers"] == 30
    assert code == (1 if none["without"]["returns"] else 0)
