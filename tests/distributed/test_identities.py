"""People of a cluster: those of one process, wherever that is promised."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import fastface
from fastface.distributed import IdentityClustering, NeighborGraph
from fastface.distributed.faces import Forest
from fastface.distributed.joining import merge_forests, plan_bins
from fastface.errors import InvalidInputError
from fastface.metrics import pairwise_scores

REPO = Path(__file__).resolve().parent.parent.parent
N = 1500
EVEN = 400
ODD = (1, 507, 13, 401, 578)
CONSTRAINTS: dict[str, Any] = {
    "must_link": [(3, 1400), (1400, 77), (800, 801)],
    "cannot_link": [(3, 801), (10, 11)],
}


@pytest.fixture(scope="module")
def faces() -> Any:
    """People of the benchmarks, which are no part of the package."""
    path = REPO / "benchmarks" / "synthetic_people.py"
    spec = importlib.util.spec_from_file_location("synthetic_people_for_clusters", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SyntheticPeople(N, 150, dim=32, seed=3)


@pytest.fixture(scope="module")
def photos(faces: Any) -> np.ndarray:
    """Two faces a photo, here and there of one person, who must then be told apart."""
    order = np.argsort(faces.person_ids, kind="stable")
    photos = np.arange(N)
    photos[order[1:200:2]] = photos[order[:200:2]]
    return photos


@pytest.fixture(scope="module")
def ours(faces: Any, photos: np.ndarray) -> fastface.IdentityClustering:
    return fastface.IdentityClustering(n_neighbors=20).fit(
        faces.rows(0, N), photo_ids=photos, repeating_photos=[0], **CONSTRAINTS
    )


@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
def test_the_people_of_one_process(
    client: Client,
    faces: Any,
    photos: np.ndarray,
    ours: fastface.IdentityClustering,
    in_chunks: Callable,
    sizes: Any,
) -> None:
    odd = sizes is ODD
    theirs = IdentityClustering(n_neighbors=20, region_rows=600 if odd else N, client=client).fit(
        in_chunks(faces.rows(0, N), sizes),
        photo_ids=in_chunks(photos, 700) if odd else photos,
        repeating_photos=[0],
        **CONSTRAINTS,
    )
    assert theirs.is_exact_
    assert theirs.n_people_ == ours.n_people_
    labels, confidence = client.gather(client.compute([theirs.labels_, theirs.confidence_]))
    np.testing.assert_array_equal(labels, ours.labels_)
    np.testing.assert_allclose(confidence, ours.confidence_, atol=1e-5)
    assert labels[3] == labels[77] == labels[1400]
    assert labels[10] != labels[11]


@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
def test_people_keep_their_ids(
    client: Client,
    faces: Any,
    ours: fastface.IdentityClustering,
    in_chunks: Callable,
    sizes: Any,
) -> None:
    """On 1, 2 and 5 workers, the ids and changes of one process: some new faces, others gone."""
    x = faces.rows(0, N)
    previous = 1000 + 7 * ours.labels_
    previous[::9] = -1
    previous[previous == 1000] = 1007  # two of them were one
    previous[10] = 5000  # one of 41 faces, but the one that is named
    expected = fastface.IdentityClustering(n_neighbors=20).fit(
        x, previous_ids=previous, **CONSTRAINTS
    )
    model = IdentityClustering(n_neighbors=20, client=client)
    for given in (previous, in_chunks(previous, 700)):
        model.fit(in_chunks(x, sizes), previous_ids=given, **CONSTRAINTS)
        ids = client.compute(model.person_ids_).result()
        np.testing.assert_array_equal(ids, expected.person_ids_)
        assert ids[10] == 5000
        assert model.changes_ == expected.changes_ != []
    model.fit(None, graph=model.graph_)
    labels, ids = client.gather(client.compute([model.labels_, model.person_ids_]))
    np.testing.assert_array_equal(labels, ids)
    assert model.changes_ == []
    with pytest.raises(InvalidInputError, match="previous_ids"):
        model.fit(None, graph=model.graph_, previous_ids=previous[1:])


def test_stages(two_workers: Client, faces: Any, in_chunks: Callable) -> None:
    """What is too large for one worker is joined in stages, the same for any division."""
    x = faces.rows(0, N)
    alone = fastface.IdentityClustering(n_neighbors=20, cutoff=0.5).fit(x)
    graph = NeighborGraph.build(
        in_chunks(x, EVEN), n_neighbors=20, normalize=True, client=two_workers
    )
    found = []
    for region_rows in (N, 500):
        model = IdentityClustering(
            cutoff=0.5, component_rows=60, region_rows=region_rows, client=two_workers
        ).fit(None, graph=graph)
        assert not model.is_exact_
        found.append(two_workers.compute(model.labels_).result())
    np.testing.assert_array_equal(*found)
    scores = pairwise_scores(alone.labels_, found[0])
    assert scores.f > 0.8
    assert (found[0] != alone.labels_).any()


def test_the_cutoff_of_the_rows(two_workers: Client, faces: Any, in_chunks: Callable) -> None:
    x = faces.rows(0, 300)
    options: dict[str, Any] = {"n_neighbors": 10, "cutoff": "estimate"}
    alone = fastface.IdentityClustering(**options).fit(x)
    theirs = IdentityClustering(client=two_workers, **options).fit(in_chunks(x, 100))
    assert theirs.cutoff_ == alone.cutoff_


def test_bins() -> None:
    """Components stay whole up to the limit; a larger one is cut where it hangs together least."""
    names = np.arange(10, 19)
    chain = np.stack([np.arange(5), np.arange(1, 6)], axis=1)  # 10-15, and 16-17; 18 alone
    forest = Forest(
        names,
        np.full(9, 10),
        np.concatenate([chain, [[6, 7]]]),
        np.array([0.9, 0.8, 0.31, 0.8, 0.9, 0.5]),
    )
    forest = merge_forests([forest, forest], 0.3)
    whole = plan_bins(forest, 0.3, most=60, usual=20)
    assert whole.names.tolist() == [10, 11, 12, 13, 14, 15, 16, 17]
    assert not len(whole.oversized)
    assert sorted(np.bincount(whole.bins).tolist()) == [2, 6]
    cut = plan_bins(forest, 0.3, most=30, usual=20)
    assert cut.oversized.tolist() == [10, 11, 12, 13, 14, 15]
    of = dict(zip(cut.names.tolist(), cut.bins.tolist(), strict=True))
    assert of[10] == of[12] != of[13] == of[15]
    assert cut.stops[of[10]] == pytest.approx(0.35)
    assert cut.stops[of[16]] == 0.3


def test_bad_input(two_workers: Client, faces: Any, in_chunks: Callable) -> None:
    divided = in_chunks(faces.rows(0, 40), 20)
    model = IdentityClustering(n_neighbors=5, client=two_workers)
    with pytest.raises(InvalidInputError, match=r"cannot_link has \(1, 5\), and must_link makes"):
        model.fit(divided, must_link=[(1, 9), (9, 5)], cannot_link=[(1, 5)])
    with pytest.raises(InvalidInputError, match="pairs of row numbers below 40"):
        model.fit(divided, must_link=[(1, 40)])
    with pytest.raises(InvalidInputError, match="whole numbers"):
        model.fit(divided, photo_ids=["a"] * 40)
    with pytest.raises(InvalidInputError, match="one value for each of the 40 rows"):
        model.fit(divided, photo_ids=np.arange(39))
    with pytest.raises(InvalidInputError, match="on a cluster people are found by"):
        IdentityClustering("hdbscan", client=two_workers).fit(divided)
    graph = NeighborGraph.build(divided, n_neighbors=5, client=two_workers)
    with pytest.raises(InvalidInputError, match="with normalize=True"):
        model.fit(divided, graph=graph)
