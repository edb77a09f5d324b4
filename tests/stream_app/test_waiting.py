"""Laws of those who wait to be written: each once, whoever comes how often, and no partition keeps another waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.waiting import Waiting

KEYS = st.lists(st.integers(0, 300).map(lambda n: str(n).encode()), max_size=60)
STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 3), KEYS),
    st.tuples(st.just("take"), st.integers(0, 90)),
    st.tuples(st.just("keep"), st.frozensets(st.integers(0, 3))),
)


@given(st.lists(STEPS, max_size=30))
def test_they_wait_as_a_plain_set_would_have_them(steps: list[tuple[object, ...]]) -> None:
    waiting, plain = Waiting(), set[tuple[int, bytes]]()
    for step in steps:
        match step:
            case ("add", int(partition), list(keys)):
                waiting.add(partition, keys)
                plain |= {(partition, key) for key in keys}
            case ("keep", frozenset() as partitions):
                waiting.keep(partitions)
                plain = {(partition, key) for partition, key in plain if partition in partitions}
            case ("take", int(most)):
                taken = waiting.take(most)
                assert len(taken) == min(most, len(plain))
                assert len(set(taken)) == len(taken), "each once"
                assert plain.issuperset(taken)
                left = plain.difference(taken)
                counts = [[sum(p == partition for p, _ in those) for partition in range(4)] for those in (taken, left)]
                fair = [n for n, more in zip(*counts, strict=True) if more]
                assert all(n >= max(counts[0]) - 1 for n in fair), "whoever had to stay behind had an equal share"
                plain = left
        assert len(waiting) == len(plain)
    assert sorted(waiting.take(len(plain))) == sorted(plain)
