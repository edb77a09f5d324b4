"""How fast a round goes beside the events: they come first, and the round still comes to its end."""

from __future__ import annotations

from typing import Final

SLICE: Final = 100
"""Customers of a round who are decided, and stored, together. An event waits for the group before it, so that it must not be much: of 350 it was
2 ms more for one event in a hundred. Fewer cost Kafka and the event loop more, and spare the events no more."""
PER_SECOND: Final = 12_000
"""Customers decided anew in a second while events come: a million in a minute and a half. So many take a quarter of the event loop's time; with
18,500, a million in 55 s, one event in a hundred has waited twice as long as without."""
LATE: Final = 0.01
"""Seconds of delay that are made up for: timers come late and a group takes its time, which would cost a tenth of the rate; after anything longer
there is no burst."""
ALONE: Final = 1400
"""How many may wait to be stored while no event comes: more would be hardly faster, and the next event would have to wait for them."""
QUIET: Final = 1.0
"""Seconds without an event after which none is expected."""
EVENTS_EACH: Final = 5
"""With so many events that wait goes one customer of a round, though events come faster than they can be handled."""


def room(events: int, quiet: float) -> int:
    """How many customers of a round may wait to be stored beside `events` that wait, `quiet` seconds after the last event.

    >>> room(0, 60.0), room(1, 0.001), room(4000, 0.001)
    (1400, 100, 800)
    """
    return ALONE if quiet >= QUIET else max(SLICE, events // EVENTS_EACH)


def next_at(planned: float, now: float, customers: int, quiet: float) -> float:
    """When the next slice is to follow one in which so many were decided, and which was planned for `planned`: monotonic seconds.

    >>> [round(next_at(planned, 7.0, 120, 0.001), 3) for planned in (7.0, 6.995, 0.0)], next_at(7.0, 7.0, 120, 60.0)
    ([7.01, 7.005, 7.0], 7.0)
    """
    return now if quiet >= QUIET else max(planned, now - LATE) + customers / PER_SECOND
