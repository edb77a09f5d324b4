"""Segment names are different, stay with their segment, and do not differ by the order of their words alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch_trainer.names import Portrait, name_segments

FEATURES = ("orders", "gross_spend", "average_order_value", "categories", "return_rate", "age")

portraits = st.builds(
    Portrait,
    medians=st.dictionaries(st.sampled_from(FEATURES), st.sampled_from([1.0, 2.0])),
    z=st.dictionaries(st.sampled_from(FEATURES), st.sampled_from([-1.0, 0.0, 0.1, 1.0, 3.0])),
    top=st.dictionaries(
        st.sampled_from(["gender", "country"]), st.sampled_from([("F", 0.9, 0.5), ("DE", 0.4, 0.1), ("FR", 0.1, 0.1)])
    ),
)


def bag(name: str) -> tuple[str, ...]:
    return tuple(sorted(name.lower().replace(",", "").split()))


@given(st.lists(portraits, min_size=1, max_size=8))
def test_no_two_segments_have_a_name_of_the_same_words(found: list[Portrait]) -> None:
    names = name_segments(found)
    assert len({bag(name) for name in names}) == len(found)


@given(st.lists(portraits, min_size=2, max_size=6))
def test_a_name_that_is_carried_on_is_not_given_to_another(found: list[Portrait]) -> None:
    first = name_segments(found)
    kept = [first[-1], *[None] * (len(found) - 1)]
    again = name_segments(found, kept, ["Prospects"])
    assert again[0] == first[-1]
    assert len({*again, "Prospects"}) == len(found) + 1
