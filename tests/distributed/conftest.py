"""Clusters of workers: threads of this process, where nobody has to be killed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

import dask.array as da
from distributed import Client, LocalCluster


def make_cluster(n_workers: int, *, processes: bool = False) -> LocalCluster:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about ports in use, on a busy machine
        return LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=None,
            memory_limit=None,
        )


@pytest.fixture(scope="session")
def start_cluster() -> Callable[..., LocalCluster]:
    return make_cluster


@pytest.fixture(scope="session", params=[1, 2, 5], ids=lambda n: f"{n}-workers")
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with make_cluster(request.param) as workers, Client(workers) as connection:
        yield connection


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Client]:
    with make_cluster(2) as workers, Client(workers) as connection:
        yield connection


@pytest.fixture(scope="session")
def in_chunks() -> Callable[..., Any]:
    def divide(x: np.ndarray, sizes: Any) -> Any:
        return da.from_array(x, chunks=(sizes, -1) if x.ndim == 2 else (sizes,))

    return divide


@pytest.fixture(scope="session")
def people() -> Callable[..., np.ndarray]:
    def make(n: int, d: int, n_people: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        centers = rng.standard_normal((n_people, d))
        x = centers[rng.integers(0, n_people, n)] + rng.standard_normal((n, d)) * 0.7
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    return make
