"""The sparse linkage against a dense one written from the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from fastface import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.identities.kernel import KernelParameters, neighbor_shares
from fastface.identities.overlap_linkage import overlap_linkage

ONE_PASS = KernelParameters(group_passes=0)


def people(seed: int, n_people: int = 12, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around random people, spread about as wide as the cutoff."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_people, dim))
    centers = 0.55 * centers / np.linalg.norm(centers, axis=1, keepdims=True)
    centers[:, 0] += 1
    labels = rng.integers(0, n_people, 70)
    rows = centers[labels] + rng.standard_normal((70, dim)) * 0.055
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def dense_probabilities(graph: NeighborGraph, p: KernelParameters) -> np.ndarray:
    n = graph.n_samples
    radius = np.clip(
        graph.distances[:, :10].astype(float).mean(axis=1), p.smallest_radius * p.cutoff, p.cutoff
    )
    affinity = np.eye(n)
    for i in range(n):
        for j, d in zip(graph.indices[i], graph.distances[i].astype(float), strict=True):
            if i not in graph.indices[j]:
                continue
            if d < min(p.cutoff, 1.3 * np.sqrt(radius[i] * radius[j])):
                affinity[i, j] = np.exp(-(d**2) / (2 * radius[i] * radius[j]))
    return affinity / affinity.sum(axis=1, keepdims=True)


def dense_linkage(rows: np.ndarray, graph: NeighborGraph, p: KernelParameters) -> list[set[int]]:
    rows = rows.astype(float)
    overlap_rows = np.sqrt(dense_probabilities(graph, p))
    square = ((rows[:, None] - rows) ** 2).sum(axis=2)
    kernel = 0.4 * (1 - square / p.cutoff**2) + 0.6 * overlap_rows @ overlap_rows.T
    linked = np.zeros_like(kernel, dtype=bool)
    near = graph.distances < p.longest_edge * p.cutoff
    linked[np.nonzero(near)[0], graph.indices[near]] = True
    linked |= linked.T
    linked &= kernel >= p.stop
    groups = [{i} for i in range(len(rows))]
    while True:
        best = None
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                cells = np.ix_(sorted(groups[a]), sorted(groups[b]))
                if linked[cells].any() and kernel[cells].mean() >= p.stop:
                    best = max(best or (-np.inf, 0, 0), (kernel[cells].mean(), a, b))
        if best is None:
            return groups
        groups[best[1]] |= groups.pop(best[2])


def as_sets(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_neighbors", [6, 80])
def test_sparse_equals_dense(seed: int, n_neighbors: int) -> None:
    rows, _ = people(seed)
    graph = NeighborGraph.build(rows, n_neighbors=n_neighbors)
    labels = overlap_linkage(rows, graph, parameters=ONE_PASS)
    expected = {frozenset(group) for group in dense_linkage(rows, graph, ONE_PASS)}
    assert as_sets(labels) == expected
    assert 5 < len(expected) < 60  # neither everybody nor nobody was joined


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_outgrow_their_place(seed: int) -> None:
    """Few neighbours, large groups: rows grow many times longer than they began."""
    rows, _ = people(seed, n_people=2)
    loose = KernelParameters(group_passes=0, stop=0.2, longest_edge=2.0)
    graph = NeighborGraph.build(rows, n_neighbors=6)
    labels = overlap_linkage(rows, graph, parameters=loose)
    expected = {frozenset(group) for group in dense_linkage(rows, graph, loose)}
    assert as_sets(labels) == expected
    assert max(len(group) for group in expected) > 30


def test_shares_equal_their_definition() -> None:
    rows, _ = people(1)
    graph = NeighborGraph.build(rows, n_neighbors=9)
    offsets, columns, values = neighbor_shares(graph, ONE_PASS).rows()
    found = csr_matrix((values, columns, offsets), shape=(len(rows), len(rows))).toarray()
    np.testing.assert_allclose(found, dense_probabilities(graph, ONE_PASS), atol=1e-7)


def test_order_of_rows_does_not_matter() -> None:
    rows, _ = people(2)
    order = np.random.default_rng(0).permutation(len(rows))
    labels = overlap_linkage(rows, NeighborGraph.build(rows))
    shuffled = overlap_linkage(rows[order], NeighborGraph.build(rows[order]))
    restored = np.empty_like(shuffled)
    restored[order] = shuffled
    assert as_sets(labels) == as_sets(restored)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n_photos=st.integers(1, 60))
def test_faces_of_one_photo_are_never_joined(seed: int, n_photos: int) -> None:
    rows, _ = people(seed % 5, n_people=3)
    photos = np.random.default_rng(seed).integers(0, n_photos, len(rows))
    known = Constraints(len(rows), photo_ids=photos)
    labels = overlap_linkage(rows, NeighborGraph.build(rows), constraints=known)
    pairs = labels * n_photos + photos
    assert len(np.unique(pairs)) == len(pairs)


def test_more_photos_than_neighbors() -> None:
    """The passes over groups join what a short neighbour list tears apart."""
    rng = np.random.default_rng(3)
    centers = rng.standard_normal((4, 64))
    rows = np.repeat(centers, 150, axis=0) + rng.standard_normal((600, 64)) * 0.22
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    graph = NeighborGraph.build(rows, n_neighbors=12)
    once = overlap_linkage(rows, graph, parameters=ONE_PASS)
    again = overlap_linkage(rows, graph)
    assert len(np.unique(again)) < len(np.unique(once))
    for label in np.unique(again):
        assert len(np.unique(np.flatnonzero(again == label) // 150)) == 1


def test_a_group_without_faces_is_refused() -> None:
    """The kernel would look for its first face."""
    from fastface import _kernels

    indices = np.array([[1], [0], [0]], np.int32)
    distances = np.zeros((3, 1), np.float32)
    shares = _kernels.NeighborShares(indices, distances, 1.0, 0.1, 1.5, 1, 1)
    exclusions = _kernels.Exclusions(np.zeros(4, np.int64), np.empty(0, np.int32), 0)
    rows, labels = np.eye(3, dtype=np.float32), np.array([0, 0, 2], np.int32)
    with pytest.raises(ValueError, match="a group without faces"):
        _kernels.average_linkage(
            indices, distances, rows, shares, labels, 3, exclusions, 1.0, 0.5, 1.0, 0.0, 0, 1
        )
