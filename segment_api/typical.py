"""What tells a segment's customers from everyone: each number's median here and of all, and how far apart they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from schemas.features import FEATURES
from segment_api.index import Floats, Index


class Typical(BaseModel):
    """One number of a segment's customers beside everyone's."""

    feature: str
    label: str
    here: float = Field(description="Median of those in the segment now, raw units.")
    everyone: float = Field(description="Median of all who have ordered.")
    shift: float = Field(
        description="How far the mean here is from everyone's, in standard deviations of everyone; of the scale the model compares on."
    )


class Portrait(NamedTuple):
    """A segment's customers as they are now."""

    medians: dict[str, float]
    """Raw units."""
    typical: list[Typical]
    """What tells them apart first."""
    spend: float | None
    """Gross spend of all of them together; None where the model does not know it."""


NOBODY = Portrait({}, [], None)


def portrait(index: Index | None, segment: str) -> Portrait:
    """The customers of a segment; NOBODY where there are none, or everyone is still being read."""
    if index is None:
        return NOBODY
    columns, codes, names = index.columns()
    here = codes == (names.index(segment) if segment in names else -2)
    if not here.any():
        return NOBODY
    scales = {column.feature: column.transform for column in index.model.spec.numbers()}
    found = [
        Typical(
            feature=name,
            label=FEATURES[name].label,
            here=float(np.nanmedian(values[here])),
            everyone=float(np.nanmedian(values)),
            shift=_shift(values, here, scales.get(name, "identity")),
        )
        for name, values in columns.items()
        if not np.isnan(values[here]).all()
    ]
    found.sort(key=lambda one: -abs(one.shift))
    spend = columns.get("gross_spend")
    return Portrait(
        {one.feature: one.here for one in found}, found, None if spend is None else float(np.nansum(spend[here]))
    )


def _shift(values: Floats, here: np.ndarray, transform: str) -> float:
    known = ~np.isnan(values)
    if transform == "log1p":
        values = np.log1p(np.maximum(values, 0.0))
    spread = float(values[known].std())
    return float((values[known & here].mean() - values[known].mean()) / spread) if spread > 0.0 else 0.0
