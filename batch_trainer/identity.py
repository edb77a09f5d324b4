"""Which new segment is which old one: by the customers they share, so that ids and names stay over retrains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from schemas.artifact import PROSPECT
from schemas.features import Facts
from schemas.model import Model

INHERITS: Final = 0.5
"""Jaccard index from which a new segment carries on the id of an old one."""
FLOWS: Final = 0.25
"""Share of an old segment's customers from which a flow into another segment is told."""

_ID: Final = re.compile(r"s([1-9][0-9]{0,8})")


class Flow(msgspec.Struct, frozen=True):
    """A considerable part of an old segment that is now in a segment of another id."""

    from_segment: str
    to_segment: str
    share: float
    """Of the old segment's customers."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of the new segments, in their order."""

    ids: tuple[str, ...]
    names: dict[str, str] = {}
    """Names that are carried on, by id."""
    named_for: dict[str, dict[str, float]] = {}
    """What these names were given for, by id."""
    overlap: dict[str, float] = {}
    """Jaccard index with the old segment, by carried-on id."""
    flows: tuple[Flow, ...] = ()
    split_of: dict[str, tuple[str, ...]] = {}
    """By new segment: old segments that have come apart, a considerable part of each into this one."""
    merged_from: dict[str, tuple[str, ...]] = {}
    """By new segment: the old segments, several, that have come together in it."""
    parent: str | None = None
    retired: tuple[str, ...] = ()


def fresh(count: int, used: Iterable[str] = ()) -> tuple[str, ...]:
    """Ids that were never used.

    >>> fresh(2), fresh(1, ["s1", "s4", "vip"])
    (('s1', 's2'), ('s5',))
    """
    taken = [int(match.group(1)) for name in used if (match := _ID.fullmatch(name))]
    first = max(taken, default=0) + 1
    return tuple(f"s{first + i}" for i in range(count))


def carry_on(previous: Model | None, labels: Sequence[int], k: int, customers: Sequence[Facts]) -> Identity:
    """Ids for k new segments; `labels` are the new segments of `customers`, a sample that both models see."""
    if previous is None:
        return Identity(ids=fresh(k))
    old_ids = [segment.id for segment in previous.segments]
    found = match(previous.assign_many(list(customers)), labels, k, old_ids, previous.artifact.retired)
    kept = [segment for segment in previous.segments if segment.id in found.overlap]
    return msgspec.structs.replace(
        found,
        names={segment.id: segment.name for segment in kept},
        named_for={segment.id: segment.named_for for segment in kept},
        parent=previous.id,
    )


def match(
    before: Sequence[str], labels: Sequence[int], k: int, old_ids: Sequence[str], retired: Sequence[str]
) -> Identity:
    """Which of k new segments is which old one; `before` and `labels` are customers' old ids and new segments, parallel.

    Each old id goes to at most one new segment, the one that shares most customers with it (Jaccard >= 0.5, best overall
    assignment); other new segments get ids that were never used, and old ids without an heir are retired for ever.

    >>> match(["s1", "s1", "s2", "s2"], [1, 1, 0, 2], 3, ["s1", "s2"], ["s3"]).ids
    ('s2', 's1', 's4')
    """
    index = {name: i for i, name in enumerate(old_ids)}
    shared = np.zeros((len(old_ids), k))
    for old, new in zip(before, labels, strict=True):
        if old in index:
            shared[index[old], new] += 1
    overlap = _jaccard(shared, np.bincount(np.asarray(labels, dtype=np.intp), minlength=k).astype(float))
    inherits = {
        int(new): old_ids[old]
        for old, new in zip(*linear_sum_assignment(-overlap), strict=True)
        if overlap[old, new] >= INHERITS
    }
    new_ids = iter(fresh(k - len(inherits), [*old_ids, *retired, PROSPECT]))
    ids = tuple(inherits[i] if i in inherits else next(new_ids) for i in range(k))
    gone = [name for name in old_ids if name not in inherits.values()]
    split_of, merged_from = _lineage(shared, old_ids, ids)
    return Identity(
        ids=ids,
        overlap={name: float(overlap[index[name], new]) for new, name in inherits.items()},
        flows=_flows(shared, old_ids, ids),
        split_of=split_of,
        merged_from=merged_from,
        retired=tuple(dict.fromkeys([*retired, *gone])),
    )


def _jaccard(shared: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    union = shared.sum(axis=1)[:, None] + sizes[None, :] - shared
    overlap: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _flows(shared: npt.NDArray[np.float64], old_ids: Sequence[str], ids: Sequence[str]) -> tuple[Flow, ...]:
    flows = []
    for old, name in enumerate(old_ids):
        whole = shared[old].sum()
        for new, target in enumerate(ids):
            if target != name and whole and shared[old, new] / whole >= FLOWS:
                flows.append(Flow(name, target, round(float(shared[old, new] / whole), 4)))
    return tuple(flows)


def _lineage(
    shared: npt.NDArray[np.float64], old_ids: Sequence[str], ids: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    whole = shared.sum(axis=1, keepdims=True)
    flows = (shared >= FLOWS * whole) & (whole > 0)
    split_of: dict[str, tuple[str, ...]] = {}
    merged_from: dict[str, tuple[str, ...]] = {}
    for new, name in enumerate(ids):
        sources = [old for old in range(len(old_ids)) if flows[old, new]]
        if parts := tuple(old_ids[old] for old in sources if flows[old].sum() > 1 and old_ids[old] != name):
            split_of[name] = parts
        if len(sources) > 1:
            merged_from[name] = tuple(old_ids[old] for old in sources)
    return split_of, merged_from
