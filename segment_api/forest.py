"""Neighbours among more customers than can be looked at one by one: k-d trees over blocks of them, exact, also while customers move.

Why trees and not a graph (HNSW): model space has few dimensions, where a tree finds all of the true neighbours, a graph most of them, and is built in
a hundredth of the time; `make bench ARGS="--only similar"` measures both. Why blocks: a tree cannot be changed; whoever has moved since
hers was built is looked at one by one, and a block with many of those is built anew in a moment, where one tree of all would take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
BLOCK: Final = 200_000
"""Customers of a tree."""
MOVED: Final = 3_000
"""Of a block's customers who have moved, before its tree is built anew."""
_ROUNDING: Final = 1e-9
"""Distances of a tree and of the model may differ in their last bits: so much farther is looked, relatively."""


class Forest:
    """Trees over the columns of a matrix, shape (dimensions, customers). One writer; readers must not meet it."""

    def __init__(self, block: int = BLOCK, moved: int = MOVED) -> None:
        self._block = block
        self._most = moved
        self._trees: list[cKDTree] = []
        self._moved: list[set[int]] = []

    def note(self, at: int) -> None:
        """The customer at this column is another, or elsewhere."""
        if (tree := at // self._block) < len(self._trees):
            self._moved[tree].add(at)

    def due(self, n: int) -> int | None:
        """A block of the first `n` customers whose tree should be built; None where there is none."""
        if len(self._trees) < n // self._block:
            return len(self._trees)
        return next((b for b, moved in enumerate(self._moved) if len(moved) > self._most), None)

    def planted(self, z: Floats, block: int) -> cKDTree:
        """The tree of a block: takes a while, and nobody need wait for it."""
        rows = np.ascontiguousarray(z[:, block * self._block : (block + 1) * self._block].T)
        return cKDTree(rows, balanced_tree=False, compact_nodes=True)

    def take(self, block: int, tree: cKDTree) -> None:
        """Search by this tree from now on."""
        if block == len(self._trees):
            self._trees.append(tree)
            self._moved.append(set())
        else:
            self._trees[block], self._moved[block] = tree, set()

    def near(self, z: Floats, n: int, place: Sequence[float], k: int) -> Places:
        """Columns among the first `n`, at least all that may be among the `k` nearest to a place; in no order."""
        loose = self._loose(n)
        apart = np.sqrt(((z[:, loose] - np.asarray(place)[:, None]) ** 2).sum(axis=0))
        if len(loose) > k:
            nearest = np.argpartition(apart, k - 1)[:k]
            found, distances = [loose[nearest]], [apart[nearest]]
        else:
            found, distances = [loose], [apart]
        for block in range(len(self._trees)):
            at, away = self._of_tree(block, n, place, k, self._limit(distances, k))
            found.append(at)
            distances.append(away)
        limit = self._limit(distances, k)
        if not np.isfinite(limit):
            return np.concatenate(found)
        limit += _ROUNDING * (1.0 + limit)  # whoever is as far as the last one, too
        ties = [loose[apart <= limit]]
        for block, tree in enumerate(self._trees):
            inside = np.asarray(tree.query_ball_point(place, limit), dtype=np.intp) + block * self._block
            ties.append(self._unmoved(block, n, inside))
        return np.concatenate(ties)

    def _loose(self, n: int) -> Places:
        """Whoever no tree knows as she is."""
        moved = np.fromiter(chain.from_iterable(self._moved), dtype=np.intp)
        beyond = np.arange(min(n, len(self._trees) * self._block), n, dtype=np.intp)
        return np.concatenate([moved[moved < n], beyond])

    def _of_tree(self, block: int, n: int, place: Sequence[float], k: int, limit: float) -> tuple[Places, Floats]:
        """The k nearest of a block who have not moved, nearer than `limit`."""
        asked = k + 8
        while True:
            away, at = self._trees[block].query(place, k=min(asked, self._block), distance_upper_bound=limit)
            there = np.isfinite(away)
            places = at[there].astype(np.intp) + block * self._block
            keep = np.isin(places, self._unmoved(block, n, places), assume_unique=True)
            if keep.sum() >= k or there.sum() < min(asked, self._block) or asked >= self._block:
                return places[keep][:k], away[there][keep][:k]
            asked *= 4

    def _unmoved(self, block: int, n: int, places: Places) -> Places:
        moved = self._moved[block]
        return np.array([at for at in places.tolist() if at < n and at not in moved], dtype=np.intp)

    @staticmethod
    def _limit(distances: list[Floats], k: int) -> float:
        every = np.concatenate(distances)
        return float(np.partition(every, k - 1)[k - 1]) if len(every) >= k else float("inf")
