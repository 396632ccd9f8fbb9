"""`MiniBatchKMeans` behaves as scikit-learn's does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.datasets import make_blobs

from fastface import MiniBatchKMeans


def test_one_step_is_the_running_mean() -> None:
    """Two batches of given centers: every center is the mean of all rows it got."""
    rng = np.random.default_rng(0)
    init = np.array([[0.0, 0.0], [10.0, 10.0]])
    batches = [init[rng.integers(0, 2, 50)] + rng.normal(size=(50, 2)) for _ in range(3)]
    model = MiniBatchKMeans(2, init=init, n_init=1, reassignment_ratio=0.0)
    theirs = sklearn.cluster.MiniBatchKMeans(2, init=init, n_init=1, reassignment_ratio=0.0)
    for batch in batches:
        model.partial_fit(batch)
        theirs.partial_fit(batch)
        np.testing.assert_allclose(model.cluster_centers_, theirs.cluster_centers_, rtol=1e-12)
        np.testing.assert_allclose(model.inertia_, theirs.inertia_, rtol=1e-12)
        np.testing.assert_array_equal(model.labels_, theirs.labels_)
    everything = np.concatenate(batches)
    nearest = (everything.sum(axis=1) > 10).astype(int)
    for k in (0, 1):
        np.testing.assert_allclose(
            model.cluster_centers_[k], everything[nearest == k].mean(axis=0), rtol=1e-12
        )
    assert model.n_steps_ == 3


def test_partial_fit_in_the_middle_of_pickling() -> None:
    import pickle

    x, _ = make_blobs(600, centers=5, random_state=0)
    one = MiniBatchKMeans(5, random_state=0)
    two = MiniBatchKMeans(5, random_state=0)
    for start in range(0, 600, 100):
        one.partial_fit(x[start : start + 100])
        two = pickle.loads(pickle.dumps(two)).partial_fit(x[start : start + 100])
    assert one.cluster_centers_.tobytes() == two.cluster_centers_.tobytes()


def test_weights_of_batches() -> None:
    x, _ = make_blobs(300, centers=4, random_state=0)
    repeated = MiniBatchKMeans(4, init=x[:4], n_init=1).partial_fit(np.repeat(x, 2, axis=0))
    weighted = MiniBatchKMeans(4, init=x[:4], n_init=1)
    weighted.partial_fit(x, sample_weight=np.full(300, 2.0))
    np.testing.assert_allclose(repeated.cluster_centers_, weighted.cluster_centers_, rtol=1e-12)
    rare = np.ones(300)
    rare[:200] = 0.0
    model = MiniBatchKMeans(4, random_state=0).fit(x, sample_weight=rare)
    only = MiniBatchKMeans(4, random_state=0).fit(x[200:])
    assert model.score(x[200:]) > 1.3 * only.score(x[200:])


@pytest.mark.parametrize(
    ("tol", "max_no_improvement", "why"), [(1e-4, None, "small centers"), (0, 10, "lack of")]
)
def test_declared_convergence(
    capsys: pytest.CaptureFixture[str], tol: float, max_no_improvement: int | None, why: str
) -> None:
    x, _, centers = make_blobs(centers=3, random_state=0, return_centers=True)
    MiniBatchKMeans(
        3,
        init=centers,
        batch_size=20,
        tol=tol,
        random_state=0,
        max_iter=10,
        n_init=1,
        verbose=1,
        max_no_improvement=max_no_improvement,
    ).fit(x)
    printed = capsys.readouterr().out
    assert f"Converged ({why}" in printed
    assert "Minibatch step 1/50: mean batch inertia" in printed


def test_number_of_steps() -> None:
    x, _ = make_blobs(100, centers=3, random_state=0)
    model = MiniBatchKMeans(3, batch_size=30, tol=0, max_no_improvement=None, random_state=0)
    model.fit(x)
    assert model.n_iter_ == 100
    assert model.n_steps_ == 100 * 100 // 30
    seen: list[Any] = []
    model.set_params(max_no_improvement=10, callback=seen.append).fit(x)
    assert 1 < model.n_steps_ < 333
    assert [r.step for r in seen] == list(range(1, model.n_steps_ + 1))
    assert seen[0].smoothed_inertia is None
    assert seen[-1].smoothed_inertia > 0


def test_starved_centers_are_moved() -> None:
    x, _ = make_blobs(1000, centers=10, random_state=0)
    far = np.vstack([x[:5], np.full((5, 2), 1e4)])
    model = MiniBatchKMeans(10, init=far, n_init=1, batch_size=100, random_state=0).fit(x)
    assert np.abs(model.cluster_centers_).max() < 100
    left = MiniBatchKMeans(
        10, init=far, n_init=1, batch_size=100, random_state=0, reassignment_ratio=0.0
    ).fit(x)
    assert (left.cluster_centers_ == 1e4).all(axis=1).sum() == 5


def test_init_size() -> None:
    x, _ = make_blobs(200, centers=10, random_state=0)
    with pytest.warns(RuntimeWarning, match="init_size=4 should be larger than n_clusters=10"):
        MiniBatchKMeans(10, init_size=4, random_state=0).fit(x)
    MiniBatchKMeans(10, init_size=1000, random_state=0).fit(x)


def test_without_labels() -> None:
    x, _ = make_blobs(5000, centers=5, random_state=0)
    quick = MiniBatchKMeans(5, compute_labels=False, random_state=0).fit(x)
    full = MiniBatchKMeans(5, random_state=0).fit(x)
    assert not hasattr(quick, "labels_")
    assert quick.inertia_ == pytest.approx(full.inertia_, rel=0.2)


def test_quality(faces: Callable) -> None:
    x = faces(8000, 16, 60)
    ours = [MiniBatchKMeans(40, random_state=s).fit(x).inertia_ for s in range(4)]
    theirs = [sklearn.cluster.MiniBatchKMeans(40, random_state=s).fit(x).inertia_ for s in range(4)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)
