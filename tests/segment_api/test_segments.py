"""Segments are told with who is in them."""

from __future__ import annotations

import statistics

from fastapi.testclient import TestClient

from schemas.model import PROSPECT
from schemas.settings import Settings
from segment_api.index import Row
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
