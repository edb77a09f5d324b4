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

places = st.lists(
    st.sampled_from(["France", "Germany", "Japan", "(unknown)"]), min_size=1, max_size=3, unique=True
).map(lambda names: tuple((name, share) for name, share in zip(names, (0.5, 0.3, 0.15), strict=False)))
people = st.builds(
    Portrait,
    medians=st.just({}),
    z=st.just({}),
    top=st.just({}),
    frequent=st.fixed_dictionaries({"country": places, "gender": st.sampled_from([(("F", 1.0),), (("M", 0.4),)])}),
)


def bag(name: str) -> tuple[str, ...]:
    return tuple(sorted(name.lower().replace(",", "").split()))


@given(st.lists(portraits, min_size=1, max_size=8) | st.lists(people, min_size=1, max_size=8))
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


def test_whoever_is_from_all_over_is_from_other_countries_where_another_segment_has_a_place() -> None:
    def portrait(*countries: tuple[str, float]) -> Portrait:
        return Portrait(medians={}, z={}, top={}, frequent={"country": countries})

    scattered = portrait(("Spain", 0.12), ("Belgium", 0.1), ("Italy", 0.08))
    named = name_segments([portrait(("Germany", 0.52), ("France", 0.48)), scattered])
    assert named == ("Customers from France and Germany", "Customers from other countries")
    assert name_segments([scattered]) == ("Customers",)


def test_what_a_name_says_is_not_said_again_and_what_it_only_spells_is() -> None:
    def french(**top: tuple[str, float, float]) -> Portrait:
        frequent = {"gender": (("M", 0.45),), "country": (("France", 1.0),)}
        return Portrait(medians={}, z={}, top={"country": ("France", 1.0, 0.5), **top}, frequent=frequent)

    named = name_segments([french(), french(gender=("F", 0.45, 0.2))])
    assert named == ("Customers from France", "Customers from France, mostly women")
