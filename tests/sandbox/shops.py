"""Small shops at a fixed time, for tests."""

from __future__ import annotations

from typing import Final

from sandbox.shop import Shop

NOW: Final = 1_767_225_600_123_456
"""2026-01-01, with microseconds that must survive."""


def small(seed: int = 7, customers: int = 300) -> Shop:
    """A shop with a year of history."""
    return Shop(seed, customers, 365, NOW)
