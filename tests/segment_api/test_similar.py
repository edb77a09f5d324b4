"""Neighbours are exact, and fresh."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
import redis.asyncio
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from sandbox.redis import Redis
from schemas.artifact import PROSPECT
from schemas.features import ARTICLE, BEHAVIOUR, Facts, FeatureSpec, facts, raw
from schemas.membership import FIELDS, erased_key, sizes_key, to_values, touched_key, user_key
from schemas.model import Model
from schemas.registry import Registry
from schemas.settings import Settings
from segment_api.forest import Forest
from segment_api.index import Index, Row
from stream_app.picture import _PROJECT
from tests.schemas.models import model as small
from tests.segment_api.conftest import customer, put, serving
from tests.segment_api.shop import histories, profile
from tests.waiting import wait_for


def rows(model: Model, count: int) -> list[Row]:
    found = []
    for user_id, events in list(histories().items())[:count]:
        known = facts(profile(events))
        if known.orders:
            found.append(Row(user_id, model.assign(known, None)[0], raw(model.feature_names, known)))
    return found


def brute(model: Model, people: list[Row], known: Facts, k: int, by: str, but: str) -> list[str]:
    """Plain Python, one customer after the other, by the model's scalar projection of her own facts."""
    place = model.project(known)
    seen = []
    for row in people:
        z = model.project(facts(profile(histories()[row.user_id])))
        if by == "euclidean":
            total = 0.0
            for a, b in zip(z, place, strict=True):
                total += (a - b) * (a - b)
            seen.append((total, row.user_id))
        else:
            dot = z[0] * place[0] + z[1] * place[1]
            length = math.sqrt(z[0] * z[0] + z[1] * z[1]) * math.sqrt(place[0] * place[0] + place[1] * place[1])
            seen.append((-dot / length, row.user_id))
    return [user_id for _, user_id in sorted(seen) if user_id != but][:k]


@pytest.mark.parametrize("spec", [BEHAVIOUR, ARTICLE], ids=["behaviour", "article"])
@pytest.mark.parametrize("by", ["euclidean", "cosine"])
def test_the_nearest_are_those_of_plain_python_to_the_last_tie(spec: FeatureSpec, by: Any) -> None:
    model = small(spec)
    people = rows(model, 700)
    random.Random(1).shuffle(people)
    index = Index(model)
    for start in range(0, len(people), 100):
        index.put(people[start : start + 100])
    for row in people[:40]:
        known = facts(profile(histories()[row.user_id]))
        found = index.similar(model.project(known), 5, by, but=row.user_id)
        assert [n.user_id for n in found] == brute(model, people, known, 5, by, row.user_id)


@cache
def some() -> tuple[Model, list[Row]]:
    return small(), rows(small(), 150)


@tried(max_examples=20, deadline=None)
@given(st.data())
def test_trees_find_whom_a_look_at_everyone_finds_while_customers_come_move_and_go(data: st.DataObject) -> None:
    model, people = some()
    dice = random.Random(data.draw(st.integers(0, 2**32)))
    plain = Index(model)
    trees = Index(model, trees_from=data.draw(st.integers(0, 60)), forest=Forest(block=20, moved=4))
    for _ in range(data.draw(st.integers(1, 25))):
        moving = [dice.choice(people) for _ in range(dice.randrange(1, 30))]
        changed = [
            Row(f"p{dice.randrange(150)}", PROSPECT if dice.random() < 0.15 else row.segment, row.features)
            for row in moving
        ]
        plain.put(changed)
        trees.put(changed)
        place = model.project_features([dice.choice(people).features])[0].tolist()
        k, but = dice.randrange(1, 12), f"p{dice.randrange(150)}"
        assert trees.similar(place, k, but=but) == plain.similar(place, k, but=but)


def test_places_from_features_are_those_from_facts_bit_for_bit() -> None:
    for spec in (BEHAVIOUR, ARTICLE):
        model = small(spec)
        people = [facts(profile(events)) for events in list(histories().values())[:400]]
        features = [msgspec.json.decode(msgspec.json.encode(raw(model.feature_names, known))) for known in people]
        assert np.array_equal(model.project_features(features), model.project_many(people))


