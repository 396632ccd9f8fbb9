"""scikit-learn's own tests of its k-means, run with fastface's names in place of its own.

Nothing is left out in silence: what does not hold is listed with its reason, and has to fail.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import scipy.sparse
import sklearn.cluster
from sklearn.utils.fixes import CSR_CONTAINERS

import fastface

SPARSE = "sparse input is not supported: a clear error says so"
ATTRIBUTE = "reads a private attribute of scikit-learn's estimator"

# These would pass, but say nothing about fastface: they call private functions of scikit-learn, or
# its function `k_means`.
NOT_ABOUT_US = {
    "test_relocate_empty_clusters",
    "test_minibatch_update_consistency",
    "test_minibatch_reassign",
    "test_k_means_function",
    "test_euclidean_distance",
    "test_inertia",
    "test_is_same_clustering",
}
# What they want to know is asked in public terms elsewhere: how often "auto" starts and what zero
# weights do in test_bad_input, the sizes of samples in test_minibatch, weights in test_seeding.
FAIL = {
    "test_kmeans_init_auto_with_initial_centroids": f"{ATTRIBUTE}: _n_init",
    "test_n_init_auto": f"{ATTRIBUTE}: _n_init",
    "test_minibatch_kmeans_init_size": f"{ATTRIBUTE}: _init_size",
    "test_sample_weight_init": f"{ATTRIBUTE}: _init_centroids",
    "test_sample_weight_zero": f"{ATTRIBUTE}: _init_centroids",
}


def specification() -> ModuleSpec:
    try:
        spec = importlib.util.find_spec("sklearn.cluster.tests.test_k_means")
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        pytest.skip("this scikit-learn came without its tests", allow_module_level=True)
    return spec


def theirs() -> ModuleType:
    """Return their test module, made with our classes under their names."""
    spec = specification()
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("KMeans", "MiniBatchKMeans", "kmeans_plusplus"):
            patch.setattr(sklearn.cluster, name, getattr(fastface, name))
        spec.loader.exec_module(module)
    return module


THEIRS = theirs()
globals().update(
    {
        name: test
        for name, test in vars(THEIRS).items()
        if name.startswith("test_") and name not in NOT_ABOUT_US
    }
)


def is_sparse(value: object) -> bool:
    return scipy.sparse.issparse(value) or any(value is kind for kind in CSR_CONTAINERS)


@pytest.fixture(autouse=True)
def _expectation(request: pytest.FixtureRequest) -> None:
    """Expect what is listed to fail, strictly."""
    node = request.node
    reason = FAIL.get(node.originalname)
    values = node.callspec.params.values() if hasattr(node, "callspec") else ()
    if any(is_sparse(value) for value in values):
        reason = SPARSE
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def global_random_seed() -> int:
    return 42


@pytest.fixture(params=["float32", "float64"])
def global_dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_classes_are_ours() -> None:
    assert THEIRS.KMeans is fastface.KMeans
    assert THEIRS.MiniBatchKMeans is fastface.MiniBatchKMeans
    assert THEIRS.kmeans_plusplus is fastface.kmeans_plusplus
    assert len([n for n in vars(THEIRS) if n.startswith("test_")]) > 40
