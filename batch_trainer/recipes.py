"""The recipes: which features make the distance, how they are projected, and what a usable model of each must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from schemas.features import ARTICLE, BEHAVIOUR, DEMOGRAPHIC, GEOGRAPHIC, PSYCHOGRAPHIC, RFM, FeatureSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way of making segments."""

    name: str
    spec: FeatureSpec
    variance: float | None
    """Keep as many components as explain this share of the variance, at least `dimensions`; None: exactly `dimensions`."""
    dimensions: int = 2
    default_k: int = 5
    """The number of segments where none is asked for and none is chosen."""
    chooses_k: bool
    """Whether the number of segments is chosen by its stability."""
    judged_by: frozenset[Literal["shuffled", "habits"]] = frozenset({"shuffled", "habits"})
    """What else the structure must stand up to: the same customers shuffled, and whether a customer's orders resemble each other.

    Groups of equal traits are no discovery that might be chance, so that neither is asked of them.
    """
    seed: int
    """For the starts of KMeans."""
    pca_seed: int = 444
    rare: float = 0.01
    """A category value of less than this share of the customers is pooled with the other rare ones."""
    least_variance: float
    """Gate: the share of variance that the projection must keep."""
    least_share: float = 0.01
    """Gate: the share of customers that the smallest segment must have."""


BEHAVIOUR_RECIPE: Final = Recipe(
    name="behaviour", spec=BEHAVIOUR, variance=0.80, chooses_k=True, seed=222, least_variance=0.60
)
"""What customers do: how often, how much, how varied, how much comes back. The default."""

ARTICLE_RECIPE: Final = Recipe(
    name="article", spec=ARTICLE, variance=None, chooses_k=False, seed=222, least_variance=0.10
)
"""The published walk-through, corrected: age, orders and five categories in two dimensions, five segments."""

RFM_RECIPE: Final = Recipe(name="rfm", spec=RFM, variance=0.80, chooses_k=True, seed=222, least_variance=0.60)
"""Recency, frequency, monetary value: who has bought lately, how often, for how much. Time alone moves customers."""

DEMOGRAPHIC_RECIPE: Final = Recipe(
    name="demographic",
    spec=DEMOGRAPHIC,
    variance=0.80,
    chooses_k=True,
    judged_by=frozenset(),
    seed=222,
    least_variance=0.60,
)
"""Who customers are: age band, gender, country. Whoever has told one of them is segmented, before her first order too."""

GEOGRAPHIC_RECIPE: Final = Recipe(
    name="geographic",
    spec=GEOGRAPHIC,
    variance=0.80,
    chooses_k=True,
    judged_by=frozenset(),
    seed=222,
    least_variance=0.60,
)
"""Where customers are: region and country."""

PSYCHOGRAPHIC_RECIPE: Final = Recipe(
    name="psychographic",
    spec=PSYCHOGRAPHIC,
    variance=0.80,
    chooses_k=True,
    judged_by=frozenset({"shuffled"}),
    seed=222,
    least_variance=0.60,
)
"""What customers prefer: the shares of categories and brands among what they have bought."""

RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        BEHAVIOUR_RECIPE,
        ARTICLE_RECIPE,
        RFM_RECIPE,
        DEMOGRAPHIC_RECIPE,
        GEOGRAPHIC_RECIPE,
        PSYCHOGRAPHIC_RECIPE,
    )
}
