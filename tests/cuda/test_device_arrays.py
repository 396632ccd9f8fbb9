"""Arrays on a GPU through the public functions: read where they are, and results as they came."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="the extra 'test' brings NVRTC")

from cupy_stand_in import Array, StandIn, Tensor, torch_over

import fastface
from fastface.attributes.kmeans import plain_k_means
from fastface.backends import registry
from fastface.backends.cuda.device import _shared_gpu
from fastface.errors import InvalidInputError


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    sparse = SimpleNamespace(
        csr_matrix=lambda parts, shape: SimpleNamespace(parts=parts, shape=shape)
    )
    for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.sparse"):
        monkeypatch.setitem(sys.modules, name, sparse)
    _shared_gpu.cache_clear()
    return stand_in


@pytest.fixture
def torch(cupy: StandIn, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = torch_over(cupy)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)


def same(found: Any, expected: np.ndarray, kind: type) -> None:
    assert type(found) is kind
    values = found.get()
    assert values.dtype == expected.dtype
    assert values.tobytes() == expected.tobytes()


def test_dense_functions(cupy: StandIn, rows: np.ndarray) -> None:
    there = cupy.asarray(rows)
    before, pinned = cupy.copies_in, cupy.pinned_bytes
    for found, expected in zip(
        (
            *fastface.assign(there, there[:41]),
            *fastface.nearest_neighbors(there, n_neighbors=2, exclude_self=True),
            fastface.pairwise_distances(there[:20], there[:30]),
        ),
        (
            *fastface.assign(rows, rows[:41]),
            *fastface.nearest_neighbors(rows, n_neighbors=2, exclude_self=True),
            fastface.pairwise_distances(rows[:20], rows[:30]),
        ),
        strict=True,
    ):
        same(found, expected, Array)
    out = cupy.empty((20, 30), np.float32)
    assert fastface.pairwise_distances(there[:20], there[:30], out=out) is out
    same(out, fastface.pairwise_distances(rows[:20], rows[:30]), Array)
    assert (cupy.copies_in, cupy.pinned_bytes) == (before, pinned), "nothing came from the host"
    near = fastface.radius_neighbors(there, radius=0.5)
    expected = fastface.radius_neighbors(rows, radius=0.5)
    assert near.shape == expected.shape
    for one, other in zip(near.parts, (expected.data, expected.indices), strict=False):
        same(one, other, Array)


def test_tensors_are_worked_on_in_their_stream(torch: Any, cupy: StandIn, rows: np.ndarray) -> None:
    x = torch.tensor(rows)
    labels, distances = fastface.assign(x, torch.tensor(rows[:41]), device="cuda")
    expected = fastface.assign(rows, rows[:41])
    same(labels, expected[0], Tensor)
    same(distances, expected[1], Tensor)
    assert cupy.external == [(torch.stream.number, 0)] * len(cupy.external) != []
    near = fastface.radius_neighbors(x, radius=0.5)
    same(near.values, fastface.radius_neighbors(rows, radius=0.5).data, Tensor)


def test_k_means(torch: Any, cupy: StandIn, rows: np.ndarray) -> None:
    options: dict[str, Any] = {"random_state": 0, "n_init": 1, "max_iter": 2}
    ours = fastface.KMeans(6, **options).fit(rows)
    x, weights = torch.tensor(rows), cupy.asarray(np.ones(60))
    model = fastface.KMeans(6, **options)
    same(model.fit_predict(x, sample_weight=weights), ours.labels_, Tensor)
    assert model.device_ == "cuda:0"
    assert model.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert model.inertia_ == ours.inertia_
    same(model.predict(cupy.asarray(rows)), ours.labels_, Array)
    same(model.transform(x), ours.transform(rows), Tensor)
    assert type(model.predict(rows)) is np.ndarray
    centers, places = fastface.kmeans_plusplus(x, 3, random_state=1)
    expected = fastface.kmeans_plusplus(rows, 3, random_state=1)
    same(centers, expected[0], Tensor)
    same(places, expected[1], Tensor)
    rows[7, 3] = np.inf
    with pytest.raises(InvalidInputError, match=r"X\[7, 3\] is inf"):
        fastface.KMeans(6, **options).fit(torch.tensor(rows))


@pytest.mark.parametrize("normalize", [False, True])
def test_graphs(torch: Any, cupy: StandIn, rows: np.ndarray, normalize: bool) -> None:
    """Searched on the GPU, kept on the host."""
    options: dict[str, Any] = {"n_neighbors": 9, "normalize": normalize}
    expected = fastface.NeighborGraph.build(rows, **options)
    for there, device in ((np.asarray, "cuda"), (cupy.asarray, "auto"), (torch.tensor, "cuda")):
        before = len(cupy.launches)
        x, some = there(rows), there(rows[:52])
        part = fastface.NeighborGraph.build(some, device=device, **options)
        for graph in (
            fastface.NeighborGraph.build(x, device=device, **options),
            part.extend(x, device=device),
        ):
            assert "topk_screen" in {name for name, _ in cupy.launches[before:]}
            assert graph.indices.tobytes() == expected.indices.tobytes()
            assert graph.distances.tobytes() == expected.distances.tobytes()
            assert graph.fingerprint == expected.fingerprint


def test_people_and_attributes(
    torch: Any, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastface.attributes.kmeans._N_INIT", 1)  # others are like the first
    photos = np.arange(60) // 2
    theirs = fastface.IdentityClustering().fit(rows[:50], photo_ids=photos[:50])
    ours = fastface.IdentityClustering().fit(torch.tensor(rows[:50]), photo_ids=photos[:50])
    for more in (None, rows[50:]):
        if more is not None:
            theirs.update(more, photo_ids=photos[50:])
            ours.update(torch.tensor(more), photo_ids=photos[50:])
        assert ours.labels_.tobytes() == theirs.labels_.tobytes()
        assert ours.confidence_.tobytes() == theirs.confidence_.tobytes()
    by_means = fastface.IdentityClustering("kmeans", n_people=3, device="cuda").fit(rows)
    expected = fastface.IdentityClustering("kmeans", n_people=3).fit(rows)
    assert by_means.labels_.tobytes() == expected.labels_.tobytes()
    found = plain_k_means(rows, 3, seed=0, device="cuda")
    assert found.tobytes() == plain_k_means(rows, 3, seed=0).tobytes()


def test_what_is_refused(torch: Any, cupy: StandIn, rows: np.ndarray) -> None:
    there = cupy.asarray(rows)

    def refused(match: str, *arrays: Any, **options: Any) -> None:
        with pytest.raises(InvalidInputError, match=match):
            fastface.assign(*arrays, **options)

    refused(r"X in cuda:0, centers in host memory\): bring them together", there, rows)
    refused("X lies on cuda:0, and device='cpu'.*device='auto'", there, there, device="cpu")
    refused("lies on cuda:0, and the call runs on cuda:1", there, there, device="cuda:1")
    elsewhere = cupy.asarray(rows)
    elsewhere.device = SimpleNamespace(id=1)
    refused("X in cuda:0, centers in cuda:1", there, elsewhere)
    strided = cupy.asarray(rows)
    strided.strides = (64, 4)
    refused(r"centers is not contiguous on the GPU.*tensor.contiguous\(\)", there, strided)
    refused("X has 0 rows", there[:0], there)
    refused("X must be a matrix", there.reshape(-1), there)
    refused("X has dtype int32; on a GPU float16", cupy.asarray(rows.astype(np.int32)), there)
    refused("X has 8 features and centers has 4", there, cupy.asarray(rows[:, :4].copy()))
    bad = rows.copy()
    bad[5, 2] = np.nan
    refused(r"centers\[5, 2\] is nan", there, cupy.asarray(bad))
    graded = torch.tensor(rows)
    graded.requires_grad = True
    refused(r"X asks for gradients.*detach\(\)", graded, there)
    with pytest.raises(InvalidInputError, match=r"out must be a .*\(60, 41\) on the GPU"):
        fastface.pairwise_distances(there, there[:41], out=np.empty((60, 41), np.float32))
    with pytest.raises(InvalidInputError, match="X lies on cuda:0, and device='cpu'"):
        fastface.NeighborGraph.build(there, device="cpu")
    with pytest.raises(InvalidInputError, match="X is not contiguous on the GPU"):
        fastface.IdentityClustering().fit(strided)
    with pytest.raises(InvalidInputError, match="X lies on cuda:0, and this is computed from"):
        fastface.AttributeDiscovery().fit(there)


def test_auto_says_once_where_it_went(
    cupy: StandIn, rows: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    registry.tell_choice.cache_clear()
    with caplog.at_level(logging.INFO, logger="fastface"):
        for _ in range(2):
            fastface.assign(rows, rows[:5])
            there = cupy.asarray(rows)
            fastface.assign(there, there[:41])
            fastface.assign(rows, rows[:5], device="cpu")
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "device='auto': computing on the CPU",
        "device='auto': computing on cuda:0",
    ]
