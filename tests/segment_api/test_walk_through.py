"""The what-if form does what the published walk-through's form did, for every customer of the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from batch_trainer.published import COLUMNS
from schemas.artifact import Artifact, CategoryTerm, NumberTerm, Segment, model_id
from schemas.features import UNKNOWN, Column, FeatureSpec
from schemas.model import Model
from segment_api.whatif import WhatIf, answer

REFERENCE = Path(__file__).parents[2].parent / "shared" / "data" / "reference"
NUMBERS = {"items": "USER_ID", "age": "AGE", "placed_orders": "TOTAL_ORDERS"}
"""The walk-through takes the user id as a feature; no feature of ours is one, so that `items` stands in for it."""
LABELS = {
    "gender": "GENDER",
    "country": "COUNTRY",
    "traffic_source": "TRAFFIC_SOURCE",
    "brand": "MOST_FREQUENT_BRAND",
    "category": "MOST_FREQUENT_CATEGORY",
}


@pytest.fixture(scope="module")
def published() -> tuple[Model, pd.DataFrame]:
    """The walk-through's own numbers (label codes, scaling, components, centres) as a model, and its customers with their clusters."""
    if not REFERENCE.is_dir():
        pytest.skip("the reference of the walk-through is not on this machine")
    known = json.loads((REFERENCE / "reference.json").read_text())["expected"]
    codes = json.loads((REFERENCE / "label_encoder_classes.json").read_text())
    components = np.array(known["pca_components"]) / np.array(known["scaler_scale"])
    mean = np.array(known["scaler_mean"])
    ways = {name: tuple(components[:, i].tolist()) for i, name in enumerate(COLUMNS)}
    spec = FeatureSpec(
        name="walk-through",
        columns=(*(Column(name) for name in NUMBERS), *(Column(name, "onehot") for name in LABELS)),
        profile=(),
        population="placed_orders",
    )
    tables = {
        name: {label: tuple(code * w for w in ways[column]) for code, label in enumerate(codes[column])}
        for name, column in LABELS.items()
    }
    artifact = Artifact(
        recipe="walk-through",
        spec=spec,
        spec_hash=spec.hash(),
        trained_at="2025-01-26T00:00:00Z",
        data_until="2025-01-26T00:00:00Z",
        rows=known["rows"],
        bias=tuple((-components @ mean).tolist()),
        numbers=tuple(NumberTerm(name, "identity", 0.0, ways[column]) for name, column in NUMBERS.items()),
        categories=tuple(CategoryTerm(name, tables[name] | {UNKNOWN: (0.0, 0.0)}, (0.0, 0.0)) for name in LABELS),
        centroids=tuple(map(tuple, known["k5_centers"])),
        segments=tuple(
            Segment(id=f"s{i}", name=str(i), size=n, share=n / known["rows"]) for i, n in enumerate(known["k5_sizes"])
        ),
        explained_variance=tuple(known["evr"]),
        golden=(),
    )
    return Model(artifact, model_id(artifact)), pd.read_parquet(
        REFERENCE / "seed_features_labels_latest_tiebreak.parquet"
    )


def test_the_form_reproduces_the_prediction_of_every_customer(published: tuple[Model, pd.DataFrame]) -> None:
    model, customers = published
    wrong = []
    for row in customers.itertuples(index=False):
        question = WhatIf(
            age=row.AGE,
            gender=row.GENDER,
            country=row.COUNTRY,
            traffic_source=row.TRAFFIC_SOURCE,
            facts={  # type: ignore[arg-type]
                "orders": row.TOTAL_ORDERS,
                "items": row.USER_ID,
                "brand": row.MOST_FREQUENT_BRAND,
                "category": row.MOST_FREQUENT_CATEGORY,
            },
        )
        if answer(model, question).segment != f"s{row.cluster}":
            wrong.append(row.USER_ID)
    assert len(customers) == 79_859
    assert wrong == []
