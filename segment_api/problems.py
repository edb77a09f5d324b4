"""Errors as RFC 9457 problem documents: what is wrong, and what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
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
    detail: str = Field(examples=["Customer '9' is not known here."])


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


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return document(error.status, error.title, error.detail)

    @app.exception_handler(RedisError)
    async def unreachable(_: Request, error: RedisError) -> JSONResponse:
        detail = "Redis does not answer; the segments are safe in Kafka and will be served again when it is back."
        return document(503, "Service Unavailable", detail, {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{'.'.join(str(part) for part in row['loc'])}: {row['msg']}" for row in error.errors())
        return document(422, "Unprocessable Content", told)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        title = HTTPStatus(error.status_code).phrase
        told = (
            "There is nothing at this address; /docs lists what there is."
            if error.status_code == 404
            else str(error.detail)
        )
        return document(error.status_code, title, told, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> JSONResponse:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return document(500, "Internal Server Error", "This is our fault; the log of the API says more.", headers)


def document(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is a problem document."""
    body = ProblemDocument(title=title, status=status, detail=detail)  # type: ignore[call-arg]
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)
