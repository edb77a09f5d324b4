"""The API's own description: OpenAPI with an example of every answer, and every problem that a call may answer with."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from segment_api.access import needed
from segment_api.examples import ANSWERS
from segment_api.problems import MEDIA_TYPE, ProblemDocument

DETAILS: Final = {
    400: "The request is not HTTP as this API speaks it.",
    401: "Send `Authorization: Bearer <token>`; `segstream tokens new` makes one.",
    403: "This needs the scope 'admin'; 'shop' does not have it.",
    404: "This customer is not known here: no event of hers has been seen, or she was erased.",
    409: "Model m-0f3a9c2b41de must not be used: its signature is of no key that is trusted.",
    413: "A request has at most 1048576 bytes.",
    422: "body.facts.orders: Input should be greater than or equal to 0",
    429: "Wait 0.4 s; SEGSTREAM_API_RATE says how many a caller may ask.",
    500: "This is our fault; the log of the API says more.",
    503: "No model is in use yet: `segstream train --publish`.",
}
"""Status -> what a problem of this kind says, as an example."""
_SCHEMAS: Final = "#/components/schemas/"


def install(app: FastAPI) -> None:
    """Make `/openapi.json` complete; made once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            app.openapi_schema = completed(made)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The framework's description with what it cannot know: problems of the gate, examples, tokens and their scopes."""
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    parts["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Made by `segstream tokens new`."}
    }
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            scope = needed(method.upper(), path)
            call["security"] = [{"token": []}] if scope else []
            call["x-scope"] = scope
            for status in sorted(_problems(call, scope)):
                if not _has_own_answer(call["responses"].get(str(status), {})):
                    call["responses"][str(status)] = _problem(status)
            for answer in call["responses"].values():
                _exemplify(answer)
    return document


def _problems(call: dict[str, Any], scope: str | None) -> set[int]:
    told = {int(status) for status in call["responses"] if status.isdigit() and int(status) >= 400}
    asked = call.get("parameters") or call.get("requestBody")
    if not asked:
        told.discard(422)
    gate = {401, 403, 429} if scope else set()
    return told | gate | ({413} if "requestBody" in call else set()) | ({422} if asked else set()) | {500}


def _has_own_answer(answer: dict[str, Any]) -> bool:
    """Whether it answers with something else than a problem: readiness tells the same document either way."""
    schemas = [content.get("schema", {}).get("$ref", "") for content in answer.get("content", {}).values()]
    return any(ref and not ref.endswith(("/ProblemDocument", "/HTTPValidationError")) for ref in schemas)


def _problem(status: int) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "detail": DETAILS[status]}
    told: dict[str, Any] = {
        "description": title,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "ProblemDocument"}, "example": example}},
    }
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return told


def _exemplify(answer: dict[str, Any]) -> None:
    for content in answer.get("content", {}).values():
        name = content.get("schema", {}).get("$ref", "").removeprefix(_SCHEMAS)
        if name in ANSWERS:
            content["example"] = ANSWERS[name]
