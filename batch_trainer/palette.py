"""The colours of segments, the same in every picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

PALETTE: Final = (
    "#4e79a7", "#e8833a", "#4f9d54", "#a86fb0", "#d6575a", "#3fa7a3", "#c9a227", "#96705b", "#e07fa5", "#8a8f99",
)  # fmt: skip
"""One per segment, told apart on light and dark."""


def colours(segment_ids: Iterable[str]) -> dict[str, str]:
    """The colour of each segment, by id.

    >>> colours(["s1", "s2"])["s2"]
    '#e8833a'
    """
    return {segment_id: PALETTE[i % len(PALETTE)] for i, segment_id in enumerate(segment_ids)}
