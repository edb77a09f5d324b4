"""The pages show what the API tells, to whom it may, whatever a customer is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from schemas.registry import Registry
from schemas.settings import Settings
from segment_api.access import mint
from tests.schemas.models import model as small
from tests.segment_api.conftest import customer, put, serving
from tests.segment_api.test_similar import rows
from tests.waiting import wait_for

PAGES = (
    "/",
    "/map",
    "/segments",
    "/segments/s1",
    "/segments/prospect",
    "/customers",
    "/try",
    "/models",
    "/drift",
    "/system",
    "/docs",
)
NASTY = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "a/b?c=d#e",
    "ünï çødé",
    "{{ 7*7 }}",
    "%2e%2e/",
    "..",
)


@pytest.fixture
def pages(settings: Settings, registry: Registry) -> Iterator[TestClient]:
    people = rows(small(), 300)
    put(
        settings,
        *(customer(r.user_id, segment=r.segment, features=dict(r.features), model_id=small().id) for r in people),
    )
    put(settings, *(customer(name, segment="s1", features=dict(people[0].features)) for name in NASTY))
    with serving(settings) as asked:
        wait_for(lambda: asked.get("/map").status_code == 200, "everyone is read")
        yield asked


def html(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status, (path, answer.text[:300])
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def test_every_page_keeps_the_strict_policy(pages: TestClient) -> None:
    one = rows(small(), 300)[0].user_id
    for path in (*PAGES, f"/customers/{one}"):
        text = html(pages, path)
        assert not re.search(r"<[^>]+\s(style|on\w+)=", text), path
        assert "<style" not in text
        scripts = re.findall(r"<script([^>]*)>", text)
        assert all('src="/static/' in s or 'type="application/json"' in s for s in scripts), path
        assert not re.search(r'(src|href)="(https?:)?//', text), "nothing comes from elsewhere"
        assert text.count("<h1") == 1
        assert '<html lang="en">' in text


def test_a_customer_is_shown_whatever_her_id(pages: TestClient) -> None:
    for name in NASTY[:5]:
        text = html(pages, f"/customers/{quote(name, safe='')}")
        assert name in unescape(text)
        assert "<script>alert" not in text
        assert "<img" not in text
    assert "49" not in html(pages, f"/customers/{quote(NASTY[4], safe='')}").split("</h1>")[0]


def test_what_is_shown_is_what_the_api_tells(pages: TestClient) -> None:
    one = rows(small(), 300)[3].user_id
    told = pages.get(f"/v1/users/{one}/explain").json()
    text = unescape(html(pages, f"/customers/{one}"))
    assert told["summary"] in text
    for move in told["moves"]:
        assert move["words"][1:] in text
    for row in pages.get(f"/v1/users/{one}/similar").json()["similar"]:
        assert f'href="/customers/{row["user_id"]}"' in text
    overview = unescape(html(pages, "/"))
    for segment in pages.get("/v1/segments").json()["segments"]:
        assert segment["name"] in overview
        assert f"<b>{segment['customers']:,}</b>" in overview


def test_the_form_answers_as_the_endpoint(pages: TestClient) -> None:
    facts = {"orders": 6, "items": 6, "spend": 900.0, "categories": 3, "returned_orders": 1}
    told = pages.post("/v1/what-if", json={"facts": facts}).json()
    text = html(pages, "/try?orders=6&value=150&categories=3&returned=1")
    assert re.search(rf'/segments/{told["segment"]}"><b>{told["name"]}</b>', text)
    assert html(pages, "/try?orders=x&value=-3&categories=99999999999999999999")


def test_who_is_not_known_is_told_what_to_do(pages: TestClient) -> None:
    assert "has been seen yet" in html(pages, "/customers?id=nobody", 404)
    assert "no event of hers has been seen" in html(pages, "/customers/nobody", 404)
    assert pages.get("/customers?id=" + rows(small(), 300)[0].user_id, follow_redirects=False).status_code == 303
    assert "none of the active model" in html(pages, "/segments/s77", 404)


def test_a_place_on_the_map_leads_to_the_customer_nearest_to_it(pages: TestClient) -> None:
    one = rows(small(), 300)[5]
    x, y = small().project_features([one.features])[0][:2]
    found = pages.get(f"/map/nearest?x={x}&y={y}").json()
    there = {
        r.user_id for r in rows(small(), 300) if tuple(small().project_features([r.features])[0][:2]) == (x, y)
    } | set(NASTY)
    assert found["user_id"] in there


def test_a_browser_signs_in_with_a_token_and_out_again(settings: Settings, registry: Registry) -> None:
    token, entry = mint("ann", ["read"])
    weak, other = mint("form", ["what-if"])
    locked = settings.model_copy(update={"api_tokens": SecretStr(f"{entry},{other}")})
    with serving(locked) as client:
        page = {"Accept": "text/html"}
        sent = client.get("/segments", headers=page, follow_redirects=False)
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/segments")
        for wrong in ("nonsense", weak):
            assert client.post("/login", data={"token": wrong, "next": "/"}).status_code == 401
        entered = client.post("/login", data={"token": token, "next": "/segments"}, follow_redirects=False)
        assert entered.headers["location"] == "/segments"
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert token.lower() not in cookie
        assert client.get("/segments", headers=page).status_code == 200
        assert client.post("/v1/models/rollback", json={}).status_code == 403
        assert "Roll back" not in client.get("/models", headers=page).text
        for away in ("//evil.example", "https://evil.example", "/\\evil.example"):
            assert (
                client.post("/login", data={"token": token, "next": away}, follow_redirects=False).headers["location"]
                == "/"
            )
        client.post("/logout")
        assert client.get("/segments", headers=page, follow_redirects=False).status_code == 303
