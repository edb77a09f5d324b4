"""A newcomer has a likely segment as long as she is a prospect, and it follows her traits and the model."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from schemas import topics
from schemas.artifact import PROSPECT
from schemas.changes import encode
from schemas.customer import Customer
from schemas.events import decode
from schemas.features import Facts
from schemas.model import Likely
from stream_app.picture import membership
from stream_app.segmenter import Position, rescore, step
from tests.installation import Installation, order
from tests.schemas.models import model, newcomers
from tests.waiting import wait_for

AT = Position(1, "signups", 0, 5)


def signup(
    user: int, at: str = "2026-01-01T00:00:00Z", event: str = "Signed Up", **traits: Any
) -> tuple[str, bytes, bytes]:
    """Topic, key and value of a sign-up, or of traits told later."""
    body: dict[str, Any] = {"type": "track", "event": event, "userId": str(user), "timestamp": at, "properties": traits}
    if event == "identify":
        body = {"type": "identify", "userId": str(user), "timestamp": at, "traits": traits}
    return topics.SIGNUPS.name, str(user).encode(), json.dumps(body).encode()


def told(row: Any) -> Likely | None:
    return None if row.likely_segment is None else Likely(row.likely_segment, row.likely_name, row.likely_probability)


def test_the_change_of_a_sign_up_tells_the_likely_segment_and_no_other_change_does() -> None:
    one = model(guess=newcomers())
    customer = Customer()
    event = decode(b"7", signup(7, age=50, country="FR")[2])
    (change,) = step(customer, event, AT, one, "").changes
    assert change.to_segment == PROSPECT
    assert told(change) == one.likely(Facts(age=50, country="FR")) is not None
    (bought,) = step(customer, decode(b"7", order(7, 1)[2]), Position(0, "orders", 0, 1), one, "").changes
    assert bought.from_segment == PROSPECT
    assert told(bought) is None
    assert b"likely" not in encode(bought), "what is not said takes no room"


def test_a_silent_model_and_a_customer_who_tells_nothing_have_no_likely_segment() -> None:
    for one, traits in ((model(), {"age": 50}), (model(guess=newcomers()), {})):
        (change,) = step(Customer(), decode(b"7", signup(7, **traits)[2]), AT, one, "").changes
        assert change.to_segment == PROSPECT
        assert told(change) is None


def test_the_projection_follows_the_traits_and_the_model_and_ends_with_the_first_order() -> None:
    one, other = model(guess=newcomers()), model(shift=0.1, guess=newcomers(lean=-9.0))
    customer = Customer()
    step(customer, decode(b"7", signup(7, age=20)[2]), AT, one, "")
    young = membership("7", customer, one, "")
    assert told(young) == one.likely(Facts(age=20))
    step(
        customer,
        decode(b"7", signup(7, "2026-01-02T00:00:00Z", "identify", age=50)[2]),
        msgspec.structs.replace(AT, offset=6),
        one,
        "",
    )
    older = membership("7", customer, one, "")
    assert told(older) == one.likely(Facts(age=50)) != told(young)
    assert older.revision > young.revision, "or Redis would keep the older row"
    assert rescore(customer, "7", other, "") is None, "she stays a prospect: no change of segment"
    swapped = membership("7", customer, other, "")
    assert told(swapped) == other.likely(Facts(age=50)) != told(older)
    assert swapped.revision > older.revision
    step(customer, decode(b"7", order(7, 1)[2]), Position(0, "orders", 0, 1), other, "")
    assert told(membership("7", customer, other, "")) is None


def test_redis_shows_newcomers_as_the_stream_decided_them_through_traits_models_and_orders(shop: Installation) -> None:
    one = shop.prepare(newcomers())
    worker = shop.worker().wait_ready()
    ages = {user: 18 + user % 60 for user in range(60)}
    shop.produce([signup(user, age=age, country="FR") for user, age in ages.items()])

    def shown(expected: dict[int, Likely | None]) -> bool:
        rows = {user: shop.projected(str(user)) for user in expected}
        return all((row := rows[user]) is not None and told(row) == likely for user, likely in expected.items())

    first = {user: one.likely(Facts(age=age, country="FR")) for user, age in ages.items()}
    wait_for(lambda: shown(first), "every newcomer is shown with her likely segment", 30)
    assert {c.user_id: told(c) for c in shop.changes()} == {str(user): likely for user, likely in first.items()}
    ages |= dict.fromkeys(range(0, 60, 3), 70)
    shop.produce([signup(user, "2026-01-02T00:00:00Z", "identify", age=70) for user in range(0, 60, 3)])
    wait_for(
        lambda: shown({u: one.likely(Facts(age=a, country="FR")) for u, a in ages.items()}), "traits are followed", 30
    )
    second = shop.publish(shift=0.1, guess=newcomers(lean=-9.0))
    wait_for(lambda: worker.ready().get("migrated_to") == second.id, "the new model is used", 30)
    expected = {u: second.likely(Facts(age=a, country="FR")) for u, a in ages.items()}
    wait_for(lambda: shown(expected), "the new model is followed", 30)
    shop.produce([order(user, user) for user in range(10)])
    expected |= dict.fromkeys(range(10))
    wait_for(lambda: shown(expected), "who has ordered is guessed at no longer", 30)
    assert sum(told(c) is not None for c in shop.changes()) == len(ages), (
        "a change of the guess alone is no change of segment"
    )
    for change in shop.changes():
        assert msgspec.json.decode(encode(change), type=type(change)) == change
