"""The kernels of k-means against their definition, on any `Engine`."""

from __future__ import annotations

import kmeans_drivers as drivers
import numpy as np
from kernel_cases import same_bits, tricky_rows
from kernel_engines import Engine

from fastface.backends.reference_kmeans import ReferenceKMeans, ReferenceSeeder

__all__ = ["check_rows", "check_seeding", "check_sums"]

REFERENCE = ReferenceKMeans()


def check_sums(engine: Engine, dtype: str, n_clusters: int, *, is_sorted: bool) -> None:
    """Sum rows by their labels, all of them and those that moved."""
    rng = np.random.default_rng(n_clusters)
    X = rng.standard_normal((150, 37)).astype(dtype)
    X[:, 3] *= 1e-3 if dtype == "float16" else 1e-20
    X[7], X[8] = 0.0, X[9]
    # One label for many rows, labels for one, and labels for none.
    labels = np.minimum(rng.geometric(0.1, 150), n_clusters - 1).astype(np.int32)
    labels[:40] = 0
    labels[100:] = rng.integers(0, n_clusters, 50)
    previous = labels.copy()
    previous[rng.permutation(150)[:30]] = rng.integers(0, n_clusters, 30)
    factors, masses = rng.uniform(0.1, 2.0, 150), rng.uniform(0.1, 2.0, 150)
    scales = 2.0 ** (40 - np.ceil(np.log2(np.abs(X.astype(np.float64)).max(axis=0) + 1e-300)))
    for given in ((None, None, None), (previous, factors, masses)):
        got = drivers.accumulate(
            engine, X, labels, *given, scales, 2.0**40, 2.0**40, n_clusters, is_sorted=is_sorted
        )
        sums = np.zeros((2, n_clusters, 37), np.int64)
        mass = np.zeros((2, n_clusters), np.int64)
        REFERENCE.accumulate(X, labels, *given, scales, 2.0**40, 2.0**40, sums, mass)
        same_bits(got[0], sums)
        same_bits(got[1], mass)


def check_rows(engine: Engine, dtype: str) -> None:
    """Compute norms, distances to the own center, ranges and moments."""
    X, centers = tricky_rows(35, 11, 37, dtype)
    X[5, 4] = X[6, 5] = -0.0
    labels = np.arange(35, dtype=np.int32) % 11
    same_bits(drivers.row_norms(engine, X), REFERENCE.row_norms(X))
    for metric in ("sqeuclidean", "cosine"):
        got = drivers.own_distances(engine, X, centers, labels, metric)
        same_bits(got, REFERENCE.own_distances(X, centers, labels, metric))
    scales = np.stack([np.full(37, 2.0**5), np.full(37, 2.0**2)])
    if dtype != "float16":
        X[4] = 0.0  # too large for these scales
    largest, sums = drivers.moments(engine, X, scales, 2.0**20)
    same_bits(largest, np.abs(REFERENCE.column_range(X)))
    same_bits(sums, REFERENCE.column_moments(X, scales, 2.0**20))


def check_seeding(engine: Engine, metric: str, *, weighted: bool) -> None:
    """Take a first center, find rows, compare candidates and take one."""
    X, _ = tricky_rows(150, 9, 21, "float32")
    X[4] = X[5]
    weights = np.random.default_rng(0).uniform(0.0, 2.0, 150) if weighted else None
    ours = drivers.Seeder(engine, X, weights, metric)
    theirs = ReferenceSeeder(X, weights, metric)
    largest = ours.begin(X[11])
    assert largest == theirs.begin(X[11])
    scale = 2.0 ** (40 - np.ceil(np.log2(largest)))
    potential = ours.set_scale(scale)
    assert potential == theirs.set_scale(scale)
    for target in (0, potential // 3, potential - 1):
        assert ours.locate(target) == theirs.locate(target)
    candidates = X[[3, 70, 149]]
    assert ours.evaluate(candidates) == theirs.evaluate(candidates)
    ours.accept(1)
    theirs.accept(1)
    same_bits(ours.nearest.get(), theirs.nearest)
    assert ours.locate(potential // 9) == theirs.locate(potential // 9)
