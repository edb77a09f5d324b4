"""Whether memory is flat: resident memory of workers over time, and the slope of a line through it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SETTLED: Final = 120.0
"""Seconds after its start in which a process may still grow: its customers are restored, its buffers find their size."""
LEAST: Final = 120.0
"""Seconds that a series must last beyond that to count."""
Sample = tuple[float, float]
"""Seconds, MiB."""


@dataclass(slots=True)
class Series:
    """The samples of one process."""

    pid: int
    samples: list[Sample] = field(default_factory=list)

    def settled(self, after: float) -> list[Sample]:
        """What counts: from some time after its start, and not before the whole run has warmed up; empty where too short."""
        if not self.samples:
            return []
        begin = max(self.samples[0][0] + SETTLED, after)
        kept = [sample for sample in self.samples if sample[0] >= begin]
        return kept if kept and kept[-1][0] - kept[0][0] >= LEAST else []


def slope(parts: Iterable[Sequence[Sample]]) -> float | None:
    """MiB per minute, by least squares: one slope through all series, each at a level of its own. None where nothing was measured.

    >>> slope([[(0.0, 10.0), (60.0, 11.0)], [(0.0, 500.0), (120.0, 502.0)]])
    1.0
    >>> slope([]) is None
    True
    """
    both = squares = 0.0
    for part in parts:
        if not part:
            continue
        time = sum(at for at, _ in part) / len(part)
        level = sum(mib for _, mib in part) / len(part)
        both += sum((at - time) * (mib - level) for at, mib in part)
        squares += sum((at - time) ** 2 for at, _ in part)
    return 60.0 * both / squares if squares else None
