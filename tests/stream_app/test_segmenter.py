"""A customer's segment is a fold over the nearest one, its margin and the order of events: never farther off than the hysteresis."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.artifact import PROSPECT
from schemas.customer import Customer
from schemas.events import decode
from schemas.features import facts
from schemas.model import RETURN, Model
from stream_app.segmenter import Position, rescore, step
from tests.schemas.models import model
from tests.schemas.shops import messages

Holds = Literal["every", "returns"]
both = pytest.mark.parametrize("holds", ["every", "returns"])


def live(customer: Customer, batch: list[bytes], one: Model, first: int = 0) -> None:
    for offset, message in enumerate(batch, first):
        step(customer, decode(b"u1", message), Position(0, "orders", 0, offset), one, "")


@both
@given(batch=messages, hysteresis=st.sampled_from([0.05, 0.2, 0.6, 2.0]))
def test_after_every_event_the_segment_is_the_nearest_or_within_the_hysteresis(
    holds: Holds, batch: list[bytes], hysteresis: float
) -> None:
    one, plain = model(hysteresis=hysteresis, holds=holds), model()
    customer, other = Customer(), Customer()
    for offset, message in enumerate(batch):
        live(customer, [message], one, offset)
        live(other, [message], plain, offset)
        assert (customer.nearest, customer.margin) == (other.nearest, other.margin) == (other.segment, other.margin)
        assert customer.nearest == one.assign_many([facts(customer.profile)])[0]
        if customer.segment != customer.nearest:
            assert PROSPECT not in (customer.segment, customer.nearest)
            assert customer.margin <= hysteresis


@both
@given(batch=messages, shift=st.sampled_from([-1.0, 0.5]))
def test_a_new_model_starts_from_the_nearest(holds: Holds, batch: list[bytes], shift: float) -> None:
    customer, other = Customer(), model(shift=shift, hysteresis=0.6, holds=holds)
    live(customer, batch, model(hysteresis=0.6, holds=holds))
    rescore(customer, "u1", other, "")
    assert customer.segment == customer.nearest == other.assign_many([facts(customer.profile)])[0]
    assert customer.left is None


def order(number: int, total: float) -> bytes:
    return (
        b'{"type":"track","event":"Order Completed","userId":"u1","timestamp":"2026-01-01T00:00:%02dZ",'
        b'"properties":{"order_id":"o%d","total":%f}}' % (number, number, total)
    )


def refund(number: int) -> bytes:
    return order(number, 0).replace(b"Completed", b"Refunded")


def test_the_way_back_is_held_for_some_events_and_then_open() -> None:
    one, plain = model(hysteresis=9.0, holds="returns"), model()
    customer, other = Customer(), Customer()
    history = [order(n, 400.0) for n in range(1, 5)]
    there = [*history, refund(1), refund(2), refund(3), refund(4)]
    for holder, used in ((customer, one), (other, plain)):
        live(holder, there, used)
    away = [order(n, 30.0) for n in range(10, 30)]
    seen: list[tuple[str | None, str | None]] = []
    for n, message in enumerate(away):
        live(customer, [message], one, 100 + n)
        live(other, [message], plain, 100 + n)
        seen.append((customer.segment, other.segment))
    held = [n for n, (segment, nearest) in enumerate(seen) if segment != nearest]
    assert len(held) <= RETURN
    assert customer.segment == other.segment
