"""A guess at who has only signed up: one formula, told of prospects alone, and checked like the rest of the artifact."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given

from schemas.artifact import PROSPECT, RejectedModel
from schemas.events import decode
from schemas.features import Facts, facts
from schemas.membership import from_fields, to_fields
from schemas.model import Model
from schemas.newcomer import probabilities, trait
from schemas.profile import Profile, update
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring
from tests.schemas.models import SIGNER, artifact, model, newcomers
from tests.schemas.test_model import known

KEYS = Keyring([SIGNER.public])


@given(known)
def test_probabilities_are_the_softmax_of_the_scores(row: Facts) -> None:
    guess = newcomers()
    scores = np.array(guess.bias)
    for term in guess.terms:
        scores += term.table.get(trait(term.feature, term.edges, row), term.unseen)
    expected = np.exp(scores) / np.exp(scores).sum()
    assert probabilities(guess, row) == pytest.approx(expected.tolist(), rel=1e-12)


@given(known)
def test_a_profile_and_the_facts_of_a_warehouse_are_guessed_at_bit_for_bit_alike(row: Facts) -> None:
    told = {"age": row.age, "gender": row.gender, "country": row.country, "traffic_source": row.traffic_source}
    body = {"type": "identify", "userId": "7", "timestamp": "2026-01-01T00:00:00Z", "traits": told}
    profile = Profile()
    update(profile, decode(b"7", json.dumps(body).encode()))
    assert (
        probabilities(newcomers(), profile)
        == probabilities(newcomers(), facts(profile))
        == probabilities(newcomers(), row)
    )


@given(known)
def test_only_a_prospect_has_a_likely_segment_and_it_is_the_most_probable(row: Facts) -> None:
    one = model(guess=newcomers())
    likely = one.likely(row)
    if one.assign(row, None)[0] != PROSPECT or (row.age is None and row.country is None):
        assert likely is None, "she has bought, or has told nothing"
        return
    assert likely is not None
    found = dict(zip(newcomers().segments, probabilities(newcomers(), row), strict=True))
    assert found[likely.segment] == likely.probability == max(found.values())
    assert likely.name == one.names[likely.segment]
    assert model().likely(row) is None, "a model without a guess says nothing"


def test_an_age_is_in_the_bin_that_begins_at_or_before_it() -> None:
    ages = (0.0, 18.0, 25.0)
    assert [trait("age", ages, Facts(age=age)) for age in (0, 17, 18, 24, 25, 90)] == ["0", "0", "18", "18", "25", "25"]
    assert trait("age", (18.0, 25.0), Facts(age=3)) == "18"


def test_an_artifact_of_before_is_read_and_one_of_today_by_readers_of_before() -> None:
    """An optional field that changes no decision leaves `min_reader` as it is: readers ignore what they do not know."""
    body = json.loads(msgspec.json.encode(artifact()))
    del body["newcomers"]
    for row in body["golden"]:
        del row["guess"]
    before = SIGNER.seal(json.dumps(body).encode())
    assert from_bytes(before, KEYS).artifact == artifact()

    class Before(msgspec.Struct):
        min_reader: int
        bias: tuple[float, ...]

    sealed = msgspec.json.decode(msgspec.json.encode(artifact(guess=newcomers())), type=Before)
    assert sealed.min_reader == 1


def test_a_guess_comes_back_as_it_was() -> None:
    one = artifact(guess=newcomers())
    again = from_bytes(to_bytes(one, SIGNER), KEYS)
    assert again.artifact == one
    assert again.likely(Facts(age=50, country="FR")) == Model(one, "").likely(Facts(age=50, country="FR"))


def tampered(**changes: Any) -> bytes:
    body = json.loads(msgspec.json.encode(artifact(guess=newcomers())))
    body["newcomers"].update(changes)
    return SIGNER.seal(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"segments": ["s1", "s2"]}, "segments are"),
        ({"segments": ["s1", "s2", "s9"]}, "segments are"),
        ({"bias": [0.0, 0.0]}, "vectors"),
        ({"bias": [0.0, 0.0, 1e999]}, "schema|finite"),
        ({"bias": [0.5, 0.0, 0.0]}, "golden row"),
        ({"terms": [{"feature": "orders", "edges": [0], "table": {}, "unseen": [0, 0, 0]}]}, "traits"),
        ({"terms": [{"feature": "age", "table": {}, "unseen": [0, 0, 0]}]}, "traits"),
        ({"terms": [{"feature": "age", "edges": [5, 1], "table": {}, "unseen": [0, 0, 0]}]}, "ascending"),
    ],
    ids=str,
)
def test_a_guess_that_breaks_a_rule_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedModel, match=reason):
        from_bytes(tampered(**changes), KEYS)


def test_a_projection_of_before_has_no_likely_segment() -> None:
    fields = to_fields(_row())
    before = {k.encode(): v.encode() for k, v in fields.items() if not k.startswith("likely")}
    assert from_fields("7", before) == msgspec.structs.replace(
        _row(), likely_segment=None, likely_name=None, likely_probability=None
    )
    assert from_fields("7", {k.encode(): v.encode() for k, v in fields.items()}) == _row()


def _row() -> Any:
    from schemas.membership import Membership

    return Membership(
        user_id="7", segment=PROSPECT, name="Prospects", nearest=PROSPECT, margin=0.0, model_id="m-1", sequence=1,
        revision=1, event_time="2026-01-01T00:00:00Z", projected_at="2026-01-01T00:00:01Z", features={},
        likely_segment="s1", likely_name="Regulars", likely_probability=float(Fraction(1, 3)) + math.ulp(1.0),
    )  # fmt: skip
