"""Changes, changelog, acknowledgement: in this order, however much is on its way; and a round gives way to events, and still goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import topics
from schemas.customer import Customer, from_bytes, to_bytes
from schemas.model import Model
from stream_app import outbox, rounds
from stream_app.anew import Moment, Outcome, Reason, Row
from stream_app.customers import Customers
from stream_app.fastlane.batches import Record
from stream_app.helper import Decide
from stream_app.outbox import AHEAD, Group, Outbox, Piece
from stream_app.pace import ALONE, EVENTS_EACH, LATE, PER_SECOND, QUIET, SLICE, next_at, room
from stream_app.rounds import Rounds
from stream_app.stores import MemoryStore
from stream_app.work import Work
from tests.schemas.models import model


@asynccontextmanager
async def thousand(reason: Reason, used: Model) -> AsyncIterator[Decide]:
    """Everybody's revision grows by a thousand."""

    async def decide(moment: Moment, rows: Sequence[Row]) -> list[Outcome | None]:
        await asyncio.sleep(0)
        found: list[Outcome | None] = []
        for _, record in rows:
            customer = from_bytes(record)
            customer.revision += 1000
            found.append(Outcome(to_bytes(customer), None))
        return found

    yield decide


class Broker:
    """Acknowledges when it is told to: one request, or all of them from then on."""

    def __init__(self) -> None:
        self.sent: list[dict[str, dict[int, list[Record]]]] = []
        self.answers: list[asyncio.Event] = []
        self.is_prompt = False

    @property
    def keys(self) -> list[dict[str, list[bytes | None]]]:
        """Of every request so far, by topic."""
        return [{topic: [r.key for r in parts[0]] for topic, parts in out.items()} for out in self.sent]

    async def send(
        self, client: object, out: Mapping[str, Mapping[int, Iterable[Record]]]
    ) -> dict[str, dict[int, int]]:
        self.sent.append({topic: {p: list(records) for p, records in parts.items()} for topic, parts in out.items()})
        number, answer = len(self.sent), asyncio.Event()
        self.answers.append(answer)
        if not self.is_prompt:
            await answer.wait()
        return {topic: dict.fromkeys(parts, number) for topic, parts in out.items()}

    async def answer(self, number: int) -> None:
        """Acknowledge this request, and let everybody go on."""
        self.answers[number].set()
        await settled()

    def answer_all(self) -> None:
        """Acknowledge what has come, and whatever comes."""
        self.is_prompt = True
        for answer in self.answers:
            answer.set()


