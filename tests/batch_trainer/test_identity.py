"""Ids stay with the customers, are never used twice, and what became of an old segment is told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_trainer.identity import FLOWS, INHERITS, Identity, match
from batch_trainer.names import moved, name_segments, renamed
from schemas.artifact import PROSPECT
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring
from tests.schemas.models import SIGNER, artifact, model

CUSTOMERS = 60
partitions = st.integers(1, 6).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.integers(0, k - 1), min_size=CUSTOMERS, max_size=CUSTOMERS))
)


@settings(deadline=None)
@given(st.lists(partitions, min_size=2, max_size=6))
def test_an_id_is_never_used_for_another_segment(history: list[tuple[int, list[int]]]) -> None:
    ids: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    before = [PROSPECT] * CUSTOMERS
    ever: set[str] = set()
    for k, labels in history:
        found = match(before, labels, k, ids, retired)
        assert len(set(found.ids)) == k
        assert PROSPECT not in found.ids
        assert not set(found.ids) & set(found.retired)
        assert set(found.ids) - set(ids) == set(found.ids) - ever, "what is new was never used before"
        assert set(found.retired) >= set(retired) | (set(ids) - set(found.ids))
        now = [found.ids[i] for i in labels]
        for name in set(found.ids) & set(ids):
            mine, theirs = (
                {i for i, n in enumerate(now) if n == name},
                {i for i, n in enumerate(before) if n == name},
            )
            assert len(mine & theirs) / len(mine | theirs) >= INHERITS
            assert found.overlap[name] == pytest.approx(len(mine & theirs) / len(mine | theirs))
        ever |= set(found.ids)
        ids, retired, before = found.ids, found.retired, now


@given(partitions, st.permutations(range(6)))
def test_ids_do_not_depend_on_the_order_of_the_clusters(given_: tuple[int, list[int]], order: list[int]) -> None:
    k, labels = given_
    first = match([PROSPECT] * CUSTOMERS, labels, k, [], [])
    before = [first.ids[i] for i in labels]
    places = [place for place in order if place < k]
    again = match(before, [places[i] for i in labels], k, first.ids, [])
    present = set(labels)
    assert all(again.ids[places[i]] == first.ids[i] for i in present)


def test_what_came_apart_and_what_came_together_is_told() -> None:
    before = ["s1"] * 40 + ["s2"] * 10 + ["s3"] * 10
    labels = [0] * 24 + [1] * 16 + [2] * 20
    found = match(before, labels, 3, ["s1", "s2", "s3"], [])
    assert found.ids[0] == "s1", "more than half of it has stayed together"
    assert found.split_of == {found.ids[1]: ("s1",)}
    assert found.merged_from == {found.ids[2]: ("s2", "s3")}
    assert {(f.from_segment, f.to_segment, f.share) for f in found.flows} >= {("s1", found.ids[1], 0.4)}
    assert all(flow.share >= FLOWS for flow in found.flows)


def test_without_a_model_before_the_ids_begin_at_one() -> None:
    assert Identity(ids=("s1", "s2")).ids == match([], [], 2, [], []).ids


def test_a_name_has_moved_when_what_it_was_given_for_is_gone() -> None:
    assert moved({"orders": 1.0}, {"orders": 0.9}) == ()
    assert moved({"orders": 1.0}, {"orders": 0.1}) == ("orders",)
    assert moved({"orders": 1.0}, {"orders": -0.9}) == ("orders",)
    assert moved({"orders": 1.0}, {}) == ("orders",)
    assert moved({}, {"orders": 3.0}) == ()


def test_a_renamed_model_scores_as_before_and_descends_from_it() -> None:
    one = model()
    other = renamed(one.artifact, one.id, "s2", "  Our   best customers ")
    again = from_bytes(to_bytes(other, SIGNER), Keyring([SIGNER.public]))
    assert again.names["s2"] == "Our best customers"
    assert again.artifact.parent == one.id != again.id
    same = msgspec.structs.replace(other, segments=one.artifact.segments, parent=one.artifact.parent)
    assert same == one.artifact, "nothing else has changed"


@pytest.mark.parametrize(
    ("segment", "name", "message"),
    [
        ("s9", "Fine", "no segment 's9'; there are s1, s2, s3"),
        ("s1", " ", "printable"),
        ("s1", "x" * 81, "1 to 80"),
        ("s1", "a\x07b", "printable"),
        ("s1", "segment 2", "s2 has the name"),
        ("s1", "Prospects", "prospect has the name"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(segment: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        renamed(artifact(), "m-1", segment, name)


def test_names_are_those_of_a_marketer() -> None:
    from batch_trainer.names import Portrait

    def named(medians: dict[str, float] | None = None, **z: float) -> str:
        return name_segments([Portrait(medians=medians or {}, z=z, top={})])[0]

    assert named(orders=1.2, gross_spend=1.4) == "Frequent big spenders"
    assert named({"orders": 1.0}, orders=-0.9) == "One-time buyers"
    assert named({"orders": 1.0}, orders=-0.8, gross_spend=-0.9) == "One-time low spenders"
    assert named(return_rate=2.4, gross_spend=0.6) == "High-spending serial returners"
    assert named(categories=0.9, average_order_value=0.5) == "Wide-ranging big-basket buyers"
    assert named(orders=0.1) == "Typical customers"
