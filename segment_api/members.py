"""Who is in a segment: page by page, or all as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from schemas.model import Model
from segment_api.services import Services
from segment_api.users import User, told

CHUNK: Final = 500
"""Customers per round trip to Redis."""
_COLUMNS: Final = ("user_id", "segment", "name", "margin", "event_time")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Members(BaseModel):
    """Customers of a segment in the order of their ids; `next` is the `after` of the following page, null at the end."""

    segment: str
    members: list[User]
    next: str | None


async def listed(services: Services, segment: str, after: str, limit: int) -> Members:
    """A page of a segment's customers."""
    found = await run_in_threadpool(services.index().members, segment, after, limit + 1)
    rows, now = await services.memberships(found[:limit]), services.clock()
    members = [told(row, now) for row in rows if row is not None]
    return Members(segment=segment, members=members, next=found[limit - 1] if len(found) > limit else None)


async def table(services: Services, model: Model, user_ids: Sequence[str], segment: str) -> AsyncIterator[str]:
    """These customers as CSV (RFC 4180), as they are when their line is written; who has left the segment since is left out."""
    yield _lines([[*_COLUMNS, *model.feature_names]])
    for start in range(0, len(user_ids), CHUNK):
        rows = await services.memberships(list(user_ids[start : start + CHUNK]))
        yield _lines(
            [
                *(_cell(getattr(row, name)) for name in _COLUMNS),
                *(_cell(row.features.get(name)) for name in model.feature_names),
            ]
            for row in rows
            if row is not None and row.segment == segment
        )


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would compute is kept a text.

    >>> _cell("=1+1"), _cell("-2"), _cell(-2.5), _cell(None)
    ("'=1+1", "'-2", -2.5, '')
    """
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
