"""Waiting for a condition with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


def wait_for(condition: Callable[[], bool], what: str, deadline: float = 60.0, every: float = 0.02) -> None:
    """Wait until a condition holds; fail with what was awaited when the deadline (seconds) passes.

    `every`: seconds between looks, more of them where a look costs the one who is looked at.
    """
    until = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"not within {deadline:.0f} s: {what}")
        time.sleep(every)
