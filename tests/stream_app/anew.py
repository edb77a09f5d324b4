"""Customers decided anew without a process beside: what a round does, in one go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from schemas.model import Model
from stream_app.anew import Moment, Outcome, Reason, Row, decide_anew
from stream_app.customers import Customers
from stream_app.helper import Decide
from stream_app.work import Work, adopt, records


def decided_anew(
    keys: Sequence[bytes], customers: Customers, model: Model, reason: Reason, today: int = 0, at: str = ""
) -> Work:
    """Decide these customers of partition 0 anew, between two events."""
    rows = records(keys, customers)
    work, again = adopt(rows, decide_anew(rows, model, reason, Moment(at, today)), 0, customers)
    assert not again
    return work


@asynccontextmanager
async def within(reason: Reason, model: Model) -> AsyncIterator[Decide]:
    """A helper that is no process."""

    async def decide(moment: Moment, rows: Sequence[Row]) -> list[Outcome | None]:
        return decide_anew(rows, model, reason, moment)

    yield decide
