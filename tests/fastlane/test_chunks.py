"""Cutting fetched records into chunks."""

from __future__ import annotations

from itertools import zip_longest
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.fastlane import transport
from stream_app.fastlane.transport import MAX_CHUNK, MAX_CHUNK_BYTES, chunks


def sized(*sizes: int) -> list[SimpleNamespace]:
    """Records of these sizes, as aiokafka tells them (-1: without a value)."""
    return [
        SimpleNamespace(value=bytes(size) if size >= 0 else None, offset=offset) for offset, size in enumerate(sizes)
    ]


@given(st.lists(st.one_of(st.integers(-1, 30), st.just(MAX_CHUNK_BYTES)), max_size=60))
def test_chunks_are_the_records_in_order_and_as_full_as_the_bounds_allow(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "MAX_CHUNK", 10)
        patch.setattr(transport, "MAX_CHUNK_BYTES", 100)
        made = [list(part) for part in chunks(sized(*sizes))]
    assert [record.offset for part in made for record in part] == list(range(len(sizes)))
    for part, behind in zip_longest(made, made[1:]):
        size = sum(len(record.value or b"") for record in part)
        assert 1 <= len(part) <= 10
        assert size <= 100 or len(part) == 1
        if behind is not None:
            assert len(part) == 10 or size + len(behind[0].value or b"") > 100


def test_small_records_are_cut_by_number_and_large_ones_by_size() -> None:
    assert [len(part) for part in chunks(sized(*[200] * (2 * MAX_CHUNK + 1)))] == [MAX_CHUNK, MAX_CHUNK, 1]
    assert [len(part) for part in chunks(sized(*[MAX_CHUNK_BYTES // 4] * 10))] == [4, 4, 2]
    assert [len(part) for part in chunks(sized(1, 9 * MAX_CHUNK_BYTES, 1))] == [1, 1, 1]
    assert list(chunks([])) == []
