"""Small models for tests, built by hand."""

from __future__ import annotations

import msgspec

from schemas.features import (
    ARTICLE,
    BEHAVIOUR,
    UNKNOWN,
    Facts,
    FeatureSpec,
)
from schemas.model import Artifact, CategoryTerm, Golden, Model, NumberTerm, Segment, model_id, to_bytes
from schemas.signing import Signer

SIGNER = Signer.generate()
GOLDEN = Facts(placed_orders=2, orders=2, items=3, spend=4200, categories=2, age=30, gender="F", brand="Acme")


def artifact(spec: FeatureSpec = BEHAVIOUR, *, shift: float = 0.0, hysteresis: float = 0.0) -> Artifact:
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
        segments=tuple(Segment(id=f"s{i}", name=f"Segment {i}", size=1, share=1 / 3) for i in (1, 2, 3)),
        explained_variance=(0.6, 0.3),
        golden=(),
    )
    model = Model(draft, "")
    golden = Golden(GOLDEN, tuple(model.project(GOLDEN)), model.score(GOLDEN).nearest)
    return msgspec.structs.replace(draft, golden=(golden,))


def model(spec: FeatureSpec = BEHAVIOUR, *, shift: float = 0.0, hysteresis: float = 0.0) -> Model:
    """The artifact ready for scoring."""
    made = artifact(spec, shift=shift, hysteresis=hysteresis)
    return Model(made, model_id(made))


def sealed(shift: float = 0.0) -> tuple[str, bytes]:
    """Id and signed bytes of a model."""
    made = artifact(shift=shift)
    return model_id(made), to_bytes(made, SIGNER)


SPECS = (BEHAVIOUR, ARTICLE)
