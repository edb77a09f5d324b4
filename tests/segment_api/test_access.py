"""Nobody reaches what is not hers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from schemas.registry import Registry
from schemas.settings import Settings
from segment_api.access import BadTokens, Caller, Tokens, hashed, mint
from segment_api.gate import COOKIE, SECURITY
from segment_api.limits import MAX_BODY
from tests.segment_api.conftest import customer, put, serving

HEALTH = {"/health", "/ready"}
WAY_IN = {"/login", "/logout", "/static/{name}"}


def guarded(settings: Settings, *scopes: str) -> tuple[Settings, dict[str, str]]:
    """Settings with one token, and the headers of its holder."""
    token, entry = mint("shop", scopes)
    return settings.model_copy(update={"api_tokens": SecretStr(entry)}), {"Authorization": f"Bearer {token}"}


def routes(router: Any) -> list[tuple[str, str]]:
    """Method and path of everything there is, in whatever router."""
    found: list[tuple[str, str]] = []
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        found += routes(inner) if inner else [(method, route.path) for method in route.methods or ()]
    return found


def test_without_a_token_nothing_but_health_is_reached(settings: Settings, registry: Registry) -> None:
    put(settings, customer())
    locked, _ = guarded(settings, "admin")
    with serving(locked) as api:
        everything = routes(api.app)
        assert len(everything) > 8
        for method, path in everything:
            if path in WAY_IN:
                continue
            answer = api.request(method, path.replace("{user_id}", "4711"), json={}, follow_redirects=False)
            assert answer.status_code == (200 if path in HEALTH else 401), (method, path)
            assert "4711" not in answer.text
        assert api.get("/ready").json() == {"ready": True}, "reasons name servers: not for everyone"
        assert api.get("/nothing/here").status_code == 401, "not even what there is"
        assert "Bearer" in api.get("/v1/segments").headers["www-authenticate"]


def test_a_scope_opens_its_own_doors_only(settings: Settings, registry: Registry) -> None:
    put(settings, customer())
    doors = {"read": "/v1/users/4711", "what-if": "/v1/what-if", "admin": "/v1/models/rollback"}
    for scope in ("read", "what-if"):
        with_token, held = guarded(settings, scope)
        with serving(with_token) as api:
            for door, path in doors.items():
                answer = api.request("GET" if door == "read" else "POST", path, json={}, headers=held)
                assert (answer.status_code == 403) == (door != scope), (scope, door)
                assert door == scope or door in answer.json()["detail"]


def test_a_wrong_token_is_refused_and_soon_slowed_down(settings: Settings, registry: Registry) -> None:
    locked, held = guarded(settings, "read")
    with serving(locked) as api:
        wrong = {"Authorization": held["Authorization"] + "x"}
        seen = [api.get("/v1/segments", headers=wrong).status_code for _ in range(40)]
        assert set(seen) == {401, 429}
        assert api.get("/v1/segments", headers=held).status_code == 200, "who has the right one is not slowed down"


def test_without_tokens_only_this_machine_is_served(settings: Settings, registry: Registry) -> None:
    with serving(settings, host="10.1.2.3") as api:
        assert "SEGSTREAM_API_TOKENS" in api.get("/v1/segments").json()["detail"]
    with serving(settings) as api:
        assert api.get("/v1/segments").status_code == 200
        assert api.get("/v1/segments", headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 401, (
            "a proxy speaks for others"
        )
        assert api.get("/v1/segments", headers={"Host": "evil.example"}).status_code == 401, (
            "another site's name for us"
        )


def test_another_site_changes_nothing(settings: Settings, registry: Registry) -> None:
    with serving(settings) as api:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert api.post("/v1/what-if", json={}, headers=headers).status_code == 403
        assert api.post("/v1/what-if", json={}, headers={"Origin": "http://127.0.0.1"}).status_code == 200


def test_too_much_is_refused_with_the_limit(settings: Settings, registry: Registry) -> None:
    with serving(settings) as api:
        large = b'{"gender": "' + b"x" * MAX_BODY + b'"}'
        kind = {"Content-Type": "application/json"}
        assert api.post("/v1/what-if", content=large, headers=kind).status_code == 413
        assert api.post("/v1/what-if", content=iter([large]), headers=kind).status_code == 413, "of unknown length too"
    with serving(settings.model_copy(update={"api_rate": 0.5})) as api:
        answers = [api.get("/v1/segments") for _ in range(3)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1


def test_every_answer_carries_the_security_headers(settings: Settings, registry: Registry) -> None:
    with serving(settings) as api:
        for path in ("/health", "/v1/segments", "/v1/users/nobody", "/nothing"):
            found = api.get(path).headers
            assert {name: found[name] for name in SECURITY} == SECURITY
            assert "cache-control" in found
    assert "unsafe" not in SECURITY["Content-Security-Policy"]


def test_a_session_is_its_tokens_and_ends_with_it() -> None:
    token, entry = mint("ops", ["admin"])
    tokens = Tokens.parse(entry)
    caller = tokens.holder(token)
    assert caller == Caller("ops", frozenset({"admin"}))
    sealed = tokens.seal(caller, expires=100)
    assert tokens.session(sealed, now=99) == caller
    assert tokens.session(sealed, now=101) is None
    assert Tokens.parse(mint("ops", ["admin"])[1]).session(sealed, now=99) is None, "another token of that name"
    for broken in ("", ".", "x.y", sealed[:-1] + ("0" if sealed[-1] != "0" else "1"), "é." + sealed):
        assert tokens.session(broken, now=99) is None


def test_tokens_are_kept_as_hashes_and_bad_settings_are_told() -> None:
    token, entry = mint("ops", ["read", "what-if"])
    assert token not in entry
    assert hashed(token) in entry
    for bad, why in (("ops", "entry 1"), ("ops:write:" + "0" * 64, "write"), (entry + ",x:read:abc", "entry 2")):
        with pytest.raises(BadTokens, match=why):
            Tokens.parse(bad)
    assert COOKIE
