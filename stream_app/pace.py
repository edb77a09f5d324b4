"""How much of a round may wait beside the events: they come first, and the round still comes to its end."""

from __future__ import annotations

from typing import Final

BESIDE: Final = 150
"""Customers of a round that are stored together while events come: an event waits for the group before it, so that must be small."""
ALONE: Final = 500
"""... while none comes: more would be hardly faster, and the next event would have to wait for them."""
QUIET: Final = 1.0
"""Seconds without an event after which none is expected."""
PER_EVENT: Final = 4
"""Of so many events that wait, one customer of a round goes with them, though events come faster than they can be handled."""


def share(events: int, quiet: float) -> int:
    """How many customers of a round may wait to be stored beside `events` that wait, `quiet` seconds after the last event came.

    >>> share(0, 60.0), share(1, 0.001), share(4000, 0.001)
    (500, 150, 1000)
    """
    return ALONE if quiet >= QUIET else max(BESIDE, events // PER_EVENT)
