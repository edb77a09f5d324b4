"""Everyone who listens to the changes as they happen: a change is written once, gathered with its neighbours, and handed to all together.

Listeners live in one event loop. What is told comes from another thread, in the order of the journal; whoever joins is told from a place
on that she knows exactly, so that what lies before it can be read from the journal, and nothing is missing or told twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from schemas.changes import SegmentChanged
from segment_api.journal import Seen

GATHER: Final = 0.05
"""Seconds for which changes are gathered: hundreds of listeners cost a write for each handful, not for each change."""
WAITING: Final = 1000
"""Changes that a listener may be behind; one who is slower is let go, and comes back with the place she was at."""
ALIVE: Final = 15.0
"""Seconds after which a quiet listener is sent a sign of life at the latest."""
SLICE: Final = 10
"""Listeners that are woken at a time."""
BREATH: Final = 0.002
"""Seconds between: writing to hundreds takes ten milliseconds, which nobody who asks for a customer shall wait."""

Places = Mapping[int, int]
"""Partition -> the next offset."""


class Filter(NamedTuple):
    """Which changes someone wants; what is empty lets everything pass."""

    segment: str = ""
    causes: frozenset[str] = frozenset()
    user: str = ""

    def passes(self, change: SegmentChanged) -> bool:
        """Whether a change is wanted."""
        return (
            (not self.segment or self.segment in (change.from_segment, change.to_segment))
            and (not self.causes or change.cause in self.causes)
            and (not self.user or change.user_id == self.user)
        )


class Told(NamedTuple):
    """A change as listeners are told it."""

    seen: Seen
    id: str
    """Of the event: the place to come back to."""
    data: bytes
    """A whole server-sent event."""


class Listener:
    """Someone who is told every change that she wants from `begin` on."""

    def __init__(self, wanted: Filter, begin: Places, ahead: Places) -> None:
        self.wanted = wanted
        self.begin = dict(begin)
        self.ahead = dict(ahead)
        """Where she has heard more than we: another copy of the API told her."""
        self.is_behind = False
        self.is_quiet = True
        """Since the last signs of life."""
        self._waiting: list[bytes] = []
        self._changes = 0
        self._some = asyncio.Event()

    def give(self, data: bytes, changes: int) -> bool:
        """Keep events for her; False where too much waits already: she is told no more after that."""
        if self._changes and self._changes + changes > WAITING:
            self.is_behind = True
        if self.is_behind:
            return False
        self._waiting.append(data)
        self._changes += changes
        self.is_quiet = False
        return True

    def wake(self) -> None:
        """There is something for her."""
        self._some.set()

    async def taken(self) -> bytes:
        """All that has come since; waits for something. Nothing: she was too slow, and has been told all that she was there for."""
        while not self._waiting and not self.is_behind:  # she may be woken for what she has taken already
            self._some.clear()
            await self._some.wait()
        data, self._waiting, self._changes = b"".join(self._waiting), [], 0
        return data


class Audience:
    """All listeners. `tell` and `begin_at` are called by one other thread, everything else in the listeners' event loop."""

    def __init__(self, gather: float = GATHER, alive: float = ALIVE) -> None:
        self._gather = gather
        self._alive = alive
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._read: dict[int, int] = {}
        """Where the other thread is."""
        self._spread: dict[int, int] = {}
        """What every listener has been handed."""
        self._pending: list[Told] = []
        self._listeners: dict[Listener, None] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def begin_at(self, places: Places) -> None:
        """The journal is (again) at these places."""
        self._hand_over([], dict(places))

    def tell(self, fresh: Sequence[Seen]) -> None:
        """These changes are in the journal now."""
        places, told = dict(self._read), []
        for seen in fresh:
            places[seen.partition] = seen.offset + 1
            place = to_event_id(places)
            told.append(Told(seen, place, event("change", seen.body, place)))
        if told:
            self._hand_over(told, places)

    def _hand_over(self, told: list[Told], places: dict[int, int]) -> None:
        with self._lock:
            self._read = places
            if self._loop is not None:
                with suppress(RuntimeError):  # it has ended, and the listeners with it
                    self._loop.call_soon_threadsafe(self._take_in, told, places)

    def join(self, wanted: Filter, start: Places | None = None) -> Listener:
        """A new listener, told what comes after her `begin`; give her back to `leave`. `start`: what she has heard already."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._loop is not loop:
                self._loop, self._spread, self._pending, self._timers = loop, self._read, [], {}
        ahead = {p: offset for p, offset in (start or {}).items() if offset > self._spread.get(p, 0)}
        listener = Listener(wanted, self._spread, ahead)
        self._listeners[listener] = None
        self._after("alive", self._alive / 2, self._comfort)
        return listener

    def leave(self, listener: Listener) -> None:
        """Tell no more."""
        self._listeners.pop(listener, None)

    def _after(self, what: str, seconds: float, call: object) -> None:
        timer = self._timers.get(what)
        if (timer is None or timer.cancelled()) and self._loop is not None:
            self._timers[what] = self._loop.call_later(seconds, call)  # type: ignore[arg-type]

    def _take_in(self, told: list[Told], places: dict[int, int]) -> None:
        if not told or not self._listeners:  # a place to go on from, and nobody to be told of the way there
            self._flush()
            self._spread = places
            return
        self._pending += told
        self._after("gather", self._gather, self._flush)

    def _flush(self) -> None:
        """Hand what was gathered to everyone: for each kind of wish it is put together once."""
        if timer := self._timers.pop("gather", None):
            timer.cancel()
        told, self._pending = self._pending, []
        if not told:
            return
        made: dict[Filter, tuple[bytes, int]] = {}
        woken = []
        for listener in self._listeners:
            if listener.ahead:
                data, changes = _for_one(listener, told)
            elif (known := made.get(listener.wanted)) is not None:
                data, changes = known
            else:
                passed = [one.data for one in told if listener.wanted.passes(one.seen.change)]
                data, changes = made[listener.wanted] = b"".join(passed), len(passed)
            if data:
                listener.give(data, changes)
                woken.append(listener)
        self._spread = self._spread | {one.seen.partition: one.seen.offset + 1 for one in told}
        self._wake(woken)

    def _comfort(self) -> None:
        """A sign of life, with the place that she has come to, to everyone who was told nothing for a while."""
        self._timers.pop("alive", None)
        woken = []
        for listener in self._listeners:
            if listener.is_quiet:
                place = to_event_id(self._spread | listener.ahead)
                listener.give(f"id: {place}\n\n".encode(), 0)
                woken.append(listener)
            listener.is_quiet = True
        self._wake(woken)
        if self._listeners:
            self._after("alive", self._alive / 2, self._comfort)

    def _wake(self, listeners: list[Listener]) -> None:
        for listener in listeners[:SLICE]:
            listener.wake()
        if (rest := listeners[SLICE:]) and self._loop is not None:
            self._loop.call_later(BREATH, self._wake, rest)


def _for_one(listener: Listener, told: Sequence[Told]) -> tuple[bytes, int]:
    """What is new to someone who had heard more than we; her places never go back."""
    passed = []
    for one in told:
        partition, offset, change, body = one.seen
        if offset < listener.ahead.get(partition, 0):
            continue
        listener.ahead.pop(partition, None)
        if listener.wanted.passes(change):
            place = to_event_id((from_event_id(one.id) or {}) | listener.ahead)
            passed.append(event("change", body, place))
    return b"".join(passed), len(passed)


def event(kind: str, data: bytes, place: str) -> bytes:
    """A server-sent event."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), place.encode(), data)


def to_event_id(places: Places) -> str:
    """Places as the id of a server-sent event: the same on every copy of the API.

    >>> to_event_id({1: 530, 0: 12}), from_event_id("12.530")
    ('12.530', {0: 12, 1: 530})
    """
    return ".".join(str(places.get(p, 0)) for p in range(max(places, default=-1) + 1))


def from_event_id(text: str) -> dict[int, int] | None:
    """The places of such an id; None where it is none."""
    parts = text.split(".")
    return (
        {p: int(part) for p, part in enumerate(parts)}
        if all(part.isdecimal() and len(part) < 20 for part in parts)
        else None
    )
