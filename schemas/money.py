"""Money inside is integer minor units (cents): sums are exact and do not depend on the order of the events."""

from __future__ import annotations

import math

MAX_MINOR = 10**13
"""The largest amount we accept, in minor units: beyond it a float could no longer tell two cents apart."""


def to_minor(amount: float) -> int:
    """Minor units of a decimal amount, halves rounded up.

    The same double arithmetic, `floor(amount * 100 + 0.5)`, is what the warehouse's SQL does.
    Raises ValueError where the amount is not finite or beyond `MAX_MINOR`.

    >>> to_minor(12.34), to_minor(0.005), to_minor(-1.5)
    (1234, 1, -150)
    """
    if not math.isfinite(amount):
        raise ValueError(f"amount {amount!r} is not a finite number")
    minor = math.floor(amount * 100.0 + 0.5)
    if not -MAX_MINOR <= minor <= MAX_MINOR:
        raise ValueError(f"amount {amount!r} is beyond the largest accepted, {MAX_MINOR // 100}")
    return minor


def to_major(minor: int) -> float:
    """The decimal amount of minor units.

    >>> to_major(1234)
    12.34
    """
    return minor / 100.0
