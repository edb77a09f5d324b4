"""The models are told, compared on today's customers, and switched by who may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import redis
from fastapi.testclient import TestClient

from schemas.registry import Registry
from schemas.settings import Settings
from tests.schemas.models import model as small
from tests.schemas.models import sealed
from tests.segment_api.conftest import customer, put, serving
from tests.segment_api.test_similar import rows
from tests.waiting import wait_for


@pytest.fixture
def two(settings: Settings, registry: Registry) -> Iterator[TestClient]:
    second, data = sealed(shift=0.6)
    registry.publish(second, data, at=2, by="ann", reason="drift")
    people = rows(small(), 300)
    put(settings, *(customer(r.user_id, segment=r.segment, features=dict(r.features)) for r in people))
    with serving(settings) as asked:
        wait_for(lambda: asked.get(f"/v1/users/{people[0].user_id}/similar").status_code == 200, "everyone is read")
        yield asked


def test_versions_and_their_log_are_told(two: TestClient) -> None:
    first, second = small().id, small(shift=0.6).id
    body = two.get("/v1/models").json()
    assert body["active"] == second
    assert [(v["model_id"], v["active"], v["segments"]) for v in body["versions"]] == [
        (second, True, 3),
        (first, False, 3),
    ]
    assert (body["log"][0]["by"], body["log"][0]["reason"], body["log"][0]["before"]) == ("ann", "drift", first)
    one = two.get(f"/v1/models/{first}")
    assert one.json()["features"] == [c.feature for c in small().spec.columns]
    assert "max-age" in one.headers["cache-control"]
    assert two.get("/v1/models/m-00").status_code == 404


def test_a_diff_counts_todays_customers_by_both_models(two: TestClient) -> None:
    one, other = small(), small(shift=0.6)
    found = two.get(f"/v1/models/{one.id}/diff?to={other.id}").json()
    people = rows(one, 300)
    truth = Counter((one.assign_features([r.features])[0], other.assign_features([r.features])[0]) for r in people)
    told = {
        (a, b): n
        for a, row in zip(found["rows"], found["matrix"], strict=True)
        for b, n in zip(found["columns"], row, strict=True)
        if n
    }
    assert told == truth
    assert found["moved"] == sum(n for (a, b), n in truth.items() if a != b) > 0
    assert found["customers"] == len(people)


def test_a_switch_is_taken_over_and_logged(two: TestClient, settings: Settings) -> None:
    first, second = small().id, small(shift=0.6).id
    done = two.post("/v1/models/rollback", json={"reason": "worse"}).json()
    assert done == {"model_id": first, "before": second, "announced": False}
    wait_for(lambda: two.get("/v1/models/active").json()["model_id"] == first, "the API uses it too")
    assert two.post(f"/v1/models/{second}/activate", json={}).json()["model_id"] == second
    log = Registry(redis.Redis.from_url(settings.redis)).history()
    assert [(e.action, e.by, e.reason) for e in log[:2]] == [
        ("activated", "local", ""),
        ("rolled-back", "local", "worse"),
    ]
    assert two.post("/v1/models/m-00/activate", json={}).status_code == 404


def test_a_broken_version_is_not_made_active(two: TestClient, registry: Registry) -> None:
    active = registry.active()
    registry.publish("m-0bad", b"no artifact", at=3, by="test")
    assert active is not None
    registry.activate(active, at=4, by="test")
    assert "not signed" in two.post("/v1/models/m-0bad/activate", json={}).json()["detail"]
    assert registry.active() == active
    assert "not signed" in {v["model_id"]: v["problem"] for v in two.get("/v1/models").json()["versions"]}["m-0bad"]


def test_trouble_is_told_in_words(two: TestClient) -> None:
    wait_for(lambda: "Kafka" in " ".join(two.get("/v1/system").json()["troubles"]), "no Kafka here")
    assert two.get("/v1/system").json()["customers_indexed"] == len(rows(small(), 300))
