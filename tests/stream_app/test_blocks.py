"""Blocks say the same of a stream however it falls into chunks, hold each record once, and travel behind what explains them."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import add

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.artifact import model_id
from schemas.drift import Baseline, Block, Tally
from schemas.model import Model
from schemas.reference import MIX, distributions
from stream_app.customers import Customers
from stream_app.drift.blocks import LOOKS, OLD, YOUNG, Collector
from stream_app.segmenter import Position
from stream_app.stores import MemoryStore
from stream_app.work import fold
from tests.installation import orders
from tests.schemas.models import GOLDEN, artifact

COUNT = 600
WHOLE = set(range(2 * LOOKS - 1, COUNT, 2 * LOOKS - 1))
"""Ends of chunks so small that every event is looked at."""


class Record(msgspec.Struct, frozen=True):
    key: bytes
    value: bytes
    offset: int
    timestamp: int = 1_767_225_600_000


RECORDS = [Record(key, value, offset) for offset, (_, key, value) in enumerate(orders(COUNT, 50))]


def watched() -> Model:
    plain = artifact()
    known = distributions(Model(plain, "").feature_names, [GOLDEN] * 3, np.ones(3), ["s1", "s2", "s3"])
    made = msgspec.structs.replace(plain, distributions=known)
    return Model(made, model_id(made))


MODEL = watched()


def blocks(cuts: list[int], pace: int) -> list[Block | Baseline]:
    """The blocks of the records in chunks that end at `cuts`, one each `pace` microseconds."""
    collector, customers = Collector(), Customers(MemoryStore())
    collector.install(MODEL)
    made: list[Block | Baseline] = []
    now = 0
    for begin, end in pairwise([0, *cuts, COUNT]):
        work = fold(RECORDS[begin:end], Position(0, "orders", 0, -1), customers, MODEL, "")
        made += collector.take(
            "orders", 0, begin, end - 1, events=work.live, invalid=len(work.dead_letters), flips=0, looks=work.looks, now=now
        )  # fmt: skip
        now += pace
    return made + collector.due(now)


@given(st.sets(st.integers(1, COUNT - 1), min_size=6), st.sampled_from([0, YOUNG // 3, OLD]))
@settings(max_examples=8)
def test_the_sum_of_the_blocks_is_the_same_however_the_chunks_fall(cuts: set[int], pace: int) -> None:
    ends = sorted(cuts | WHOLE)
    baseline, *found = blocks(ends, pace)
    assert isinstance(baseline, Baseline), "what explains the blocks goes ahead of them"
    seen = [block for block in found if isinstance(block, Block)]
    assert [block.first for block in seen] == [0, *(block.last + 1 for block in seen[:-1])]
    assert seen[-1].last == COUNT - 1
    one = [block for block in blocks(sorted(WHOLE), OLD * 100) if isinstance(block, Block)]
    total = reduce(add, (block.tally for block in seen), Tally())
    assert total == reduce(add, (block.tally for block in one), Tally())
    assert total.events == total.looked_at == total.features[MIX].n == COUNT


def test_of_a_large_chunk_every_nth_event_is_looked_at() -> None:
    work = fold(RECORDS, Position(0, "orders", 0, -1), Customers(MemoryStore()), MODEL, "")
    assert work.live == COUNT
    assert len(work.looks) == LOOKS
    assert {look.stands_for for look in work.looks} == {COUNT // LOOKS}


def test_what_was_collected_by_another_model_is_let_go() -> None:
    collector = Collector()
    collector.install(MODEL)
    work = fold(RECORDS[:50], Position(0, "orders", 0, -1), Customers(MemoryStore()), MODEL, "")
    assert collector.take("orders", 0, 0, 49, events=50, invalid=0, flips=0, looks=work.looks, now=0) == []
    collector.install(MODEL)
    assert collector.due(OLD) == []