class Desk:
    """An outbox with customers of one partition, before a broker that answers when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, customers: int = 0) -> None:
        self.broker = Broker()
        monkeypatch.setattr(outbox, "send", self.broker.send)
        self.customers = Customers(MemoryStore())
        for number in range(customers):
            self.customers.open(b"c%d" % number, Customer())
        if self.customers.close():
            self.customers.stored(0)
        self.groups: list[Group] = []
        self.outbox = Outbox(object, "test", lambda: 0, lambda p: self.customers, self.groups.append, pytest.fail)
        self.rounds = Rounds(self.outbox, lambda p: self.customers, lambda: frozenset([0]), thousand)
        monkeypatch.setattr(rounds, "next_at", lambda planned, now, customers, quiet: now)
        self.outbox.start()

    async def event(self, key: bytes = b"c0") -> None:
        """One event of a customer."""
        customer = self.customers.look(key) or Customer()
        customer.revision += 1
        self.customers.open(key, customer)
        await self.outbox.submit(Piece(Work(partition=0, events=1), acknowledge=lambda: None))

    async def round(self) -> Any:
        """Everybody is decided anew."""
        return await self.rounds.make("model", model(), lambda: Moment("", 0), lambda: True)


async def settled() -> None:
    """Let everybody who can go on do so."""
    for _ in range(1000):
        await asyncio.sleep(0)


def told(key: bytes, done: list[bytes]) -> Piece:
    """An event of a customer that leads to a change; when it is acknowledged that is `done`."""
    change = ("told", 0, Record(key, b""))
    return Piece(Work(partition=0, events=1), acknowledge=lambda: done.append(key), extra=(change,))


def test_a_groups_changelog_waits_for_its_changes_and_goes_with_those_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def law() -> None:
        desk = Desk(monkeypatch)
        post = desk.broker
        users = topics.USERS.name
        done: list[bytes] = []

        async def work(key: bytes) -> None:
            desk.customers.open(key, Customer())
            await desk.outbox.submit(told(key, done))
            await settled()

        await work(b"a")
        await work(b"b")
        assert post.keys == [{"told": [b"a"]}], "b waits for what is on its way"
        await post.answer(0)
        assert post.keys[1:] == [{"told": [b"b"], users: [b"a"]}], "the changes of b beside the changelog of a"
        await work(b"c")
        await work(b"d")
        assert (post.keys[2:], done) == ([], [])
        assert desk.customers.look(b"b") is not None
        await post.answer(1)
        assert (post.keys[2:], done) == ([{"told": [b"c", b"d"], users: [b"b"]}], [b"a"])
        assert desk.customers._store.keys() == [b"a"]
        post.answer_all()
        await asyncio.wait_for(desk.outbox.drain(), 10)
        assert post.keys[3:] == [{users: [b"c", b"d"]}]
        assert done == [b"a", b"b", b"c", b"d"]
        assert sorted(desk.customers.keys()) == sorted(desk.customers._store.keys()) == [b"a", b"b", b"c", b"d"]

    asyncio.run(law())


def test_a_changelog_waits_for_company_only_where_groups_follow_each_other_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def law() -> None:
        monkeypatch.setattr(outbox, "LINGER", 3600.0)
        desk = Desk(monkeypatch)
        post = desk.broker
        post.answer_all()
        users = topics.USERS.name

        async def work(key: bytes) -> None:
            desk.customers.open(key, Customer())
            await desk.outbox.submit(told(key, []))
            await settled()

        await work(b"a")
        assert post.keys == [{"told": [b"a"]}, {users: [b"a"]}], "nothing came before, and nothing is waited for"
        await work(b"b")
        assert post.keys[2:] == [{"told": [b"b"]}]
        await work(b"c")
        assert post.keys[3:] == [{"told": [b"c"], users: [b"b"]}]
        monkeypatch.setattr(outbox, "LINGER", 0.001)
        await work(b"d")
        await asyncio.wait_for(desk.outbox.drain(), 10)  # nobody comes any more
        assert post.keys[4:] == [{"told": [b"d"], users: [b"c"]}, {users: [b"d"]}]

    asyncio.run(law())


def test_while_events_come_little_of_a_round_waits_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def law() -> None:
        desk = Desk(monkeypatch, customers=4 * SLICE)
        await desk.event()
        going = asyncio.create_task(desk.round())
        await settled()  # the event is on its way and not acknowledged
        assert desk.outbox._swept == SLICE
        await asyncio.wait_for(desk.event(), 1)  # which need not wait for it
        desk.broker.answer_all()
        done = await asyncio.wait_for(going, 30)
        assert (done.decided, done.changed) == (4 * SLICE, 0)
        sizes = [sum(piece.swept for piece in group.pieces) for group in desk.groups]
        assert sum(sizes) == 4 * SLICE
        assert max(sizes) == SLICE

    asyncio.run(law())


def test_where_no_event_comes_a_round_takes_more_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def law() -> None:
        desk = Desk(monkeypatch, customers=2 * ALONE)
        going = asyncio.create_task(desk.round())
        await settled()
        assert desk.outbox._swept == ALONE
        going.cancel()

    asyncio.run(law())


def test_a_round_goes_on_though_events_come_faster_than_they_can_be_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def law() -> None:
        desk = Desk(monkeypatch, customers=5000)
        for _ in range(2):
            await desk.event()
            await settled()
        waiting = [asyncio.create_task(desk.event()) for _ in range(2 * AHEAD)]
        going = asyncio.create_task(desk.round())
        await settled()
        assert 0 <= desk.outbox._swept - 2 * AHEAD // EVENTS_EACH < SLICE
        for task in (*waiting, going):
            task.cancel()

    asyncio.run(law())


steps = st.lists(st.sampled_from([b"c0", b"c1", b"c7", b"new"]), max_size=12)


def test_what_events_and_a_round_do_at_the_same_time_is_all_stored_as_of_each_groups_end() -> None:
    @settings(max_examples=50, deadline=None)
    @given(steps, st.booleans())
    def law(events: list[bytes], is_prompt: bool) -> None:
        async def both() -> None:
            with pytest.MonkeyPatch.context() as patch:
                desk = Desk(patch, customers=300)
                patch.setattr(rounds, "SLICE", 10)
                if is_prompt:
                    desk.broker.answer_all()
                going = asyncio.create_task(desk.round())
                for key in events:
                    await desk.event(key)
                    await asyncio.sleep(0)
                desk.broker.answer_all()
                await asyncio.wait_for(going, 30)
                await desk.outbox.drain()
                log: dict[bytes, bytes | None] = {}
                for out in desk.broker.sent:
                    assert list(out) == [topics.USERS.name]
                    for record in out[topics.USERS.name][0]:
                        assert record.key is not None
                        log[record.key] = record.value
                for number in range(300):
                    key = b"c%d" % number
                    stored = log[key]
                    assert stored is not None
                    assert from_bytes(stored).revision == 1000 + events.count(key)
                    now = desk.customers.look(key)
                    assert now is not None
                    assert now.revision == from_bytes(stored).revision

        asyncio.run(both())

    law()


@given(st.integers(0, 10**6), st.floats(0, 100))
def test_what_of_a_round_may_wait_is_bounded_and_never_nothing(events: int, quiet: float) -> None:
    assert SLICE <= room(events, quiet) <= max(ALONE, events // EVENTS_EACH)
    assert quiet < QUIET or room(events, quiet) == ALONE


@given(st.lists(st.floats(0, LATE), min_size=1, max_size=50), st.integers(1, SLICE))
def test_beside_events_a_round_keeps_its_rate_though_every_slice_is_late(delays: list[float], size: int) -> None:
    began = planned = 1000.0
    for delay in delays:  # a slice is taken over so long after it was planned
        planned = next_at(planned, planned + delay, size, 0.0)
    assert planned - began == pytest.approx(len(delays) * size / PER_SECOND)


@given(st.floats(LATE, 1e6), st.integers(1, SLICE))
def test_after_a_long_delay_no_burst_follows_and_where_no_event_comes_a_round_does_not_pause(
    late: float, size: int
) -> None:
    now = 1000.0 + late
    assert next_at(1000.0, now, size, 0.0) == pytest.approx(now - LATE + size / PER_SECOND)
    assert next_at(1000.0, now, size, QUIET) == now
