"""The gates a model must pass before it may be published: each with its threshold, the value found, and a verdict."""

from __future__ import annotations

import msgspec

from batch_trainer.recipes import Recipe


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One rule and whether it holds."""

    name: str
    meaning: str
    threshold: float
    value: float
    holds: bool


def judge(recipe: Recipe, *, rows: int, k: int, variance: float, smallest_share: float) -> tuple[Gate, ...]:
    """The verdicts on a fitted model. Finiteness, golden rows and agreement with scikit-learn are not gates: without them there is no artifact."""
    least_rows = max(50, 10 * k)
    return (
        _at_least("rows", "customers to learn from", least_rows, rows),
        _at_least(
            "explained_variance", "share of the variance that the projection keeps", recipe.least_variance, variance
        ),
        _at_least(
            "smallest_segment", "share of the customers in the smallest segment", recipe.least_share, smallest_share
        ),
    )


def _at_least(name: str, meaning: str, threshold: float, value: float) -> Gate:
    return Gate(name=name, meaning=meaning, threshold=threshold, value=value, holds=value >= threshold)
