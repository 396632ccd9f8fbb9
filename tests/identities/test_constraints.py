from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastface import IdentityClustering, NeighborGraph
from fastface.errors import InvalidInputError
from fastface.identities.constraints import Constraints
from fastface.identities.estimator import METHODS


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((9, 32))
    rows = centers[rng.integers(0, 9, 80)] + rng.standard_normal((80, 32)) * 0.15
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def graph(faces: np.ndarray) -> NeighborGraph:
    return NeighborGraph.build(faces, normalize=True)


def clustering(method: str) -> IdentityClustering:
    return IdentityClustering(method, n_people=9 if method == "kmeans" else None)


pair = st.tuples(st.integers(0, 79), st.integers(0, 79)).filter(lambda p: p[0] != p[1])


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(must=st.lists(pair, max_size=6), cannot=st.lists(pair, max_size=6))
def test_every_method_obeys(
    faces: np.ndarray, graph: NeighborGraph, method: str, must: list, cannot: list
) -> None:
    known = {"must_link": must, "cannot_link": cannot}
    items = Constraints(80, must_link=must).items
    if any(items[a] == items[b] for a, b in cannot):
        with pytest.raises(InvalidInputError, match="contradict"):
            clustering(method).fit(faces, graph=graph, **known)
        return
    labels = clustering(method).fit(faces, graph=graph, **known).labels_
    assert all(labels[a] == labels[b] for a, b in must)
    assert all(labels[a] != labels[b] for a, b in cannot)


@pytest.mark.parametrize("method", METHODS)
def test_constraints_change_what_would_be_found(
    faces: np.ndarray, graph: NeighborGraph, method: str
) -> None:
    """The test above is not about pairs that come out right anyway."""
    free = clustering(method).fit(faces, graph=graph).labels_
    together = np.flatnonzero(free == 0)[:2]
    apart = [int(np.flatnonzero(free == 0)[0]), int(np.flatnonzero(free == 1)[0])]
    labels = clustering(method).fit(faces, graph=graph, cannot_link=[together]).labels_
    assert labels[together[0]] != labels[together[1]]
    labels = clustering(method).fit(faces, graph=graph, must_link=[apart]).labels_
    assert labels[apart[0]] == labels[apart[1]]


def test_contradictions_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"\(3, 1\).*\(3, 5\), \(5, 1\)"):
        Constraints(9, must_link=[(5, 3), (1, 5), (7, 8)], cannot_link=[(0, 2), (3, 1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"must_link": [(0, 9)]}, r"\(0, 9\), which is no two of 9 faces"),
        ({"cannot_link": [(4, 4)]}, r"\(4, 4\)"),
        ({"must_link": [(0.5, 1)]}, "pairs of row numbers"),
        ({"must_link": [1, 2]}, "pairs of row numbers"),
        ({"photo_ids": list("aabbccdde"), "repeating_photos": ["z"]}, "'z'"),
    ],
)
def test_pairs_that_name_nobody(arguments, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Constraints(9, **arguments)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("fc-es", "rank-order")])
def test_mirrors_and_the_users_word_override_photos(method: str) -> None:
    faces = np.repeat(np.eye(9), 2, axis=0)
    photos = np.repeat(np.arange(9), 2)
    model = clustering(method)
    assert model.fit(faces).n_people_ == 9
    assert model.fit(faces, photo_ids=photos).n_people_ == 18
    found = model.fit(faces, photo_ids=photos, repeating_photos=[4]).labels_
    assert np.flatnonzero(found[::2] == found[1::2]).tolist() == [4]
    found = model.fit(faces, photo_ids=photos, must_link=[(2, 3)]).labels_
    assert np.flatnonzero(found[::2] == found[1::2]).tolist() == [1]
