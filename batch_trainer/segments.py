"""What a fitted segment is like: size, medians, most frequent values, and how it differs from everyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from batch_trainer.identity import Identity
from batch_trainer.names import Portrait, telling
from schemas.artifact import Segment
from schemas.features import FEATURES, Facts, FeatureSpec, label, number

Labels = npt.NDArray[np.intp]
TOP: Final = 3


def numeric(spec: FeatureSpec) -> tuple[str, ...]:
    """The numeric features of a spec, columns first."""
    names = [c.feature for c in spec.numbers()] + [name for name in spec.profile if FEATURES[name].kind == "number"]
    return tuple(dict.fromkeys(names))


def values_of(name: str, rows: Sequence[Facts]) -> list[str]:
    """A profile column as text, `(unknown)` where it is not known."""
    if FEATURES[name].kind == "category":
        return [label(name, known) for known in rows]
    return ["(unknown)" if (value := number(name, known)) is None else f"{value:g}" for known in rows]


def medians(spec: FeatureSpec, rows: Sequence[Facts]) -> dict[str, float]:
    """The median of each numeric feature, raw units, over those for whom it is known."""
    found = {}
    for name in numeric(spec):
        known = [value for row in rows if (value := number(name, row)) is not None]
        if known:
            found[name] = float(np.median(known))
    return found


def tops(spec: FeatureSpec, rows: Sequence[Facts]) -> dict[str, tuple[tuple[str, float], ...]]:
    """The most frequent values of each profile column with their share; a tie goes to the first by name."""
    return _most_frequent(spec.profile, rows)


def _most_frequent(names: Sequence[str], rows: Sequence[Facts]) -> dict[str, tuple[tuple[str, float], ...]]:
    found = {}
    for name in names:
        ranked = sorted(Counter(values_of(name, rows)).items(), key=lambda item: (-item[1], item[0]))
        found[name] = tuple((value, count / len(rows)) for value, count in ranked[:TOP])
    return found


def split(rows: Sequence[Facts], labels: Labels, k: int) -> list[list[Facts]]:
    """The customers of each segment."""
    members: list[list[Facts]] = [[] for _ in range(k)]
    for known, i in zip(rows, labels.tolist(), strict=True):
        members[i].append(known)
    return members


def segments(
    spec: FeatureSpec,
    members: Sequence[Sequence[Facts]],
    identity: Identity,
    names: Sequence[str],
    portraits: Sequence[Portrait],
) -> tuple[Segment, ...]:
    """The segments as the artifact carries them."""
    rows = sum(map(len, members))
    return tuple(
        Segment(
            id=i,
            name=name,
            size=len(own),
            share=len(own) / rows,
            medians=medians(spec, own),
            top=tops(spec, own),
            traits=dict(portrait.z),
            named_for=identity.named_for.get(i) or telling(portrait.z),
            split_of=identity.split_of.get(i, ()),
            merged_from=identity.merged_from.get(i, ()),
        )
        for i, name, own, portrait in zip(identity.ids, names, members, portraits, strict=True)
    )


def resized(found: Sequence[Segment], sizes: Sequence[int]) -> tuple[Segment, ...]:
    """The same, described by a sample, with the sizes that everybody gives."""
    whole = sum(sizes)
    return tuple(
        msgspec.structs.replace(segment, size=size, share=size / whole)
        for segment, size in zip(found, sizes, strict=True)
    )


def portraits(
    spec: FeatureSpec, columns: pd.DataFrame, labels: Labels, members: Sequence[Sequence[Facts]]
) -> list[Portrait]:
    """What the names are made from."""
    whole = {name: Counter(values_of(name, [r for own in members for r in own])) for name in _categories(spec)}
    rows = len(columns)
    found = []
    for i, own in enumerate(members):
        z = {}
        for column in spec.numbers():
            values = columns[column.feature].to_numpy()
            spread = float(np.nanstd(values))
            if spread > 0.0 and not np.isnan(values[labels == i]).all():
                z[column.feature] = float((np.nanmean(values[labels == i]) - np.nanmean(values)) / spread)
        top = {}
        for name, overall in whole.items():
            counts = {value: n for value, n in Counter(values_of(name, own)).items() if value != "(unknown)"}
            if counts:
                value = max(
                    sorted(counts), key=lambda v: counts[v] / overall[v] if counts[v] >= 0.3 * len(own) else 0.0
                )
                top[name] = (value, counts[value] / len(own), overall[value] / rows)
        found.append(Portrait(medians=medians(spec, own), z=z, top=top, frequent=_frequent(spec, own)))
    return found


def _frequent(spec: FeatureSpec, own: Sequence[Facts]) -> dict[str, tuple[tuple[str, float], ...]] | None:
    return None if spec.numbers() else _most_frequent([c.feature for c in spec.categories()], own)


def _categories(spec: FeatureSpec) -> list[str]:
    return [name for name in spec.profile if FEATURES[name].kind == "category"]
