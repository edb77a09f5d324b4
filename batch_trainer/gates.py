"""What a model must reach before it is published: each gate says its threshold, the value found and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from batch_trainer.recipes import Recipe
from schemas.model import Artifact, RejectedModel, check


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One condition for publishing."""

    name: str
    threshold: Any
    value: Any
    holds: bool
    meaning: str
    """What is looked at and what to do where it does not hold."""


def gates(artifact: Artifact, recipe: Recipe) -> tuple[Gate, ...]:
    """All gates of a fitted model."""
    k = len(artifact.centroids)
    least_rows = max(50, 10 * k)
    share = min(segment.share for segment in artifact.segments)
    variance = math.fsum(artifact.explained_variance)
    return (
        Gate(
            name="rows",
            threshold=least_rows,
            value=artifact.rows,
            holds=artifact.rows >= least_rows,
            meaning="customers learnt from, at least 50 and 10 per segment; wait for more or ask for fewer segments",
        ),
        Gate(
            name="customers_per_segment",
            threshold=k,
            value=artifact.rows,
            holds=artifact.rows >= k,
            meaning="not fewer customers than segments; ask for fewer segments",
        ),
        _finite(artifact),
        Gate(
            name="smallest_segment_share",
            threshold=recipe.least_share,
            value=share,
            holds=share >= recipe.least_share,
            meaning="share of customers of the smallest segment; a smaller one is likely a few outliers: ask for fewer segments",
        ),
        Gate(
            name="explained_variance",
            threshold=recipe.least_variance,
            value=variance,
            holds=variance >= recipe.least_variance,
            meaning="share of the variance that the projection keeps; check the features for noise",
        ),
        _golden(artifact),
    )


def failing(found: Sequence[Gate]) -> str:
    """The gates that do not hold, in words; empty where all hold.

    >>> failing([Gate(name="rows", threshold=50, value=12, holds=False, meaning="customers learnt from")])
    'rows: 12, needs 50 (customers learnt from)'
    """
    return "; ".join(
        f"{g.name}: {_short(g.value)}, needs {_short(g.threshold)} ({g.meaning})" for g in found if not g.holds
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(artifact: Artifact) -> Gate:
    values = [*artifact.bias, *artifact.explained_variance, *(v for row in artifact.centroids for v in row)]
    values += [v for term in artifact.numbers for v in (term.default, *term.weights)]
    values += [v for term in artifact.categories for row in (term.unseen, *term.table.values()) for v in row]
    wrong = sum(not math.isfinite(value) for value in values)
    return Gate(
        name="finite",
        threshold=0,
        value=wrong,
        holds=wrong == 0,
        meaning="parameters that are not finite numbers; look for a broken column",
    )


def _golden(artifact: Artifact) -> Gate:
    try:
        check(artifact)
    except RejectedModel as error:
        reason = str(error)
    else:
        reason = ""
    return Gate(
        name="golden_rows",
        threshold="every reader's check",
        value=reason or "accepted",
        holds=not reason,
        meaning=f"the checks a worker makes on loading, {len(artifact.golden)} golden rows among them; a failure is a defect of the trainer",
    )
