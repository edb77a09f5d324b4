"""Laws of the projection: whoever changed is written, together with the others who did, whichever partition they are in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import redis

from schemas.customer import Customer, to_bytes
from schemas.model import Model
from stream_app.anew import Moment, Row
from stream_app.helper import HelperEnded, Render
from stream_app.metrics import Metrics
from stream_app.picture import Rendered, render
from stream_app.projection import BATCH, FEW, RENDERED, SLICE, Projection
from tests.schemas.models import model

MANY = 7
"""A partition of a thousand customers; all others have three."""
ONE = Customer(sequence=1, segment="s1", nearest="s1")
USED = model()


class Store:
    """A Redis that keeps whom it was asked to write, call by call, after which something else may happen, and refuses the first `refused` calls."""

    def __init__(self, refused: int = 0, meanwhile: Callable[[int], object] = lambda call: None) -> None:
        self.calls: list[list[str]] = []
        self._refused = refused
        self._meanwhile = meanwhile

    def register_script(self, _: str) -> Any:
        async def called(keys: list[str], args: list[Any]) -> None:
            if self._refused:
                self._refused -= 1
                raise redis.ConnectionError("away")
            self.calls.append([row[0] for row in msgspec.msgpack.decode(args[2])])
            self._meanwhile(len(self.calls))

        return called


class Everyone:
    """Customers of one partition: whoever is asked for; three who are known from before."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def look(self, key: bytes) -> Customer:
        return ONE

    def record(self, key: bytes) -> bytes:
        return to_bytes(ONE)

    def keys(self) -> list[bytes]:
        return [name(self._partition, n).encode() for n in range(len(self))]

    def __len__(self) -> int:
        return 1000 if self._partition == MANY else 3


class Beside:
    """Renders as the process beside would, which is gone with its third slice `ends` times; `then` happens with each slice."""

    def __init__(self, ends: int = 0, then: Callable[[int], object] = lambda slices: None) -> None:
        self.started = 0
        self.slices: list[int] = []
        self._ends = ends
        self._then = then

    @asynccontextmanager
    async def __call__(self, used: Model) -> AsyncIterator[Render]:
        self.started += 1
        asked = 0

        async def rendered(moment: Moment, rows: Sequence[Row]) -> Rendered:
            nonlocal asked
            asked += 1
            self.slices.append(len(rows))
            self._then(len(self.slices))
            if asked == 3 and self.started <= self._ends:
                raise HelperEnded("gone")
            return render(rows, used, moment.decided_at)

        yield rendered


def made(
    store: Store,
    *,
    is_busy: bool = False,
    events_come: bool = False,
    beside: Beside | None = None,
    is_deciding: Callable[[], bool] = lambda: False,
    used: Callable[[], Model | None] = lambda: USED,
) -> Projection:
    projection = Projection(
        store,  # type: ignore[arg-type]
        "t:",
        Metrics(),
        interval=0.0,
        clock=lambda: 0,
        customers=Everyone,  # type: ignore[arg-type]
        model=used,
        is_busy=lambda: is_busy,
        events_come=lambda: events_come,
        is_deciding=is_deciding,
        renderer=beside or Beside(),
    )
    projection._look_at = float("inf")
    return projection


def name(partition: int, number: int) -> str:
    return f"{partition}-{number}"


def test_those_who_changed_in_every_partition_go_in_one_call_also_while_work_waits() -> None:
    store = Store()
    projection = made(store, is_busy=True)
    for partition in range(4):
        projection.touch(partition, [name(partition, n).encode() for n in range(10)])
    asyncio.run(projection._round())
    assert [sorted(call) for call in store.calls] == [sorted(name(p, n) for p in range(4) for n in range(10))]
    assert projection.pending == 0


def test_a_partition_with_many_keeps_no_other_waiting_and_everyone_is_written_once() -> None:
    store = Store()
    projection = made(store)
    counts = {0: 5 * BATCH, 1: 7, 2: 3 * BATCH}
    for partition, count in counts.items():
        projection.touch(partition, [name(partition, n).encode() for n in range(count)])
    asyncio.run(projection._round())
    assert {name(1, n) for n in range(7)} <= set(store.calls[0])
    assert all(len(call) == BATCH for call in store.calls[:-1])
    for call in store.calls[:6]:
        assert {who[0] for who in call} >= {"0", "2"}
    written = [who for call in store.calls for who in call]
    assert sorted(written) == sorted(name(p, n) for p, count in counts.items() for n in range(count))


def test_those_whom_redis_did_not_take_are_written_again() -> None:
    store = Store(refused=1)
    projection = made(store)
    projection.touch(3, [b"3-1", b"3-2"])
    for expected in (2, 0):
        try:
            asyncio.run(projection._round())
        except redis.ConnectionError:
            assert expected == 2
        assert projection.pending == expected
    assert sorted(store.calls[0]) == ["3-1", "3-2"]


def test_a_new_partition_is_written_whole_and_one_that_comes_back_where_others_wrote() -> None:
    store = Store()
    projection = made(store)
    owned: list[tuple[frozenset[int], dict[int, list[bytes]]]] = [
        (frozenset({0}), {}),
        (frozenset({0, 1}), {0: [b"0-1"]}),
        (frozenset({1}), {0: [b"0-2"], 1: [b"1-2"]}),
    ]
    for partitions, overtaken in owned:
        projection.own(partitions, overtaken)
        asyncio.run(projection._round())
    assert [sorted(call) for call in store.calls] == [["0-0", "0-1", "0-2"], ["0-1", "1-0", "1-1", "1-2"], ["1-2"]]


