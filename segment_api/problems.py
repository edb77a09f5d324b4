"""Errors as RFC 9457 problem documents: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis import RedisError
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str = Field("about:blank", description="Kind of problem.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["This customer is not known here."])


class Problem(Exception):
    """A request that cannot be answered, and why."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems an endpoint may answer with, for OpenAPI."""
    return {status: {"model": ProblemDocument, "content": {MEDIA_TYPE: {}}} for status in statuses}


Page = Callable[[Request, int, str, str], Response]


def install(app: FastAPI, page: Page) -> None:
    """Answer every error with a problem document, or where a browser asked for a page, with one."""

    def told(request: Request, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
        return page(request, status, title, detail) if wants_page else document(status, title, detail, headers)

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return told(request, error.status, error.title, error.detail)

    @app.exception_handler(RedisError)
    async def unreachable(request: Request, error: RedisError) -> Response:
        detail = "Redis does not answer; the segments are safe in Kafka and will be served again when it is back."
        return told(request, 503, "Service Unavailable", detail, {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{'.'.join(str(part) for part in row['loc'])}: {row['msg']}" for row in error.errors())
        return told(request, 422, "Unprocessable Content", wrong)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # a body that is no text: like any other that cannot be read
            return told(request, 422, "Unprocessable Content", "body: this is not JSON in UTF-8")
        title = HTTPStatus(error.status_code).phrase
        nothing = "There is nothing at this address; /docs lists what there is."
        detail = nothing if error.status_code == 404 else str(error.detail)
        return told(request, error.status_code, title, detail, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> JSONResponse:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return document(500, "Internal Server Error", "This is our fault; the log of the API says more.", headers)


def document(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is a problem document."""
    body = ProblemDocument(title=title, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)
