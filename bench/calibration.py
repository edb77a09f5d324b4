"""A model for the measurements: scaling, PCA and KMeans fitted on a small shop of the same kind, so that 5 to 15 % of the events change a segment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bench.generator import Shop
from bench.oracle import Oracle
from schemas.artifact import Artifact, Golden, NumberTerm, Segment, model_id
from schemas.features import BEHAVIOUR, Facts, facts, number, transformed
from schemas.model import Model

CUSTOMERS: Final = 1_000
"""Customers of the small shop."""
TYPICAL: Final = 20.0
"""Events per customer of the shops here, unless said otherwise."""
DIMENSIONS: Final = 3
SEGMENTS: Final = 5
LOOKS: Final = 6
"""How often, evenly over the stream, every customer of the small shop is looked at."""
MOST: Final = 0.15
"""The largest share of events that may change a segment."""
_HYSTERESIS: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)


@cache
def calibrated(events_per_customer: float, *, seed: int = 1) -> tuple[Artifact, float]:
    """An artifact for shops with so many events per customer, and the share of events that changed a segment in the small one.

    The hysteresis is the least one with which at most 15 % of the events change a segment.
    """
    artifact = fitted(_looked_at(events_per_customer), seed)
    share = 1.0
    for hysteresis in _HYSTERESIS:
        artifact = msgspec.structs.replace(artifact, hysteresis=hysteresis)
        share = share_of_changes(artifact, events_per_customer)
        if share <= MOST:
            break
    return artifact, share


def _looked_at(events_per_customer: float) -> list[Facts]:
    """The facts of the small shop's customers at several moments of their lives."""
    shop = Shop(CUSTOMERS)
    oracle = Oracle(Model(fitted([Facts(orders=i, spend=i * i) for i in range(20)], 0), ""), 1)
    count = int(CUSTOMERS * events_per_customer)
    rows: list[Facts] = []
    for i, message in enumerate(shop.messages(count), 1):
        oracle.append(message)
        if i % max(1, count // LOOKS) == 0:
            rows += [facts(customer.profile) for customer in oracle.customers.values()]
    return rows


def fitted(rows: Sequence[Facts], seed: int) -> Artifact:
    """Standardised features, PCA to three dimensions, KMeans to five segments; folded into one linear map."""
    columns = BEHAVIOUR.numbers()
    x = np.array([[transformed(c.transform, number(c.feature, known) or 0.0) for c in columns] for known in rows])
    with threadpool_limits(1):
        scaler = StandardScaler().fit(x)
        pca = PCA(DIMENSIONS, svd_solver="covariance_eigh").fit(scaler.transform(x))
        points = pca.transform(scaler.transform(x))
        means = KMeans(SEGMENTS, n_init=4, random_state=seed).fit(points)
    weights = pca.components_ / scaler.scale_
    bias = -(pca.components_ @ pca.mean_) - weights @ scaler.mean_
    sizes = np.bincount(means.labels_, minlength=SEGMENTS)
    draft = Artifact(
        recipe="behaviour",
        spec=BEHAVIOUR,
        spec_hash=BEHAVIOUR.hash(),
        trained_at="2026-01-01T00:00:00Z",
        data_until="2026-01-01T00:00:00Z",
        rows=len(rows),
        bias=_floats(bias),
        numbers=tuple(NumberTerm(c.feature, c.transform, 0.0, _floats(weights[:, j])) for j, c in enumerate(columns)),
        categories=(),
        centroids=tuple(_floats(row) for row in means.cluster_centers_),
        segments=tuple(
            Segment(id=f"s{i + 1}", name=f"Segment {i + 1}", size=int(n), share=float(n / len(rows)))
            for i, n in enumerate(sizes)
        ),
        explained_variance=_floats(pca.explained_variance_ratio_),
        golden=(),
    )
    return _proved(draft, rows)


def moved(artifact: Artifact) -> Artifact:
    """A model of the same segments that puts everyone a little elsewhere, so that some customers change."""
    bias = (artifact.bias[0] + 0.25, *artifact.bias[1:])
    draft = msgspec.structs.replace(artifact, bias=bias, golden=())
    return _proved(draft, [golden.facts for golden in artifact.golden])


def _proved(draft: Artifact, rows: Sequence[Facts]) -> Artifact:
    """With golden rows."""
    model = Model(draft, "")
    golden = tuple(
        Golden(row, tuple(model.project(row)), model.score(row).nearest) for row in rows[:: len(rows) // 5 or 1]
    )
    return msgspec.structs.replace(draft, golden=golden)


def share_of_changes(artifact: Artifact, events_per_customer: float) -> float:
    """The share of events of the small shop that change a segment."""
    oracle = Oracle(Model(artifact, model_id(artifact)), 1)
    for message in Shop(CUSTOMERS).messages(int(CUSTOMERS * events_per_customer)):
        oracle.append(message)
    return len(oracle.changes) / oracle.events


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
