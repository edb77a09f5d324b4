"""Whoever listens is told all that she wants, once and in order, whatever the others do and whenever she came."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from segment_api.audience import WAITING, Audience, Filter, Listener, from_event_id, to_event_id
from segment_api.changes import feed
from segment_api.journal import Journal, Seen
from tests.segment_api.test_changes import lives, records


def seen(count: int, tmp_path: Path, seed: int = 1) -> list[Seen]:
    changes, _ = lives(count, 1_767_225_600_000_000, seed)
    return Journal(tmp_path / f"{seed}.sqlite", 100_000).append(records(changes))


def events(data: bytes) -> list[tuple[str, bytes]]:
    """Id and data of each change."""
    found = []
    for text in data.split(b"\n\n"):
        lines = dict(line.split(b": ", 1) for line in text.split(b"\n") if b": " in line)
        if lines.get(b"event") == b"change":
            found.append((lines[b"id"].decode(), lines[b"data"]))
    return found


async def until(listener: Listener, wanted: int) -> list[tuple[str, bytes]]:
    """Take until so many changes have come."""
    found: list[tuple[str, bytes]] = []
    async with asyncio.timeout(30):
        while len(found) < wanted:
            data = await listener.taken()
            assert data, "she was let go"
            found += events(data)
    return found


def in_a_loop(law: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await law()

    asyncio.run(run())


def test_every_listener_hears_what_she_wants_in_order_though_others_never_take_anything(tmp_path: Path) -> None:
    told = seen(900, tmp_path)
    wishes = [
        Filter(),
        Filter("s2"),
        Filter("", frozenset({"bootstrap"})),
        Filter("s1", frozenset({"behaviour"}), "u3"),
    ]

    async def law() -> None:
        audience = Audience(gather=0.0)
        idle = [audience.join(Filter()) for _ in range(50)]
        listening = [audience.join(wish) for wish in wishes for _ in range(3)]
        for start in range(0, len(told), 90):
            audience.tell(told[start : start + 90])
        for listener in listening:
            wanted = [one.body for one in told if listener.wanted.passes(one.change)]
            assert [data for _, data in await until(listener, len(wanted))] == wanted
        assert not any(listener.is_behind for listener in idle)

    in_a_loop(law)


def test_hundreds_who_take_at_their_own_pace_hear_everything_and_nobody_is_let_go(tmp_path: Path) -> None:
    told = seen(600, tmp_path)
    dice = random.Random(3)

    async def hear(listener: Listener) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < len(told):
            found += [data for _, data in await until(listener, 1)]
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
        return found

    async def law() -> None:
        audience = Audience(gather=0.0)
        hearing = [asyncio.create_task(hear(audience.join(Filter()))) for _ in range(200)]
        for at in range(0, len(told), 3):
            audience.tell(told[at : at + 3])
            for _ in range(dice.randrange(20)):
                await asyncio.sleep(0)
        for found in await asyncio.gather(*hearing):
            assert found == [one.body for one in told]

    in_a_loop(law)


def test_who_is_too_slow_is_let_go_and_has_all_that_came_before_the_place_she_is_told(tmp_path: Path) -> None:
    told = seen(3 * WAITING, tmp_path)

    async def law() -> None:
        audience = Audience(gather=0.0)
        slow, quick = audience.join(Filter()), audience.join(Filter())
        got = []
        for start in range(0, len(told), 100):
            audience.tell(told[start : start + 100])
            got += await until(quick, 100)
        assert [data for _, data in got] == [one.body for one in told]
        assert slow.is_behind
        held = events(await slow.taken())
        assert len(held) <= WAITING
        assert [data for _, data in held] == [one.body for one in told[: len(held)]]
        assert await slow.taken() == b"", "that was all: she comes back"
        place = from_event_id(held[-1][0]) or {}
        rest = [one.body for one in told if one.offset >= place.get(one.partition, 0)]
        assert rest == [one.body for one in told[len(held) :]]

    in_a_loop(law)


def test_what_lies_before_a_listener_and_what_she_is_told_is_everything_whenever_she_joins(tmp_path: Path) -> None:
    told = seen(900, tmp_path)
    dice = random.Random(5)

    async def law() -> None:
        audience = Audience(gather=0.0)
        joined, at = [], 0
        while at < len(told):
            for _ in range(dice.randrange(3)):
                joined.append(audience.join(Filter()))
            some = dice.randrange(1, 40)
            audience.tell(told[at : at + some])
            at += some
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
        for listener in joined:
            before = [one.body for one in told if one.offset < listener.begin.get(one.partition, 0)]
            after = await until(listener, len(told) - len(before))
            assert before + [data for _, data in after] == [one.body for one in told]

    in_a_loop(law)


def test_who_was_told_more_by_another_copy_is_told_nothing_again_and_her_places_never_go_back(tmp_path: Path) -> None:
    told = seen(300, tmp_path)

    async def law() -> None:
        audience = Audience(gather=0.0)
        audience.join(Filter())
        audience.tell(told[:100])
        ahead = {one.partition: one.offset + 1 for one in told[:200]}
        listener = audience.join(Filter(), ahead)
        audience.tell(told[100:150])
        audience.tell(told[150:])
        found = await until(listener, 100)
        assert [data for _, data in found] == [one.body for one in told[200:]]
        places = [ahead, *(from_event_id(place) or {} for place, _ in found)]
        for earlier, later in pairwise(places):
            assert all(later[p] >= offset for p, offset in earlier.items())
        assert not listener.ahead

    in_a_loop(law)


def test_a_quiet_listener_is_told_the_place_she_has_come_to(tmp_path: Path) -> None:
    told = seen(60, tmp_path)

    async def law() -> None:
        audience = Audience(gather=0.0, alive=0.02)
        everyone, nobody = audience.join(Filter()), audience.join(Filter(user="nobody"))
        audience.tell(told)
        await until(everyone, len(told))
        end = to_event_id({one.partition: one.offset + 1 for one in told})
        async with asyncio.timeout(30):
            while (sign := await nobody.taken()) != f"id: {end}\n\n".encode():
                assert sign.startswith(b"id: ")

    in_a_loop(law)


def test_who_comes_back_with_any_place_hears_what_she_missed_and_what_is_new_once(tmp_path: Path) -> None:
    changes, _ = lives(400, 1_767_225_600_000_000)
    rows = records(changes)
    dice = random.Random(11)

    async def hear(stream: AsyncGenerator[bytes], wanted: int) -> tuple[str, list[tuple[str, bytes]]]:
        first = (await anext(stream)).decode()
        assert first.startswith("retry: ")
        found: list[tuple[str, bytes]] = []
        while len(found) < wanted:
            found += events(await anext(stream))
        await stream.aclose()
        return first.split("id: ")[1].strip(), found

    async def law() -> None:
        journal, audience = Journal(tmp_path / "back.sqlite", 100_000), Audience(gather=0.0)
        services: Any = SimpleNamespace(journal=journal, tail=SimpleNamespace(audience=audience, is_caught_up=True))
        known: list[Seen] = []
        hearing = []
        for at in range(0, len(rows), 20):
            fresh = journal.append(rows[at : at + 20])
            known += fresh
            audience.tell(fresh)
            start: dict[int, int] = {}
            for one in known[: dice.randrange(len(known))]:
                start[one.partition] = one.offset + 1
            place = from_event_id(to_event_id(start)) if start else {0: 0}
            assert place is not None
            wanted = [row.value for row in rows if row.offset >= place.get(row.partition, 0)]
            task = asyncio.create_task(hear(feed(services, place, Filter()), len(wanted)))
            hearing.append((place, wanted, task))
            for _ in range(dice.randrange(5)):
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            for place, wanted, task in hearing:
                first, found = await task
                assert first == to_event_id(place), "what she missed is not told yet: her place is the one she had"
                assert [data for _, data in found] == wanted
        assert len(audience) == 0

    in_a_loop(law)
