"""What is said about a customer is true: the reasons add up, and what would move her does."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Literal

import msgspec
import pytest
from fastapi.testclient import TestClient

from schemas.artifact import PROSPECT
from schemas.customer import Customer, from_bytes, to_bytes
from schemas.events import Event, OrderCompleted, OrderRefunded
from schemas.features import SPECS, Facts, facts, raw
from schemas.model import Model
from schemas.profile import Profile, update
from schemas.settings import Settings
from segment_api.counterfactual import MOST_ORDERS, recovered
from segment_api.explain import Explanation, Move, explain, explained
from stream_app.picture import membership
from stream_app.segmenter import Position, step
from tests.schemas.models import model as small
from tests.segment_api.conftest import customer, put
from tests.segment_api.shop import histories, profile, trained

LATER = 1_800_000_000_000_000


def with_hysteresis(model: Model, h: float, holds: Literal["every", "returns"] = "every") -> Model:
    return Model(msgspec.structs.replace(model.artifact, hysteresis=h, holds=holds), model.id)


def lived(events: list[Event], model: Model) -> Customer:
    """A customer after all her events, as the stream has her."""
    made = Customer()
    for event in events:
        step(made, event, Position(0, "orders", 0, 0), model, "")
    return made


def done(move: Move, known: Profile, number: int) -> Event:
    """What she does, as an event of the stream, said from the words of the API alone."""
    if move.kind == "returns":
        kept = [o for o, order in known.remembered().items() if order.flags & 1 and not order.flags & 6]
        return (
            OrderRefunded("", kept[0], f"r{number}", LATER + number, 100, "", False)
            if kept
            else pytest.skip("no order")
        )
    brand, category = known.brand, known.category
    lines = [(brand, f"never seen {number}"), (brand, category)] if move.new_category else [(brand, category)]
    assert move.value is not None
    total = round(move.value * 100)
    return OrderCompleted(
        "", f"new-{number}", LATER + number, total, tuple(b for b, _ in lines), tuple(c for _, c in lines), "", False
    )


def test_what_is_told_to_move_a_customer_moves_her_as_told() -> None:
    """2,000 customers of a trained model, with each kind of hysteresis and without: each told change, sent as events, does what was told."""
    people = sorted(histories())
    random.Random(3).shuffle(people)
    told = Counter[str]()
    models = [
        with_hysteresis(trained(), 0.0),
        with_hysteresis(trained(), 0.15),
        with_hysteresis(trained(), 0.5, "returns"),
    ]
    for number, user_id in enumerate(people[:2000]):
        model = models[number % len(models)]
        known = lived(histories()[user_id], model)
        row = membership(user_id, known, model, "")
        explanation = explained(row, model)
        assert explanation.segment == row.segment
        told[f"held by {model.artifact.holds}"] += explanation.nearest != row.segment
        told["the way back is held"] += row.left_for > 0
        for move in explanation.moves:
            one = from_bytes(to_bytes(known))
            for again in range(move.count):
                assert one.segment == row.segment, "not sooner than told"
                step(one, done(move, one.profile, again), Position(0, "orders", 0, 0), model, "")
            assert one.segment == move.to_segment, (user_id, move)
            told[move.kind] += 1
        assert bool(explanation.moves) != bool(explanation.unmoved)
        told["unmoved"] += not explanation.moves
    assert told["orders"] > 1500
    assert told["returns"] > 50
    assert told["held by every"] > 0
    assert told["held by returns"] > 0
    assert told["the way back is held"] > 0


def test_where_nothing_is_told_no_number_of_her_usual_orders_moves_her() -> None:
    model = with_hysteresis(trained(), 1.5)
    seen = 0
    for events in list(histories().values())[:150]:
        customer = lived(events, model)
        known, segment = customer.profile, customer.segment
        explanation = explain(None, raw(model.feature_names, known), segment, model)
        if explanation.moves or not known.orders:
            continue
        seen += 1
        assert "were tried" in explanation.unmoved
        value = round(known.spend / known.orders)
        for number in range(MOST_ORDERS):
            again = (known.brand,), (known.category,)
            update(known, OrderCompleted("", f"new-{number}", LATER + number, value, *again, "", False))
            assert model.assign(known, segment)[0] == segment
    assert seen > 10


@pytest.mark.parametrize("recipe", ["behaviour", "article"])
def test_the_reasons_add_up_to_the_distance_beyond_the_boundary(recipe: str) -> None:
    model = trained(recipe)
    for user_id, events in list(histories().items())[:500]:
        known = facts(profile(events))
        if model.is_prospect(known):
            continue
        explanation = explain(user_id, raw(model.feature_names, known), None, model)
        nearest, margin, _ = model.score(known)
        assert explanation.segment == explanation.nearest == model.segments[nearest].id
        assert explanation.beyond == pytest.approx(margin, abs=1e-9)
        assert explanation.base + sum(p.pull for p in explanation.pulls) == pytest.approx(explanation.beyond, abs=1e-9)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_facts_recovered_from_features_score_as_the_customer(spec: object) -> None:
    model = small(spec)  # type: ignore[arg-type]
    for events in list(histories().values())[:300]:
        known = profile(events)
        features = json.loads(json.dumps(raw(model.feature_names, known)))
        assert model.project(recovered(features, model)) == model.project(known)


def test_features_that_cannot_be_followed_are_said() -> None:
    model = small()
    odd = raw(model.feature_names, Facts(orders=3, spend=1000)) | {"average_order_value": 77.0}
    explanation = explain("7", odd, None, model)
    assert not explanation.moves
    assert "average_order_value" in explanation.unmoved


def test_a_prospect_is_told_what_a_first_order_would_do() -> None:
    model = trained()
    explanation = explain("7", raw(model.feature_names, Facts()), PROSPECT, model)
    assert "not ordered" in explanation.summary
    assert explanation.moves[0].words.startswith("a first order of")
    value = explanation.moves[0].value
    assert value is not None
    first = Facts(placed_orders=1, orders=1, items=1, spend=round(value * 100))
    assert model.assign(first, PROSPECT)[0] == explanation.moves[0].to_segment


def test_the_api_explains_whom_it_knows(api: TestClient, settings: Settings) -> None:
    model = small()
    known = Facts(placed_orders=4, orders=4, items=5, spend=81240, categories=3)
    segment = model.assign(known, None)[0]
    put(
        settings,
        customer(segment=segment, nearest=segment, features=raw(model.feature_names, known), model_id=model.id),
    )
    body = api.get("/v1/users/4711/explain").json()
    assert body == explain("4711", raw(model.feature_names, known), segment, model).model_dump()
    assert body["summary"].startswith("She is in")
    assert api.get("/v1/users/nobody/explain").status_code == 404
    assert Explanation.model_validate(body)
