"""Answers that need not be sent again: entity tags and If-None-Match (RFC 9110)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response

IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="Versions you have: 304 while one of them holds.")
]


def holds(tag: str, known: str | None) -> bool:
    """Whether the caller has this version already; weak comparison.

    >>> holds('W/"4.7"', '"1.1", W/"4.7"'), holds('"a"', 'W/"a"'), holds('"a"', "*"), holds('"a"', None)
    (True, True, True, False)
    """
    if known is None:
        return False
    versions = (part.strip().removeprefix("W/") for part in known.split(","))
    return known.strip() == "*" or tag.removeprefix("W/") in versions


def unchanged(headers: dict[str, str]) -> Response:
    """The answer to a caller who has it already."""
    return Response(status_code=304, headers=headers)
