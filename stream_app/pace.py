"""How much of a round may wait beside the events: they come first, and the round still comes to its end.

Counted in the time that computing it took, not in customers: a slow machine, or one that is busy, then stores fewer together.
"""

from __future__ import annotations

from typing import Final

BESIDE: Final = 1_500_000
"""Nanoseconds of a round whose customers are stored together while events come: an event waits for the group before it, so that must be
small. Encoding and sending them takes several times as long; about 150 customers where one is decided anew in ten microseconds."""
ALONE: Final = 4_500_000
"""... while none comes: more would be hardly faster, and the next event would have to wait for them."""
QUIET: Final = 1.0
"""Seconds without an event after which none is expected."""
PER_EVENT: Final = 2_000
"""Nanoseconds of a round that go with each event that waits, though events come faster than they can be handled."""


def share(events: int, quiet: float) -> int:
    """For how many nanoseconds of a round may be computed and wait to be stored beside `events` that wait, `quiet` seconds after the last event.

    >>> share(0, 60.0), share(1, 0.001), share(4000, 0.001)
    (4500000, 1500000, 8000000)
    """
    return ALONE if quiet >= QUIET else max(BESIDE, events * PER_EVENT)
