"""Deciding customers anew beside the worker: the same as within it, in order, and nothing is lost with the process that does it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.customer import Customer, UnreadableState, from_bytes, to_bytes
from schemas.events import UserDeleted
from schemas.model import Model
from stream_app import outbox, rounds
from stream_app.anew import Moment, Outcome, Reason, Row, decide_anew
from stream_app.customers import Customers
from stream_app.erasure import erase
from stream_app.helper import Decide, helper, renderer
from stream_app.outbox import Outbox
from stream_app.picture import Rows
from stream_app.rounds import Rounds
from stream_app.segmenter import Position, rescore
from stream_app.stores import MemoryStore
from stream_app.work import adopt, fold, records
from tests.installation import orders
from tests.schemas.models import model
from tests.stream_app.anew import within
from tests.stream_app.test_customers import Fetched
from tests.waiting import wait_for

SOURCE = Position(0, "orders", 0, -1)
THEN = Moment("2026-01-01T00:00:00Z", 20_000)
ONE, OTHER = model(), model(shift=-1.0)


def shop(events: int = 400, users: int = 60) -> Customers:
    """Customers whom ONE has decided, stored."""
    customers = Customers(MemoryStore(), at_hand=0)
    fold(
        [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(events, users))], SOURCE, customers, ONE, ""
    )
    customers.close()
    customers.stored(0)
    return customers


def ours() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "stream_app.helper" in " ".join(child.cmdline())]


def test_it_decides_as_the_worker_would_and_answers_in_the_order_of_the_slices() -> None:
    async def law() -> None:
        customers = shop()
        keys = customers.keys()
        slices = [records(keys[first : first + 7], customers) for first in range(0, len(keys), 7)]
        async with helper("model", OTHER) as decide:
            answers = await asyncio.wait_for(asyncio.gather(*(decide(THEN, rows) for rows in slices)), 30)
        assert answers == [decide_anew(rows, OTHER, "model", THEN) for rows in slices]
        for rows, outcomes in zip(slices, answers, strict=True):
            for (key, _), outcome in zip(rows, outcomes, strict=True):
                customer = customers.look(key)
                assert customer is not None
                assert outcome is not None
                change = rescore(customer, key.decode(), OTHER, THEN.decided_at, today=THEN.today)
                assert outcome == Outcome(to_bytes(customer), change)
        assert any(outcome and outcome.change for outcomes in answers for outcome in outcomes)
        assert ours() == [], "it has ended with its round"

    asyncio.run(law())


def test_it_renders_as_the_worker_would_and_whoever_was_erased_is_to_be_forgotten() -> None:
    async def law() -> None:
        customers = shop()
        first, *_ = sorted(customers.keys())
        erased = customers.look(first) or Customer()
        order = UserDeleted(first.decode(), at=0, until=0, signature="", event_id="1", replay=False)
        erase(erased, order, Position(0, "orders", 0, 400), THEN.decided_at, ONE)
        customers.open(first, erased)
        rows = records(sorted(customers.keys()), customers)
        async with renderer(ONE) as render_beside:
            found = await asyncio.wait_for(render_beside(THEN, rows), 30)
            with pytest.raises(UnreadableState, match="another application"):
                await render_beside(THEN, [(b"1", b"not ours")])
        expected = Rows(ONE, THEN.decided_at)
        for key, customer in everyone(customers):
            expected.add(key, customer)
        assert found == expected.rendered()
        assert found.shown == len(rows) - 1
        assert [user_id for user_id, _, _ in found.erased] == [first.decode()]
        assert ours() == [], "it has ended with those who waited"

    asyncio.run(law())


def test_whoever_is_on_the_model_already_is_left_alone_and_a_record_that_cannot_be_read_stops_the_round() -> None:
    async def law() -> None:
        customers = shop(20, 5)
        rows = records(customers.keys(), customers)
        async with helper("model", ONE) as decide:
            assert await decide(THEN, rows) == [None] * len(rows)
            with pytest.raises(UnreadableState, match="another application"):
                await decide(THEN, [(b"1", b"not ours")])
            assert await decide(THEN, rows[:1]) == [None], "what was asked after it is answered"

    asyncio.run(law())


def test_it_knows_no_secret_and_ends_with_its_worker_however_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSTREAM_REDIS_PASSWORD", "hush")
    program = (
        "import asyncio\nfrom stream_app.helper import helper\nfrom tests.schemas.models import model\n"
        "async def main():\n    async with helper('model', model()):\n        print('up', flush=True)\n        await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        (child,) = psutil.Process(worker.pid).children()
        wait_for(lambda: "stream_app.helper" in " ".join(child.cmdline()), "it is what it will be")
        assert not [name for name in child.environ() if name.startswith("SEGSTREAM_")]
    finally:
        worker.kill()
        worker.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "it has ended")


def made(customers: Customers, helped: object, monkeypatch: pytest.MonkeyPatch) -> tuple[Rounds, list[object]]:
    """Rounds through an outbox whose broker takes everything, and what failed."""

    async def stored(client: object, out: dict[str, dict[int, list[object]]]) -> dict[str, dict[int, int]]:
        return {topic: dict.fromkeys(parts, 1) for topic, parts in out.items()}

    failures: list[object] = []
    monkeypatch.setattr(outbox, "send", stored)
    monkeypatch.setattr(rounds, "SLICE", 10)
    monkeypatch.setattr(rounds, "AGAIN", 0.01)
    box = Outbox(object, "test", lambda: 0, lambda p: customers, lambda group: None, failures.append)
    box.start()
    return Rounds(box, lambda p: customers, lambda: frozenset([0]), helped), failures  # type: ignore[arg-type]


def test_where_it_is_killed_the_round_says_so_and_another_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def law() -> None:
        customers, said, started = shop(), list[str](), 0

        @asynccontextmanager
        async def mortal(reason: Reason, used: Model) -> AsyncIterator[Decide]:
            nonlocal started
            started += 1
            said.append(making.error)
            async with helper(reason, used) as decide:
                asked = 0

                async def dying(moment: Moment, rows: Sequence[Row]) -> list[Outcome | None]:
                    nonlocal asked
                    asked += 1
                    if asked == 3 and started < 3:
                        for process in ours():
                            process.kill()
                    return await decide(moment, rows)

                yield dying

        making, failures = made(customers, mortal, monkeypatch)
        left: list[int] = []
        done = await asyncio.wait_for(making.make("model", OTHER, lambda: THEN, lambda: True, left.append), 60)
        expected = shop()
        changes = [rescore(c, k.decode(), OTHER, THEN.decided_at, today=THEN.today) for k, c in everyone(expected)]
        assert done is not None
        assert (done.decided, done.changed) == (len(changes), len([c for c in changes if c]))
        assert {c.model_id for _, c in everyone(customers)} == {OTHER.id}
        assert {c.revision for _, c in everyone(customers)} != {0}
        assert [c.revision for _, c in everyone(customers)] == [c.revision + 1 for _, c in everyone(shop())]
        assert (started, failures, left[-1], making.error) == (3, [], 0, "")
        assert said[0] == ""
        assert said[1:] == ["the process beside the worker has ended"] * 2

    asyncio.run(law())


def everyone(customers: Customers) -> list[tuple[bytes, Customer]]:
    found = ((key, customers.look(key)) for key in sorted(customers.keys()))
    return [(key, customer) for key, customer in found if customer is not None]


def test_a_round_that_should_not_go_on_takes_nothing_over_of_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def law() -> None:
        customers = shop()
        before = dict(records(customers.keys(), customers))
        making, _ = made(customers, within, monkeypatch)
        assert await making.make("model", OTHER, lambda: THEN, lambda: False) is None
        assert dict(records(customers.keys(), customers)) == before

    asyncio.run(law())


events = st.lists(st.integers(0, 11), max_size=30)


@given(events, events, st.booleans(), st.booleans())
def test_whoever_had_an_event_while_she_was_decided_is_decided_once_more_and_nobody_else(
    before: list[int], meanwhile: list[int], leaves: bool, is_stored: bool
) -> None:
    customers = shop(60, 12)
    keys = sorted(customers.keys())
    revisions = {key: customer.revision for key, customer in everyone(customers)}

    def touch(numbers: list[int]) -> None:
        for number in numbers:
            key = keys[number % len(keys)]
            customer = customers.look(key)
            assert customer is not None
            customer.revision += 1
            customers.open(key, customer)
            revisions[key] += 1

    touch(before)
    rows = records(keys, customers)
    outcomes = decide_anew(rows, OTHER, "model", THEN)
    if leaves and customers.close() and is_stored:
        customers.stored(1)
    touch(meanwhile)
    work, again = adopt(rows, outcomes, 0, customers)
    assert sorted(again) == sorted({keys[number % len(keys)] for number in meanwhile})
    assert work.rescored == len(keys) - len(again)
    for key, customer in everyone(customers):
        assert customer.revision == revisions[key] + (key not in again)
        assert (customer.model_id == OTHER.id) == (key not in again)
    closed = customers.close()
    assert closed.keys() >= (set(keys) - set(again)) | set(again)
    assert {key: from_bytes(record).revision for key, record in closed.items() if record} == {
        key: customer.revision for key, customer in everyone(customers)
    }
