"""What services are told equals what the stream has decided."""

from __future__ import annotations

import httpx
import redis
from fastapi.testclient import TestClient

from sandbox.redis import Redis
from schemas.events import MAX_ID
from schemas.features import Facts
from schemas.membership import Membership, sizes_key
from schemas.registry import Registry
from schemas.settings import Settings
from tests.schemas.models import model, sealed
from tests.segment_api.conftest import customer, put
from tests.waiting import wait_for


def problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    return str(response.json()["detail"])


def test_a_customer_is_told_as_projected(api: TestClient, settings: Settings) -> None:
    row = customer()
    put(settings, row)
    body = api.get("/v1/users/4711").json()
    assert body.pop("freshness_seconds") == 1.5
    assert body == {
        name: getattr(row, name) for name in row.__struct_fields__ if name not in ("revision", "left", "left_for")
    }


def test_a_prospect_has_a_likely_segment_where_the_model_speaks(api: TestClient, settings: Settings) -> None:
    row = Membership(
        user_id="4712", segment="prospect", name="Prospects", nearest="prospect", margin=0.0, model_id="m-1", sequence=1, revision=1,
        event_time="2026-01-01T00:00:00Z", projected_at="2026-01-01T00:00:08.5Z", features={"country": "FR"},
        likely_segment="s2", likely_name="Segment 2", likely_probability=0.64,
    )  # fmt: skip
    put(settings, row)
    body = api.get("/v1/users/4712").json()
    assert (body["likely_segment"], body["likely_name"], body["likely_probability"]) == ("s2", "Segment 2", 0.64)


def test_a_customer_who_has_not_changed_is_not_sent_again(api: TestClient, settings: Settings) -> None:
    put(settings, customer())
    tag = api.get("/v1/users/4711").headers["etag"]
    assert api.get("/v1/users/4711", headers={"If-None-Match": tag}).status_code == 304
    put(settings, customer(revision=10))
    assert api.get("/v1/users/4711", headers={"If-None-Match": tag}).status_code == 200


def test_many_customers_are_told_in_one_call_and_unknown_ones_named(api: TestClient, settings: Settings) -> None:
    put(settings, *(customer(str(n), sequence=n) for n in range(490)))
    asked = [str(n) for n in range(500)]
    body = api.post("/v1/users/batch", json={"user_ids": asked[::-1]}).json()
    assert body["unknown"] == [str(n) for n in range(499, 489, -1)]
    assert body["users"] == [api.get(f"/v1/users/{n}").json() for n in range(489, -1, -1)]
    assert "500" in problem(api.post("/v1/users/batch", json={"user_ids": [*asked, "more"]}), 422)


def test_an_unknown_customer_is_a_problem_that_says_why(api: TestClient) -> None:
    assert "no event of hers" in problem(api.get("/v1/users/nobody"), 404)


def test_an_id_that_is_too_long_is_refused_with_the_rule(api: TestClient, settings: Settings) -> None:
    put(settings, customer("9" * MAX_ID))
    assert api.get(f"/v1/users/{'9' * MAX_ID}").json()["user_id"] == "9" * MAX_ID
    assert f"at most {MAX_ID} characters" in problem(api.get(f"/v1/users/{'9' * (MAX_ID + 1)}"), 422)


def test_what_if_by_facts_is_the_models_own_answer(api: TestClient) -> None:
    body = api.post("/v1/what-if", json={"facts": {"orders": 4, "spend": 812.4, "categories": 3}}).json()
    known = Facts(placed_orders=4, orders=4, spend=81240, categories=3)
    segment, _, margin, _ = model().assign(known, None)
    assert (body["segment"], body["margin"]) == (segment, margin)
    assert min(body["distances"], key=body["distances"].get) == segment


def test_what_if_by_orders_counts_like_the_stream(api: TestClient) -> None:
    orders = [{"products": [{"category": "Jeans", "price": 10.5, "quantity": 2}]}, {"total": 5}]
    body = api.post("/v1/what-if", json={"age": 30, "orders": orders}).json()
    known = Facts(placed_orders=2, orders=2, items=1, spend=2600, categories=1, age=30, category="Jeans")
    assert body["segment"] == model().assign(known, None)[0]
    assert body["features"]["gross_spend"] == 26.0
    assert api.post("/v1/what-if", json={}).json()["segment"] == "prospect"


def test_a_mistyped_field_is_named(api: TestClient) -> None:
    assert "ordres" in problem(api.post("/v1/what-if", json={"ordres": []}), 422)


def test_segments_have_their_live_sizes(api: TestClient, settings: Settings) -> None:
    redis.Redis.from_url(settings.redis).hset(sizes_key(settings.prefix), mapping={"s1": 5, "prospect": 2})
    body = api.get("/v1/segments").json()
    assert {s["id"]: s["customers"] for s in body["segments"]} == {"s1": 5, "s2": 0, "s3": 0, "prospect": 2}


def test_a_published_model_is_used_and_a_refused_one_is_not(api: TestClient, registry: Registry) -> None:
    second, data = sealed(shift=0.5)
    registry.publish(second, data, at=2, by="test")
    wait_for(lambda: api.get("/v1/models/active").json()["model_id"] == second, "the new model is used")
    registry.publish("m-bad", b"no artifact", at=3, by="test")
    wait_for(lambda: "not signed" in api.get("/v1/models/active").json()["refused"], "the refusal shows")
    assert api.get("/v1/models/active").json()["model_id"] == second
    assert "not signed" in api.get("/ready").json()["degraded"][0]


def test_without_redis_it_says_so_and_comes_back(api: TestClient, own_redis: Redis) -> None:
    own_redis.kill()
    assert "Redis does not answer" in problem(api.get("/v1/users/1"), 503)
    assert "redis does not answer" in api.get("/ready").json()["reasons"][0]
    assert api.post("/v1/what-if", json={}).status_code == 200, "the model is kept"
    own_redis.start()
    wait_for(lambda: api.get("/ready").status_code == 200, "ready again")


def test_metrics_name_routes_and_no_customer(api: TestClient) -> None:
    api.get("/v1/users/secret-id")
    text = api.get("/metrics").text
    assert 'route="/v1/users/{user_id}"' in text
    assert "secret-id" not in text
