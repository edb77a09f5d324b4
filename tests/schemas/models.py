"""Small models for tests, built by hand."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schemas.artifact import Artifact, CategoryTerm, Golden, NumberTerm, Segment, declared, model_id
from schemas.features import (
    ARTICLE,
    BEHAVIOUR,
    DEMOGRAPHIC,
    RFM,
    UNKNOWN,
    Column,
    Facts,
    FeatureSpec,
)
from schemas.model import Model
from schemas.newcomer import Newcomers, TraitTerm, probabilities
from schemas.sealed import to_bytes
from schemas.signing import Signer

SIGNER = Signer.generate()
GOLDEN = Facts(placed_orders=2, orders=2, items=3, spend=4200, categories=2, age=30, gender="F", brand="Acme")


def newcomers(lean: float = 0.0) -> Newcomers:
    """A guess that speaks; `lean` draws it towards the last segment."""
    age = {"(unknown)": (0.1, 0.0, -0.1), "0": (1.5, 0.2, -1.0), "40": (-1.0, 0.3, 1.2)}
    terms = (
        TraitTerm(feature="age", edges=(0.0, 40.0), table=age, unseen=(0.1, 0.0, -0.1)),
        TraitTerm(feature="country", table={"FR": (-0.4, 0.9, 0.0), "Acme": (0.2, 0.1, 0.0)}, unseen=(0.0, 0.0, 0.05)),
    )
    return Newcomers(speaks=True, reason="planted", segments=("s1", "s2", "s3"), bias=(0.3, 0.1, lean), terms=terms)


def artifact(
    spec: FeatureSpec = BEHAVIOUR,
    *,
    shift: float = 0.0,
    hysteresis: float = 0.0,
    holds: Literal["every", "returns"] = "every",
    guess: Newcomers | None = None,
) -> Artifact:
    """Three segments in two dimensions; `shift` moves everyone along the first, so that segments change."""
    numbers = tuple(
        NumberTerm(column.feature, column.transform, 0.5, (0.7 / (i + 1), 0.3 * (i + 1)))
        for i, column in enumerate(spec.numbers())
    )
    categories = tuple(
        CategoryTerm(column.feature, {"Acme": (0.4, 0.1), "F": (-0.3, 0.2), UNKNOWN: (0.05, -0.2)}, (0.01, 0.02))
        for column in spec.categories()
    )
    draft = Artifact(
        recipe="test",
        spec=spec,
        spec_hash=spec.hash(),
        trained_at="2026-01-01T00:00:00Z",
        data_until="2026-01-01T00:00:00Z",
        rows=3,
        bias=(0.1 + shift, -0.2),
        numbers=numbers,
        categories=categories,
        centroids=((3.3, 7.9), (4.5, 9.7), (5.5, 11.0)),
        hysteresis=hysteresis,
        holds=holds,
        segments=tuple(Segment(id=f"s{i}", name=f"Segment {i}", size=1, share=1 / 3) for i in (1, 2, 3)),
        explained_variance=(0.6, 0.3),
        golden=(),
        newcomers=guess,
    )
    model = Model(draft, "")
    guessed = () if guess is None else tuple(probabilities(guess, GOLDEN))
    golden = Golden(GOLDEN, tuple(model.project(GOLDEN)), model.score(GOLDEN).nearest, guessed)
    return declared(msgspec.structs.replace(draft, golden=(golden,)))


def model(spec: FeatureSpec = BEHAVIOUR, **how: Any) -> Model:
    """The artifact ready for scoring."""
    made = artifact(spec, **how)
    return Model(made, model_id(made))


def sealed(shift: float = 0.0, guess: Newcomers | None = None) -> tuple[str, bytes]:
    """Id and signed bytes of a model."""
    made = artifact(shift=shift, guess=guess)
    return model_id(made), to_bytes(made, SIGNER)


TASTES = FeatureSpec(
    "tastes",
    (Column("category_share:Acme", "share"), Column("brand_share:Blue", "share"), Column("orders", "log1p")),
    ("category",),
    "items",
)
SPECS = (BEHAVIOUR, ARTICLE, RFM, DEMOGRAPHIC, TASTES)
