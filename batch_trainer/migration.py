"""From one model to another: which customers would move, and how far the features have shifted between their trainings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from schemas.artifact import PROSPECT
from schemas.features import Facts
from schemas.model import Model


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """The same customers by two models."""

    before: tuple[str, ...]
    """Segment ids of the earlier model, the rows of the matrix."""
    after: tuple[str, ...]
    """Segment ids of the later model, its columns."""
    matrix: tuple[tuple[int, ...], ...]
    """Customers by segment before and after."""
    names: dict[str, str]
    """Of all these segments; an id of both models has the later name."""
    customers: int
    moved: int
    """Customers whose segment id differs."""
    shifts: dict[str, float]
    """Difference of the means of the training data, in standard deviations of the earlier one, by feature."""

    @property
    def share(self) -> float:
        """The share of the customers who would move."""
        return self.moved / self.customers if self.customers else 0.0


def migration(before: Model, after: Model, rows: Sequence[Facts]) -> Migration:
    """What becomes of customers when one model takes the place of another; who is a prospect by both is left out."""
    return tallied(before, after, [rows])


def tallied(before: Model, after: Model, batches: Iterable[Sequence[Facts]]) -> Migration:
    """The same of customers who come in batches, so that it needs the memory of one."""
    pairs: Counter[tuple[str, str]] = Counter()
    for rows in batches:
        pairs.update(zip(before.assign_many(rows), after.assign_many(rows), strict=True))
    del pairs[PROSPECT, PROSPECT]
    prospects = [PROSPECT] if any(PROSPECT in pair for pair in pairs) else []
    old = [segment.id for segment in before.segments] + prospects
    new = [segment.id for segment in after.segments] + prospects
    return Migration(
        before=tuple(old),
        after=tuple(new),
        matrix=tuple(tuple(pairs[a, b] for b in new) for a in old),
        names=before.names | after.names,
        customers=pairs.total(),
        moved=sum(count for (a, b), count in pairs.items() if a != b),
        shifts=shifts(before, after),
    )


def shifts(before: Model, after: Model) -> dict[str, float]:
    """How far the mean of each numeric column has moved, in standard deviations of the earlier training data."""
    known, now = before.artifact.reference, after.artifact.reference
    columns = [column.feature for column in after.spec.numbers()]
    return {
        name: (now[name].mean - known[name].mean) / known[name].std
        for name in columns
        if name in known and name in now and known[name].std > 0.0
    }


def golden(*models: Model) -> list[Facts]:
    """The golden customers of models, each once."""
    known = [row.facts for model in models for row in model.artifact.golden]
    return list({msgspec.json.encode(facts): facts for facts in known}.values())
