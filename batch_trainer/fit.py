"""Fitting: a scikit-learn pipeline on the transformed columns, folded into the artifact's terms and held against it on every row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from batch_trainer.moments import Moments
from batch_trainer.recipes import Recipe
from schemas.artifact import CategoryTerm, NumberTerm
from schemas.features import Facts, FeatureSpec, label, number, transformed
from schemas.model import Model

Array = npt.NDArray[np.float64]
SWEEP: Final = range(2, 11)
"""The numbers of segments whose SSE is reported."""
STARTS: Final = 10
MORE_STARTS: Final = 40
"""Starts on a sample: of ten the best was now and then 0.2 % worse than the best on everybody, and here they cost little beside the counting."""
TOLERANCE: Final = 1e-9
KEEPS: Final = 0.05
"""The active model's dimensions are kept while they explain this much less than the recipe wants, or more."""
AS_GOOD: Final = 1.001
"""Segments are carried on rather than found anew while their SSE is at most this many times the best."""


class TrainingError(Exception):
    """There is no model to be had from this data: see the message."""


class TooFewCustomers(TrainingError):
    """Fewer (different) customers than segments: ask for fewer segments or wait for more customers."""


class FoldingError(TrainingError):
    """The folded model does not do what scikit-learn does: a defect of the trainer, nothing is published."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Numeric libraries on one thread: sums in parallel depend on who finishes first, and the model must not."""
    with threadpool_limits(1):
        yield


def frame(spec: FeatureSpec, rows: Sequence[Facts]) -> pd.DataFrame:
    """The transformed columns of customers, as scikit-learn takes them; unknown numbers are NaN."""
    columns: dict[str, Any] = {}
    for column in spec.numbers():
        values = [number(column.feature, known) for known in rows]
        columns[column.feature] = np.array(
            [np.nan if value is None else transformed(column.transform, value) for value in values], dtype=float
        )
    for column in spec.categories():
        columns[column.feature] = np.array([label(column.feature, known) for known in rows], dtype=object)
    return pd.DataFrame(columns, index=range(len(rows)))


