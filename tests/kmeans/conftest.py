"""Data that the tests of k-means share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import fastface


def face_like(n: int, d: int, people: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around a common direction, gathered around people."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((people, d))
    centers[:, 0] += 0.8 * np.sqrt(d)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    x = centers[rng.integers(0, people, n)] + rng.standard_normal((n, d)) * 0.7 / np.sqrt(d)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def faces() -> Callable[..., np.ndarray]:
    return face_like


@pytest.fixture(params=fastface.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = fastface.get_isa()
    fastface.set_isa(request.param)
    yield request.param
    fastface.set_isa(before)
