"""How far a training has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""What is being done, and the share of it that is done."""


def counted(stage: str, total: int, on_progress: Progress) -> Callable[[int], None]:
    """To be called with each thing that is finished, of `total`."""
    finished: list[int] = []

    def done(one: int) -> None:
        finished.append(one)
        on_progress(stage, len(finished) / total)

    return done
