"""What `/openapi.json` says of each call is complete, and its examples are answers that the API could give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis.asyncio

from schemas.settings import Settings
from schemas.signing import Keyring
from segment_api.access import needed
from segment_api.app import create_app
from segment_api.examples import ANSWERS


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Made without any server."""
    settings = Settings(home=Path(tmp_path_factory.mktemp("home")), redis="redis://127.0.0.1:1", kafka="127.0.0.1:1")
    app = create_app(settings, redis.asyncio.Redis.from_url(settings.redis), None, Keyring([]), lambda: 0)  # type: ignore[arg-type]
    return dict(app.openapi())


def calls(contract: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(m.upper(), path, call) for path, methods in contract["paths"].items() for m, call in methods.items()]


def test_every_call_names_every_problem_with_an_example(contract: dict[str, Any]) -> None:
    for method, path, call in calls(contract):
        told = {int(status) for status in call["responses"] if int(status) >= 400}
        gate = {401, 403, 429} if needed(method, path) else set()
        asked = {422} if call.get("parameters") or "requestBody" in call else set()
        sent = {413} if "requestBody" in call else set()
        assert told >= gate | asked | sent | {500}, (method, path)
        assert 422 not in told - asked, (method, path)
        for status in told:
            content = call["responses"][str(status)]["content"]
            if (path, status) == ("/ready", 503):
                continue  # the same document as when it is ready
            assert list(content) == ["application/problem+json"], (method, path, status)
            assert content["application/problem+json"]["example"]["status"] == status
        assert call["security"] == ([{"token": []}] if needed(method, path) else [])
        assert call.get("description"), (method, path)


def test_every_answer_and_every_body_has_an_example_that_fits_its_schema(contract: dict[str, Any]) -> None:
    for method, path, call in calls(contract):
        (content,) = call["responses"]["200"]["content"].values()
        if "schema" in content and "$ref" in content["schema"]:
            fits(contract, content["schema"], content.get("example", f"none of {path}"))
        else:
            assert "example" in content, (method, path)
        for body in call.get("requestBody", {}).get("content", {}).values():
            name = body["schema"]["$ref"].rsplit("/", 1)[1]
            for example in contract["components"]["schemas"][name]["examples"]:
                fits(contract, body["schema"], example)


def test_no_example_is_of_an_answer_that_nobody_gives(contract: dict[str, Any]) -> None:
    assert set(ANSWERS) - set(contract["components"]["schemas"]) == set()


def fits(contract: dict[str, Any], schema: dict[str, Any], example: Any) -> None:
    jsonschema.Draft202012Validator(schema | {"components": contract["components"]}).validate(example)
