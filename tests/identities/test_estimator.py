from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from fastface import IdentityClustering, NeighborGraph
from fastface.errors import InvalidInputError
from fastface.identities.estimator import METHODS
from fastface.metrics import bcubed_scores, pairwise_scores

# Judge by a distance of their own, so that they know everybody from nobody.
ABSOLUTE = ("overlap-linkage", "chinese-whispers", "dbscan", "components")


def clustering(method: str, **options: object) -> IdentityClustering:
    if method == "kmeans":
        options["n_people"] = 9
    return IdentityClustering(method, **options)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((9, 32))
    rows = centers[rng.integers(0, 9, 80)] + rng.standard_normal((80, 32)) * 0.15
    return rows.astype(np.float32)


def labelled(shared_faces: Path, name: str) -> tuple[np.ndarray, list[str]]:
    with np.load(shared_faces / name / "embeddings.npz", allow_pickle=False) as file:
        embeddings = file["emb"]
    with (shared_faces / name / "manifest.csv").open(newline="") as file:
        return embeddings, [row["identity"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("name", "pairwise", "bcubed"),
    [("celeba", 0.945, 0.945), ("lfw", 0.940, 0.953), ("orl", 1.0, 1.0), ("yale", 1.0, 1.0)],
)
def test_scores_on_labelled_faces(
    shared_faces: Path, name: str, pairwise: float, bcubed: float
) -> None:
    """One default for every set reaches the level it was chosen for."""
    embeddings, people = labelled(shared_faces, name)
    labels = IdentityClustering().fit(embeddings).labels_
    assert pairwise_scores(people, labels).f >= pairwise
    assert bcubed_scores(people, labels).f >= bcubed


def test_fc_es_does_not_link_people_of_few_photos_to_strangers(shared_faces: Path) -> None:
    embeddings, people = labelled(shared_faces, "lfw")
    labels = IdentityClustering("fc-es").fit(embeddings).labels_
    assert pairwise_scores(people, labels).f >= 0.92  # without a farthest neighbour .56


def test_people_with_more_photos_than_a_list_has_neighbors(shared_faces: Path) -> None:
    embeddings, people = labelled(shared_faces, "celeba")
    labels = IdentityClustering(n_neighbors=15).fit(embeddings).labels_
    assert pairwise_scores(people, labels).f >= 0.91  # without further passes .80


@pytest.mark.parametrize("name", ["celeba", "lfw", "orl", "yale"])
def test_estimated_cutoff_comes_near_the_best(shared_faces: Path, name: str) -> None:
    embeddings, people = labelled(shared_faces, name)
    model = IdentityClustering(cutoff="estimate").fit(embeddings)
    assert model.cutoff_ == pytest.approx(0.55 / 1.43, rel=0.09)
    assert pairwise_scores(people, model.labels_).f >= 0.925
    assert bcubed_scores(people, model.labels_).f >= 0.925
    again = IdentityClustering(cutoff="estimate").fit(embeddings * 7, graph=None)
    assert again.cutoff_ == pytest.approx(model.cutoff_, rel=1e-6)


def test_confidence_is_lower_where_the_person_is_wrong(shared_faces: Path) -> None:
    embeddings, people = labelled(shared_faces, "celeba")
    model = IdentityClustering().fit(embeddings)
    truth = np.unique(people, return_inverse=True)[1]
    majority = np.array(
        [np.bincount(truth[model.labels_ == label]).argmax() for label in range(model.n_people_)]
    )
    right = truth == majority[model.labels_]
    assert 5 < (~right).sum() < 100
    lower = model.confidence_[~right][:, None] < model.confidence_[right]
    assert lower.mean() > 0.85  # the area under the ROC curve


@pytest.mark.parametrize("method", METHODS)
def test_people_are_numbered_by_size(faces: np.ndarray, method: str) -> None:
    model = clustering(method).fit(faces)
    sizes = np.bincount(model.labels_)
    assert model.labels_.dtype == np.int64
    assert sizes.tolist() == sorted(sizes, reverse=True)
    assert len(sizes) == model.n_people_ > 1
    first = [int(np.flatnonzero(model.labels_ == label)[0]) for label in range(len(sizes))]
    for a in range(len(sizes) - 1):
        assert sizes[a] > sizes[a + 1] or first[a] < first[a + 1]


@pytest.mark.parametrize("method", METHODS)
def test_photos_keep_faces_apart(faces: np.ndarray, method: str) -> None:
    photos = [f"photo {i // 3}" for i in range(len(faces))]
    labels = clustering(method).fit(faces, photo_ids=photos).labels_
    free = clustering(method).fit(faces).labels_
    assert len(set(zip(photos, labels.tolist(), strict=True))) == len(faces)
    assert len(set(zip(photos, free.tolist(), strict=True))) < len(faces)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(photos=st.lists(st.integers(-3, 12), min_size=80, max_size=80))
def test_no_person_is_twice_in_a_photo(faces: np.ndarray, method: str, photos: list[int]) -> None:
    labels = clustering(method).fit(faces, photo_ids=photos).labels_
    assert len(set(zip(photos, labels.tolist(), strict=True))) == len(faces)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_again(faces: np.ndarray, method: str) -> None:
    first = clustering(method, n_threads=1).fit(faces)
    second = clone(first).set_params(n_threads=2).fit(faces.astype(np.float64), graph=first.graph_)
    assert first.labels_.tobytes() == second.labels_.tobytes()
    assert first.confidence_.tobytes() == second.confidence_.tobytes()


@pytest.mark.parametrize("method", ABSOLUTE)
def test_degenerate_sets(method: str) -> None:
    one = IdentityClustering(method).fit(np.ones((1, 4)))
    assert one.labels_.tolist() == [0]
    assert one.confidence_.shape == (1,)
    same = IdentityClustering(method).fit(np.ones((300, 4), np.float32))
    assert same.n_people_ == 1
    apart = IdentityClustering(method).fit(np.eye(6))
    assert apart.labels_.tolist() == [0, 1, 2, 3, 4, 5]


def test_confidence_prefers_faces_near_their_person(faces: np.ndarray) -> None:
    model = IdentityClustering().fit(faces)
    assert ((model.confidence_ >= 0) & (model.confidence_ <= 1)).all()
    big = model.labels_ == 0
    assert big.sum() > 2
    halfway = faces[big][0] + faces[model.labels_ == 1][0]
    doubtful = IdentityClustering().fit(np.vstack([faces, halfway]))
    assert doubtful.confidence_[-1] < np.median(model.confidence_[big])


@pytest.mark.parametrize(
    ("arguments", "X", "fit", "message"),
    [
        ({"method": "magic"}, np.ones((3, 2)), {}, "choose 'auto'"),
        ({"cutoff": 0}, np.ones((3, 2)), {}, "cutoff"),
        ({"cutoff": "guess"}, np.ones((3, 2)), {}, "'estimate'; got 'guess'"),
        ({"cutoff": "estimate"}, np.ones((3, 2)), {}, "at least 100 faces of many people, got 3"),
        ({"cutoff": "estimate"}, np.ones((200, 2)), {}, "do not look like faces of many"),
        ({}, np.ones((2, 2)), {"photo_ids": np.array(["a", 1], object)}, "all numbers or all"),
        ({}, np.ones((2, 2)), {"photo_ids": [1.0, np.nan]}, "NaN"),
        ({"n_neighbors": 0}, np.ones((3, 2)), {}, "n_neighbors"),
        ({}, np.ones(3), {}, "shape"),
        ({}, np.empty((0, 4)), {}, "0 rows"),
        ({}, np.array([[1.0, np.nan]]), {}, r"X\[0, 1\] is nan"),
        ({}, np.array([[1.0, 0], [0, 0]]), {}, r"rows 1\)"),
        ({}, np.array([["a"]]), {}, "dtype"),
        ({}, np.ones((3, 2)), {"photo_ids": [1, 2]}, "3 rows"),
        ({}, np.ones((3, 2)), {"graph": NeighborGraph.build(np.eye(3))}, "normalize=True"),
        (
            {},
            np.ones((3, 2)),
            {"graph": NeighborGraph.build(np.eye(3), normalize=True)},
            "not built from",
        ),
    ],
)
def test_bad_input(arguments, X, fit, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IdentityClustering(**arguments).fit(X, **fit)


def test_steps_are_told(faces: np.ndarray) -> None:
    told: list[str] = []
    model = IdentityClustering(callback=told.append).fit(faces)
    assert told == ["neighbors", "people", "confidence"]
    told.clear()
    model.fit(faces, graph=model.graph_)
    assert told == ["people", "confidence"]


def test_a_graph_from_disk_gives_the_same_people(faces: np.ndarray, tmp_path: Path) -> None:
    model = IdentityClustering().fit(faces)
    model.graph_.save(tmp_path / "graph.npz")
    for mmap in (False, True):
        graph = NeighborGraph.load(tmp_path / "graph.npz", mmap=mmap)
        assert (IdentityClustering().fit(faces, graph=graph).labels_ == model.labels_).all()
