"""One model, two evaluations; and an artifact that cannot be trusted is not used."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.artifact import PROSPECT, RejectedModel
from schemas.features import Facts, FeatureSpec
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring, Signer
from tests.schemas.models import SIGNER, SPECS, artifact, model

KEYS = Keyring([SIGNER.public])
names = st.sampled_from([None, "Acme", "F", "never seen"])
counts = st.integers(0, 50)
known = st.builds(
    Facts, placed_orders=counts, orders=counts, items=counts, spend=st.integers(-500, 10**9), categories=counts,
    returned_orders=counts, age=st.none() | st.integers(0, 120), gender=names, country=names, traffic_source=names,
    brand=names, category=names,
)  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@given(rows=st.lists(known, min_size=1, max_size=20))
def test_many_rows_are_scored_bit_for_bit_as_one(spec: FeatureSpec, rows: list[Facts]) -> None:
    one = model(spec)
    nearest, margin, distance = one.score_many(rows)
    assert np.array_equal(one.project_many(rows), np.array([one.project(row) for row in rows]))
    for i, row in enumerate(rows):
        assert one.score(row) == (nearest[i], margin[i], distance[i])
    assert one.assign_many(rows) == [one.assign(row, None)[1] for row in rows]


@given(known, st.sampled_from(["s1", "s2", "s3", "gone", None]))
def test_a_customer_stays_only_within_the_hysteresis(row: Facts, current: str | None) -> None:
    one = model(hysteresis=0.3)
    segment, nearest, margin, _ = one.assign(row, current)
    assert segment == nearest or (segment == current and margin <= one.hysteresis)


@given(known, st.sampled_from(["s1", "s2", "s3"]), st.sampled_from(["s1", "s2", "s3", None]))
def test_only_the_way_back_is_held_where_returns_are(row: Facts, current: str, left: str | None) -> None:
    one = model(hysteresis=0.3, holds="returns")
    found = one.decide(row, current, left)
    segment, nearest, margin, shallow = found.segment, found.nearest, found.margin, found.shallow
    held = one.decide(row, current, nearest)
    assert nearest == model().assign(row, None)[0]
    assert segment == (held.segment if nearest == left else nearest)
    assert held.segment == nearest or (held.segment == current and margin <= one.hysteresis)
    assert not shallow or model(hysteresis=0.3).assign(row, current)[0] == current != segment


@given(known, st.sampled_from(["s1", "s2", "s3", None]))
def test_without_hysteresis_the_segment_is_the_nearest(row: Facts, current: str | None) -> None:
    segment, nearest, _, _ = model().assign(row, current)
    assert segment == nearest


def test_a_customer_without_orders_is_a_prospect() -> None:
    assert model().assign(Facts(age=30), None)[0] == PROSPECT


def test_a_sealed_artifact_comes_back_as_it_was() -> None:
    one = artifact()
    assert from_bytes(to_bytes(one, SIGNER), KEYS).artifact == one


@given(
    rows=st.lists(known, min_size=1, max_size=12),
    hysteresis=st.sampled_from([0.0, 0.3, 2.0]),
    holds=st.sampled_from(["every", "returns"]),
)
def test_a_model_by_which_readers_of_before_would_decide_otherwise_says_so(
    rows: list[Facts], hysteresis: float, holds: Literal["every", "returns"]
) -> None:
    """Readers of format 1 do not know `holds`: they hold every way over a boundary."""
    one, before = model(hysteresis=hysteresis, holds=holds), model(hysteresis=hysteresis)
    here = there = None
    for row in rows:
        here, there = one.decide(row, here, None).segment, before.decide(row, there, None).segment
        assert here == there or one.artifact.min_reader == 2


def test_a_reader_that_is_too_old_refuses_the_artifact_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    held, returns = (to_bytes(artifact(hysteresis=0.4, holds=holds), SIGNER) for holds in ("every", "returns"))
    assert from_bytes(returns, KEYS).artifact.min_reader == 2
    monkeypatch.setattr("schemas.sealed.FORMAT", 1)
    assert from_bytes(held, KEYS).artifact.min_reader == 1, "it is read alike"
    with pytest.raises(RejectedModel, match="needs a reader of format 2; this version reads up to format 1: update it"):
        from_bytes(returns, KEYS)


def test_whatever_a_later_format_holds_it_is_refused_for_being_later() -> None:
    with pytest.raises(RejectedModel, match="needs a reader of format 99"):
        from_bytes(tampered(min_reader=99, holds="sometimes", bias="elsewhere"), KEYS)


def test_an_artifact_that_older_readers_would_misread_is_not_sealed_but_one_of_before_is_read() -> None:
    one = msgspec.structs.replace(artifact(hysteresis=0.4, holds="returns"), min_reader=1)
    with pytest.raises(RejectedModel, match="its min_reader must be 2"):
        to_bytes(one, SIGNER)
    assert from_bytes(SIGNER.seal(msgspec.json.encode(one)), KEYS).artifact == one


@pytest.mark.parametrize("cut", [0, 1, 40, 150, 400, 1000])
def test_a_truncated_artifact_is_refused(cut: int) -> None:
    with pytest.raises(RejectedModel):
        from_bytes(to_bytes(artifact(), SIGNER)[: cut or -1], KEYS)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused(position: int, flip: int) -> None:
    data = bytearray(to_bytes(artifact(), SIGNER))
    data[position % len(data)] ^= flip
    with pytest.raises(RejectedModel):
        from_bytes(bytes(data), KEYS)


def test_an_unsigned_artifact_and_a_strangers_are_refused() -> None:
    body = msgspec.json.encode(artifact())
    with pytest.raises(RejectedModel, match="not signed"):
        from_bytes(body, KEYS)
    with pytest.raises(RejectedModel, match="not trusted"):
        from_bytes(Signer.generate().seal(body), KEYS)


def tampered(**changes: Any) -> bytes:
    body = json.loads(msgspec.json.encode(artifact()))
    body.update(changes)
    return SIGNER.seal(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bias": [float("nan"), 0.0]}, "schema"),
        ({"bias": [None, 0.0]}, "schema"),
        ({"bias": [0.0, 0.0, 0.0]}, "dimensions"),
        ({"spec_hash": "other"}, "feature definitions"),
        ({"min_reader": 99}, "format 99"),
        ({"golden": []}, "golden"),
        ({"centroids": [[0.5, 0.5], [0.5, 0.5], [2.5, 5.0]]}, "same point"),
        ({"segments": []}, "segment ids"),
        ({"bias": [9.0, 9.0]}, "golden row"),
        ({"numbers": []}, "feature spec"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_signed_artifact_that_breaks_a_rule_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedModel, match=reason):
        from_bytes(tampered(**changes), KEYS)


def test_what_is_not_finite_is_never_published() -> None:
    one = msgspec.structs.replace(artifact(), hysteresis=float("inf"))
    with pytest.raises(RejectedModel, match="finite"):
        to_bytes(one, SIGNER)
