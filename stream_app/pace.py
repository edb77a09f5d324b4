"""How fast a round goes beside the events: they come first, and the round still comes to its end."""

from __future__ import annotations

from typing import Final

SLICE: Final = 350
"""Customers of a round who are decided, and stored, together. An event waits for the group before it, so that it must not be much; many small ones
cost Kafka and the event loop more than few larger ones."""
PER_SECOND: Final = 20_000
"""Customers decided anew in a second while events come: a million in less than a minute. A slice every 17 ms leaves most of the time to the
events; without pauses the next group would always be one of the round."""
ALONE: Final = 1400
"""How many may wait to be stored while no event comes: more would be hardly faster, and the next event would have to wait for them."""
QUIET: Final = 1.0
"""Seconds without an event after which none is expected."""
EVENTS_EACH: Final = 5
"""With so many events that wait goes one customer of a round, though events come faster than they can be handled."""


def room(events: int, quiet: float) -> int:
    """How many customers of a round may wait to be stored beside `events` that wait, `quiet` seconds after the last event.

    >>> room(0, 60.0), room(1, 0.001), room(4000, 0.001)
    (1400, 350, 800)
    """
    return ALONE if quiet >= QUIET else max(SLICE, events // EVENTS_EACH)


def pause(customers: int, quiet: float) -> float:
    """Seconds from a slice in which so many were decided to the next one.

    >>> pause(350, 60.0), pause(350, 0.001)
    (0.0, 0.0175)
    """
    return 0.0 if quiet >= QUIET else customers / PER_SECOND
