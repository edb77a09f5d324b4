"""Verifying compares the nearest segment exactly; whoever the hysteresis holds is counted apart, and beyond it she is a mismatch."""

from __future__ import annotations

import msgspec
import pytest

from schemas.customer import Customer
from schemas.events import decode
from schemas.features import RFM, Facts, facts
from schemas.model import Model
from schemas.profile import Profile, update
from schemas.times import DAY
from segstream.verify import Parity, compare
from tests.installation import order
from tests.schemas.models import TASTES, model


def verified(one: Model, segment: str | None = None) -> Parity:
    """One customer as the stream has her, in her nearest segment or in the one given."""
    profile = Profile()
    for number in range(4):
        update(profile, decode(b"7", order(7, number)[2]))
    _, nearest, margin, _ = one.assign(profile, None)
    customer = Customer(model_id=one.id, segment=segment or nearest, nearest=nearest, margin=margin, profile=profile)
    return compare(one, [{"7": facts(profile)}], {"7": customer})


def other(one: Model) -> str:
    """The segment behind the nearest boundary."""
    profile = Profile()
    for number in range(4):
        update(profile, decode(b"7", order(7, number)[2]))
    distances = one.distances(profile)
    return sorted(zip(distances, (s.id for s in one.segments), strict=True))[1][1]


def test_a_customer_in_her_nearest_segment_agrees() -> None:
    found = verified(model())
    assert (found.holds, found.held, found.segment_mismatches) == (True, 0, 0)


def test_a_customer_held_within_the_hysteresis_is_counted_apart() -> None:
    one = model(hysteresis=50.0)
    found = verified(one, other(one))
    assert (found.holds, found.held, found.segment_mismatches) == (True, 1, 0)


@pytest.mark.parametrize("segment", ["other", "prospect"])
def test_a_customer_held_beyond_the_hysteresis_is_a_mismatch(segment: str) -> None:
    one = model(hysteresis=1e-9 if segment == "other" else 50.0)
    found = verified(one, other(one) if segment == "other" else segment)
    assert (found.holds, found.held, found.segment_mismatches) == (False, 0, 1)
    assert "held in" in found.differences[0]


def test_recency_is_compared_as_of_the_day_and_who_was_not_looked_at_since_is_a_mismatch() -> None:
    one, profile = model(RFM), Profile()
    update(profile, decode(b"7", order(7, 1)[2]))
    profile.today = (profile.last_order_at or 0) // DAY + 10
    segment = one.assign(profile, None)[0]
    streamed = {"7": Customer(model_id=one.id, segment=segment, nearest=segment, profile=profile)}
    for today, mismatches in (
        (profile.today - 5, 0),
        (profile.today, 0),
        (profile.today + 3, 0),
        (profile.today + 4, 1),
    ):
        found = compare(one, [{"7": msgspec.structs.replace(facts(profile), today=0)}], streamed, today)
        assert found.feature_mismatches == mismatches
    assert "was last decided as of" in found.differences[0]


def test_shares_are_compared() -> None:
    one, profile = model(TASTES), Profile()
    update(
        profile,
        decode(
            b"7",
            order(7, 1, properties={"order_id": "o1", "products": [{"category": "Acme"}, {"category": "Blue"}]})[2],
        ),
    )
    segment = one.assign(profile, None)[0]
    streamed = {"7": Customer(model_id=one.id, segment=segment, nearest=segment, profile=profile)}
    wanted = facts(profile, one.shares)
    assert wanted.shares == {"category_share:Acme": 0.5}
    assert compare(one, [{"7": wanted}], streamed).holds
    assert not compare(one, [{"7": msgspec.structs.replace(wanted, shares={})}], streamed).holds


def test_a_customer_of_other_facts_is_a_mismatch() -> None:
    one = model()
    found = compare(one, [{"7": Facts(orders=3)}], {"7": Customer(model_id=one.id, segment="s1", nearest="s1")})
    assert found.feature_mismatches == 1