def test_the_index_after_many_changes_is_one_of_the_latest_rows() -> None:
    model, dice = small(), random.Random(5)
    people = rows(model, 300)
    index, latest = Index(model), dict[str, Row]()
    for _ in range(3000):
        row = dice.choice(people)
        row = Row(dice.choice(people).user_id, PROSPECT if dice.random() < 0.2 else row.segment, row.features)
        index.put([row])
        latest[row.user_id] = row
    fresh = Index(model)
    fresh.put([row for row in latest.values() if row.segment != PROSPECT])
    assert len(index) == len(fresh)
    for row in people[:50]:
        place = model.project_features([row.features])[0].tolist()
        assert index.similar(place, 7) == fresh.similar(place, 7)
    assert {s.id: index.members(s.id, "", 999) for s in model.segments} == {
        s.id: fresh.members(s.id, "", 999) for s in model.segments
    }


@pytest.fixture
def crowd(settings: Settings, registry: Registry) -> Iterator[TestClient]:
    people = rows(small(), 400)
    put(settings, *(customer(r.user_id, segment=r.segment, features=dict(r.features)) for r in people))
    with serving(settings) as asked:
        wait_for(lambda: asked.get(f"/v1/users/{people[0].user_id}/similar").status_code == 200, "everyone is read")
        yield asked


def write(settings: Settings, row: Row, revision: int) -> None:
    """As the worker's projection writes."""
    made = customer(row.user_id, segment=row.segment, features=dict(row.features), sequence=99, revision=revision)
    encode = msgspec.msgpack.encode
    client = redis.Redis.from_url(settings.redis)
    client.register_script(_PROJECT)(
        keys=[sizes_key(settings.prefix), touched_key(settings.prefix), erased_key(settings.prefix, "")],
        args=[user_key(settings.prefix, ""), encode(FIELDS), encode([[row.user_id, *to_values(made)]])],
    )


def test_who_has_just_ordered_is_found_at_her_new_place(crowd: TestClient, settings: Settings) -> None:
    model = small()
    known = Facts(placed_orders=500, orders=500, items=500, spend=99_999_900, categories=20)
    far = Row("newcomer", "s3", raw(model.feature_names, known))
    write(settings, far, 1)
    write(settings, Row("twin", "s3", far.features), 1)
    wait_for(
        lambda: crowd.get("/v1/users/newcomer/similar").json()["similar"][0]["user_id"] == "twin", "the twin is found"
    )
    body = crowd.get("/v1/users/newcomer/similar?k=1").json()
    assert body["similar"][0] == {
        "user_id": "twin",
        "segment": "s3",
        "name": "Segment 3",
        "distance": 0.0,
        "cosine": None,
    }
    write(settings, Row("twin", PROSPECT, raw(model.feature_names, Facts())), 2)
    wait_for(lambda: crowd.get("/v1/users/newcomer/similar").json()["similar"][0]["user_id"] != "twin", "she is gone")


def test_a_redis_that_lost_everything_is_read_anew(crowd: TestClient, settings: Settings, registry: Registry) -> None:
    people = rows(small(), 400)
    before = crowd.get(f"/v1/users/{people[0].user_id}/similar").json()["customers"]
    write(settings, people[0], 3)
    client = redis.Redis.from_url(settings.redis)
    for key in client.scan_iter(f"{settings.prefix}user:*"):
        client.delete(key)
    client.delete(touched_key(settings.prefix))
    for row in people[:3]:
        write(settings, row, 4)
    wait_for(
        lambda: crowd.get(f"/v1/users/{people[0].user_id}/similar").json().get("customers") == 3, "only three are left"
    )
    assert before > 3


def test_the_articles_cosine_is_offered(crowd: TestClient) -> None:
    one = rows(small(), 400)[0].user_id
    body = crowd.get(f"/v1/users/{one}/similar?by=cosine&k=3").json()
    assert all(-1.0 <= n["cosine"] <= 1.0 + 1e-12 for n in body["similar"])
    assert len(body["similar"]) == 3
    assert crowd.get(f"/v1/users/{one}/similar?k=0").status_code == 422


def test_while_everyone_is_still_read_it_says_so(settings: Settings, own_redis: Redis) -> None:
    assert asyncio.run(_too_early(settings)).startswith("The customers are still being read")


async def _too_early(settings: Settings) -> str:
    from segment_api.mirror import Mirror
    from segment_api.problems import Problem
    from segment_api.services import Services

    idle = Mirror(redis.Redis.from_url(settings.redis), settings.prefix, lambda: None)
    watch = SimpleNamespace(state=SimpleNamespace(model=small()))
    services = Services(settings, redis.asyncio.Redis.from_url(settings.redis), watch, idle, *[None] * 7, lambda: 0)  # type: ignore[arg-type]
    with pytest.raises(Problem) as told:
        services.index()
    return told.value.detail
