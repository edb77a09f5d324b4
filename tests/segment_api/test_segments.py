"""Segments are told with who is in them."""

from __future__ import annotations

import csv
import html
import io
import math
import statistics
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from schemas.artifact import PROSPECT
from schemas.settings import Settings
from segment_api.index import Row
from segment_api.spending import Spending
from tests.schemas.models import model as small
from tests.segment_api.conftest import customer, put
from tests.segment_api.test_similar import crowd, rows
from tests.waiting import wait_for

__all__ = ["crowd"]


def test_the_pages_of_a_segment_are_its_customers_each_once(crowd: TestClient) -> None:
    people = rows(small(), 400)
    for segment in small().segments:
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = crowd.get(f"/v1/segments/{segment.id}/members", params={"after": after, "limit": 7}).json()
            seen += [member["user_id"] for member in page["members"]]
            after = page["next"]
        assert seen == sorted(row.user_id for row in people if row.segment == segment.id)


def test_a_segment_as_a_file_is_its_customers_each_once(crowd: TestClient, settings: Settings) -> None:
    people = rows(small(), 400)
    for segment in small().segments:
        answer = crowd.get(f"/v1/segments/{segment.id}/members.csv")
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == f'attachment; filename="{segment.id}.csv"'
        table = list(csv.DictReader(io.StringIO(answer.text)))
        here = {row.user_id: row for row in people if row.segment == segment.id}
        assert [line["user_id"] for line in table] == sorted(here)
        for line in table:
            assert float(line["gross_spend"]) == here[line["user_id"]].features["gross_spend"]
    assert crowd.get("/v1/segments/s77/members.csv").status_code == 404


def test_what_people_write_of_a_segment_stays_with_it(crowd: TestClient) -> None:
    words = "Order monthly <b>and</b> return little."
    assert crowd.put("/v1/segments/s1/description", json={"description": f" {words} "}).json()["by"] == "local"
    told = {card["id"]: card["description"] for card in crowd.get("/v1/segments").json()["segments"]}
    assert {name for name, text in told.items() if text} == {"s1"}
    assert crowd.get("/v1/segments/s1").json()["description"] == words
    page = crowd.get("/segments/s1", headers={"Accept": "text/html"}).text
    assert html.escape(words) in page
    assert words not in page
    crowd.put("/v1/segments/s1/description", json={"description": ""})
    assert crowd.get("/v1/segments/s1").json()["description"] == ""
    assert crowd.put("/v1/segments/s77/description", json={"description": "x"}).status_code == 404
    assert crowd.put("/v1/segments/s1/description", json={"description": "x" * 501}).status_code == 422


def test_what_tells_a_segment_apart_is_told_as_a_plain_count_says(crowd: TestClient) -> None:
    people = rows(small(), 400)
    scale = {c.feature: math.log1p if c.transform == "log1p" else float for c in small().spec.numbers()}
    for segment in small().segments:
        here = [row.features for row in people if row.segment == segment.id]
        body = crowd.get(f"/v1/segments/{segment.id}").json()
        if not here:
            assert (body["typical"], body["live_spend"]) == ([], None)
            continue
        assert body["live_spend"] == pytest.approx(sum(f["gross_spend"] for f in here))
        for one in body["typical"]:
            name = one["feature"]
            scaled = scale.get(name, float)
            everyone = [scaled(row.features[name]) for row in people if row.features[name] is not None]
            own = [scaled(f[name]) for f in here if f[name] is not None]
            assert one["everyone"] == statistics.median(
                r.features[name] for r in people if r.features[name] is not None
            )
            shift = (statistics.fmean(own) - statistics.fmean(everyone)) / statistics.pstdev(everyone)
            assert one["shift"] == pytest.approx(shift)
        assert body["typical"] == sorted(body["typical"], key=lambda t: -abs(t["shift"]))


def test_spend_over_time_is_the_latest_count_of_each_step(tmp_path: Path) -> None:
    spending = Spending(tmp_path / "spending.sqlite", lambda: None, lambda: 0)
    for at in (*range(0, 11_100, 60), *range(11_100, 12_000, 10)):
        spending.note(at, {"s1": float(at), "s2": 1.0})
    hour = (*range(8_400, 11_100, 60), *range(11_150, 12_000, 60))
    assert spending.trend(12_000, "1h") == [(at, {"s1": float(at), "s2": 1.0}) for at in hour]
    assert [p.at for p in spending.trend(12_000, "15m")] == list(range(11_100, 12_000, 10))
    whole = {p.at for p in spending.trend(12_000, "24h")}
    assert max(whole) == 11_990
    assert len(whole) == 20


def test_the_live_medians_are_those_of_its_customers(crowd: TestClient) -> None:
    people: list[Row] = rows(small(), 400)
    for segment in small().segments:
        here = [row.features for row in people if row.segment == segment.id]
        body = crowd.get(f"/v1/segments/{segment.id}").json()
        assert body["customers"] == len(here)
        if here:
            assert body["live_medians"]["gross_spend"] == statistics.median(f["gross_spend"] for f in here)


def test_an_unknown_segment_names_those_there_are(api: TestClient) -> None:
    detail = api.get("/v1/segments/s9").json()["detail"]
    assert "s1, s2, s3, prospect" in detail


def test_prospects_are_listed_too(api: TestClient, settings: Settings) -> None:
    put(settings, *(customer(f"p{n}", segment=PROSPECT, nearest=PROSPECT) for n in range(3)))
    put(settings, customer("buyer"))
    wait_for(lambda: api.get("/v1/segments/prospect/members").status_code == 200, "everyone is read")
    wanted = ["p0", "p1", "p2"]
    wait_for(
        lambda: [m["user_id"] for m in api.get("/v1/segments/prospect/members").json()["members"]] in (wanted, []),
        "read",
    )