def test_whoever_was_only_decided_anew_waits_beside_events_and_whoever_has_an_event_goes_with_the_next_call() -> None:
    anew = [name(MANY, n).encode() for n in range(300)]

    def meanwhile(call: int) -> None:
        if call == 2:
            projection.touch(0, [b"0-1"])

    store = Store(meanwhile=meanwhile)
    projection = made(store, events_come=True)
    projection.touch(MANY, [*anew, b"event"], later=anew)
    asyncio.run(projection._round())
    assert "event" in store.calls[0]
    assert "0-1" in store.calls[2]
    assert all(len(call) == SLICE for call in store.calls[:-1])
    assert sorted(who for call in store.calls for who in call) == sorted(["event", "0-1", *map(bytes.decode, anew)])


def test_where_no_event_comes_they_go_many_at_a_time() -> None:
    store = Store()
    projection = made(store)
    anew = [name(MANY, n).encode() for n in range(2 * BATCH)]
    projection.touch(MANY, anew, later=anew)
    asyncio.run(projection._round())
    assert [len(call) for call in store.calls] == [BATCH, BATCH]


def test_while_redis_is_away_no_more_wait_than_there_are() -> None:
    projection = made(Store())
    anew = [name(MANY, n).encode() for n in range(1000)]
    for _ in range(5):
        projection.touch(MANY, anew[:600], later=anew[:600])
    assert 600 <= projection.pending <= 1000
    asyncio.run(projection._round())
    assert projection.pending == 0


MANY_KEYS = [name(MANY, n).encode() for n in range(FEW + 12 * RENDERED + 1)]


def everyone() -> list[str]:
    return sorted(map(bytes.decode, MANY_KEYS))


async def until(done: Callable[[], object], projection: Projection) -> None:
    """Let it run until then, ten seconds at most."""
    running = asyncio.ensure_future(projection.run())
    try:
        async with asyncio.timeout(10):
            while not done():
                assert not running.done() or running.result()
                await asyncio.sleep(0.001)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_where_many_can_wait_they_are_rendered_beside_and_whoever_has_an_event_does_not_wait_for_them() -> None:
    store = Store()
    beside = Beside(then=lambda slices: slices == 5 and projection.touch(0, [b"0-1"]))
    projection = made(store, events_come=True, beside=beside)
    projection.touch(MANY, MANY_KEYS, later=MANY_KEYS)
    asyncio.run(until(lambda: not projection.pending, projection))
    written = [who for call in store.calls for who in call]
    assert sorted(written) == sorted(["0-1", *everyone()])
    assert (beside.started, set(beside.slices[:4])) == (1, {RENDERED})
    assert written.index("0-1") < 20 * RENDERED, "she was written among the first"


def test_few_are_rendered_in_the_worker_as_no_process_must_be_started_for_them() -> None:
    store, beside = Store(), Beside()
    projection = made(store, beside=beside)
    projection.touch(MANY, MANY_KEYS[:FEW], later=MANY_KEYS[:FEW])
    asyncio.run(until(lambda: not projection.pending, projection))
    assert beside.started == 0
    assert sorted(who for call in store.calls for who in call) == sorted(map(bytes.decode, MANY_KEYS[:FEW]))


def test_where_the_process_beside_ends_it_is_said_and_another_goes_on_without_leaving_anybody_out() -> None:
    store, said = Store(), list[str]()
    beside = Beside(ends=1, then=lambda slices: said.append(projection.error))
    projection = made(store, beside=beside)
    projection.touch(MANY, MANY_KEYS, later=MANY_KEYS)
    asyncio.run(until(lambda: not projection.pending and not projection.error, projection))
    assert sorted({who for call in store.calls for who in call}) == everyone()
    assert beside.started == 2
    assert "gone" in said


def test_what_redis_refuses_of_those_rendered_beside_is_written_later() -> None:
    store = Store(refused=2)
    projection = made(store)
    projection.touch(MANY, MANY_KEYS, later=MANY_KEYS)
    asyncio.run(until(lambda: not projection.pending and not projection.error, projection))
    assert sorted({who for call in store.calls for who in call}) == everyone()


def test_while_others_are_decided_anew_nobody_is_rendered_and_after_another_model_nobody_by_the_old_one() -> None:
    store, models = Store(), [USED]
    deciding = True

    def then(slices: int) -> None:
        if slices == 3:
            models.append(model(shift=-1.0))

    beside = Beside(then=then)
    projection = made(store, beside=beside, is_deciding=lambda: deciding, used=lambda: models[-1])
    projection.touch(MANY, MANY_KEYS, later=MANY_KEYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream_app.projection.LOOK_EVERY", 0.01)

        async def law() -> None:
            nonlocal deciding
            projection.touch(0, [b"0-1"])
            await until(lambda: store.calls, projection)
            assert beside.started == 0
            deciding = False
            await until(lambda: not projection.pending, projection)

        asyncio.run(law())
    assert store.calls[0] == ["0-1"]
    assert beside.started == 2
    assert sorted(who for call in store.calls[1:] for who in call) == everyone()