class Scaler(StandardScaler):  # type: ignore[misc]
    """StandardScaler that only centres some columns (by place): shares of one whole are comparable as they are."""

    def __init__(self, plain: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.plain = plain

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Scaler:
        """Means and deviations of the columns."""
        super().fit(X, y, sample_weight)
        self.scale_[list(self.plain)] = 1.0
        return self


@dataclass(frozen=True, slots=True)
class Projection:
    """From columns to model space, fitted."""

    spec: FeatureSpec
    pipeline: Pipeline

    def explained_variance(self) -> tuple[float, ...]:
        """The share of the variance that each dimension explains."""
        return tuple(float(v) for v in self.pipeline["pca"].explained_variance_ratio_)

    def points(self, columns: pd.DataFrame) -> Array:
        """Customers in model space, as scikit-learn computes it."""
        return np.asarray(self.pipeline.transform(columns), dtype=np.float64)


def project(recipe: Recipe, spec: FeatureSpec, columns: pd.DataFrame, dimensions: int | None = None) -> Projection:
    """Fit the projection of a recipe: numbers imputed and standardised, categories one-hot and only centred, then PCA.

    `dimensions` are those of the active model: they are kept while they still explain nearly what the recipe wants, because a
    dimension more or less moves a fifth of the customers.
    """
    encoder = _encoder(recipe, spec, recipe.rare)
    with one_thread():
        encoded = encoder.fit_transform(columns)
        pca = _pca(recipe, encoded, dimensions)
    return Projection(spec, Pipeline([("encode", encoder), ("pca", pca)]))


def project_moments(recipe: Recipe, spec: FeatureSpec, moments: Moments, dimensions: int | None = None) -> Projection:
    """The same from the moments of all customers: scikit-learn is fitted on a few stand-ins that have exactly these moments."""
    encoder = _encoder(recipe, spec, 2)
    spread, directions = np.linalg.eigh(moments.covariance)
    arms = directions.T * np.sqrt(np.maximum(spread, 0.0) * len(spread))[:, None]
    with one_thread():
        encoder.fit(_stand_ins(spec, moments))
        pca = _pca(recipe, moments.centre + np.vstack([arms, -arms]), dimensions)
    return Projection(spec, Pipeline([("encode", encoder), ("pca", pca)]))


def _stand_ins(spec: FeatureSpec, moments: Moments) -> pd.DataFrame:
    """Rows with the means, spreads and frequent values of the moments: a value seen twice is frequent, one seen once is rare."""
    longest = max((2 * len(values) + 1 for values in moments.frequent), default=2)
    rows = longest + longest % 2
    signs = np.tile([1.0, -1.0], rows // 2)
    columns: dict[str, Any] = {
        column.feature: mean + signs * scale
        for column, mean, scale in zip(spec.numbers(), moments.means, moments.scales, strict=True)
    }
    for column, values, pooled in zip(spec.categories(), moments.frequent, moments.pooled, strict=True):
        seen = [value for value in values for _ in (0, 1)]
        more = rows - len(seen)
        seen += [f"\x00{i}" for i in range(more)] if pooled else [values[0]] * more
        columns[column.feature] = np.array(seen, dtype=object)
    return pd.DataFrame(columns, index=range(rows))


def _encoder(recipe: Recipe, spec: FeatureSpec, rare: float | int) -> ColumnTransformer:
    if not spec.columns:
        raise TrainingError(f"the source gives none of the features that recipe {recipe.name!r} measures distance by")
    steps: list[tuple[str, Any, list[str]]] = []
    if numbers := [c.feature for c in spec.numbers()]:
        plain = tuple(i for i, column in enumerate(spec.numbers()) if column.transform == "share")
        scaled = Pipeline([("known", SimpleImputer(strategy="mean")), ("scale", Scaler(plain))])
        steps.append(("numbers", scaled, numbers))
    if categories := [c.feature for c in spec.categories()]:
        onehot = OneHotEncoder(
            min_frequency=rare, handle_unknown="infrequent_if_exist", sparse_output=False, dtype=np.float64
        )
        steps.append(("categories", onehot, categories))
    return ColumnTransformer(steps)


def _pca(recipe: Recipe, encoded: Array, present: int | None) -> PCA:
    most = min(encoded.shape)
    wanted = min(recipe.dimensions, most)
    if recipe.variance is not None:
        whole = PCA(n_components=most, svd_solver="covariance_eigh", random_state=recipe.pca_seed).fit(encoded)
        explained = np.cumsum(whole.explained_variance_ratio_)
        enough = int(np.searchsorted(explained, recipe.variance - 1e-12)) + 1
        if present is not None and wanted <= present <= most and explained[present - 1] >= recipe.variance - KEEPS:
            enough = present
        wanted = min(max(wanted, enough), most)
    return PCA(n_components=wanted, svd_solver="covariance_eigh", random_state=recipe.pca_seed).fit(encoded)


def cluster(points: Array, k: int, seed: int, starts: int = STARTS) -> KMeans:
    """KMeans as in the walk-through: k-means++, at most 300 rounds, the best of `starts`."""
    with one_thread():
        return KMeans(n_clusters=k, init="k-means++", n_init=starts, max_iter=300, random_state=seed).fit(points)


def sweep(
    points: Array, ks: Sequence[int], seed: int, done: Callable[[int], None], starts: int = STARTS
) -> dict[int, KMeans]:
    """KMeans for several numbers of segments, each on one thread, several at a time; the result does not depend on how many."""

    def one(k: int) -> KMeans:
        fitted = cluster(points, k, seed, starts)
        done(k)
        return fitted

    # The largest first, so that the last one to run is short.
    descending = sorted(ks, reverse=True)
    with one_thread(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(sorted(zip(descending, pool.map(one, descending), strict=True)))


def carried_on(points: Array, anew: KMeans, before: npt.NDArray[np.intp]) -> KMeans:
    """KMeans started from the segments that the customers are in (`before`), where that is as good as the one found `anew`.

    Of two solutions that are equally good, customers should not move from one to the other.
    """
    k = anew.n_clusters
    if set(before.tolist()) != set(range(k)):
        return anew
    centres = np.array([points[before == i].mean(axis=0) for i in range(k)])
    with one_thread():
        found = KMeans(n_clusters=k, init=centres, n_init=1, max_iter=300).fit(points)
    return found if found.inertia_ <= AS_GOOD * anew.inertia_ else anew


def require(columns: pd.DataFrame, k: int) -> None:
    """Raise TooFewCustomers unless there are k different customers."""
    different = len(columns.drop_duplicates())
    if different < k:
        raise TooFewCustomers(
            f"the {len(columns)} customers have only {different} different combinations of features, fewer than {k} segments; ask for fewer (--k)"
        )


def fold(projection: Projection) -> tuple[tuple[float, ...], tuple[NumberTerm, ...], tuple[CategoryTerm, ...]]:
    """Encoding, scaling and PCA as one bias and one term per column: z = bias + sum of weights * x + sum of table[value]."""
    pca: PCA = projection.pipeline["pca"]
    encoder: ColumnTransformer = projection.pipeline["encode"]
    components: Array = pca.components_
    bias = -(components @ pca.mean_)
    numbers: list[NumberTerm] = []
    categories: list[CategoryTerm] = []
    if projection.spec.numbers():
        scaled = encoder.named_transformers_["numbers"]
        scale, mean, default = scaled["scale"].scale_, scaled["scale"].mean_, scaled["known"].statistics_
        for j, column in enumerate(projection.spec.numbers()):
            weights = components[:, j] / scale[j]
            bias = bias - weights * mean[j]
            numbers.append(NumberTerm(column.feature, column.transform, float(default[j]), _floats(weights)))
    if projection.spec.categories():
        onehot: OneHotEncoder = encoder.named_transformers_["categories"]
        at = len(numbers)
        pooled = onehot.infrequent_categories_
        for column, values, rare in zip(projection.spec.categories(), onehot.categories_, pooled, strict=True):
            rare = set() if rare is None else set(rare)
            frequent = [value for value in values if value not in rare]
            table = {value: _floats(components[:, at + i]) for i, value in enumerate(frequent)}
            at += len(frequent)
            unseen = components[:, at] if rare else np.zeros(len(bias))
            at += 1 if rare else 0
            categories.append(CategoryTerm(column.feature, table, _floats(unseen)))
    return _floats(bias), tuple(numbers), tuple(categories)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def hold(model: Model, rows: Sequence[Facts], points: Array, labels: npt.NDArray[np.intp]) -> None:
    """Raise FoldingError unless the folded model is scikit-learn's on every row.

    `points` and `labels` are scikit-learn's. Places may differ by 1e-9 (1 + |z|); labels only where both centroids are equally near.
    """
    z = model.project_many(rows)
    off = np.abs(z - points) > TOLERANCE * (1.0 + np.abs(points))
    if off.any():
        row = int(off.any(axis=1).argmax())
        raise FoldingError(
            f"row {row}: the folded model gives {z[row].tolist()}, scikit-learn {points[row].tolist()}; please report this with the data"
        )
    ours = model.score_many(rows)[0]
    differ = np.flatnonzero(ours != labels)
    centroids = np.array(model.artifact.centroids)
    for i in differ.tolist():
        mine, theirs = (float(((z[i] - centroids[j]) ** 2).sum()) for j in (ours[i], labels[i]))
        if mine - theirs > TOLERANCE * (1.0 + theirs):
            raise FoldingError(
                f"row {i}: the folded model gives segment {ours[i]}, scikit-learn {labels[i]}; please report this with the data"
            )
