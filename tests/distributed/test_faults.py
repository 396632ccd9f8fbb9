"""Workers that die while a fit runs change nothing but its time."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client

import fastface
from fastface.distributed import KMeans
from fastface.distributed.cluster import Partitions
from fastface.distributed.partition import Partition, Recipe
from fastface.errors import BackendUnavailableError
from fastface.kmeans.rows import ColumnRange


class Killer:
    """A callback that kills a worker now and then."""

    def __init__(self, client: Client, seed: int, every: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._every = every
        self.killed = 0

    def __call__(self, report: Any) -> None:
        if report.iteration % self._every == 0:
            pids = list(self._client.run(os.getpid).values())
            os.kill(self._random.choice(pids), signal.SIGKILL)
            self.killed += 1


@pytest.mark.slow
@pytest.mark.parametrize(("n_workers", "algorithm"), [(1, "lloyd"), (2, "pruned")])
def test_killed_workers(
    start_cluster: Callable, people: Callable, in_chunks: Callable, n_workers: int, algorithm: str
) -> None:
    x = people(4000, 16, 300)
    options: dict[str, Any] = {"random_state": 1, "max_iter": 9, "tol": 0.0}
    ours = fastface.KMeans(100, init="k-means||", **options).fit(x)
    with start_cluster(n_workers, processes=True) as workers, Client(workers) as client:
        killer = Killer(client, seed=n_workers, every=4)
        theirs = KMeans(100, algorithm=algorithm, client=client, callback=killer, **options)
        theirs.fit(in_chunks(x, 700))
        assert killer.killed >= 2
        labels = client.compute(theirs.labels_).result()
        np.testing.assert_array_equal(labels, ours.labels_)
    assert theirs.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert theirs.inertia_ == ours.inertia_


def dies(source: Any, weights: Any, first_row: int) -> None:
    os._exit(1)


@pytest.mark.slow
def test_a_partition_that_kills_every_worker(start_cluster: Callable) -> None:
    few = dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with few, start_cluster(1, processes=True) as workers, Client(workers) as client:
        partitions = Partitions(client, [np.zeros((2, 2))], [None], [0])
        with pytest.raises(BackendUnavailableError, match="died again and again"):
            partitions.each(dies)


@pytest.fixture
def recipe() -> Recipe:
    columns = ColumnRange(500, np.ones(6))
    return Recipe("a fit", "sqeuclidean", "cpu", 1, "pruned", 40, None, columns, 1.0, False)


def test_a_partition_answers_from_the_rows_alone(people: Callable, recipe: Recipe) -> None:
    """Whatever a worker remembers, or has forgotten, it says the same."""
    x = people(500, 6, 40)
    steps = [x[i : i + 40] + np.float32(0.01 * i) for i in range(5)]
    steady, asked_twice = (Partition(x, None, 0, recipe) for _ in range(2))
    for number, centers in enumerate(steps):
        since = (number - 1, steps[number - 1]) if number else (None, None)
        expected, moved = steady.step(number, centers, *since)
        fresh = Partition(x, None, 0, recipe)
        for partition in (asked_twice, asked_twice, fresh):
            change, n = partition.step(number, centers, *since)
            assert n == moved
            assert change.sums.tobytes() == expected.sums.tobytes()
            assert change.mass.tobytes() == expected.mass.tobytes()
        stranger = Partition(x, None, 0, recipe)
        assert stranger.inertia(number, centers) == steady.inertia(number, centers)


def test_a_seeder_that_missed_centers_asks_for_all(people: Callable, recipe: Recipe) -> None:
    x = people(500, 6, 40)
    steady, late = (Partition(x, None, 0, recipe) for _ in range(2))
    scale = 2.0**20
    steady.seed_potential(x[:1], scale)
    assert steady.seed_evaluate(1, x[:1], scale, x[5:8]) is not None
    expected = steady.seed_evaluate(2, x[1:2], scale, x[5:8])
    assert late.seed_evaluate(2, x[1:2], scale, x[5:8]) is None
    assert late.seed_evaluate(2, x[:2], scale, x[5:8]) == expected
    assert late.seed_evaluate(4, x[3:4], scale, x[5:8]) is None
    np.testing.assert_array_equal(
        late.seed_locate(2, x[1:2], scale, [0, 99])[0],
        steady.seed_locate(2, x[1:2], scale, [0, 99])[0],
    )


def test_the_error_of_a_lost_scheduler_is_not_replaced(
    two_workers: Client, people: Callable, in_chunks: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleaning up fails as well then, and before the first question so does counting workers."""

    def is_gone(*_: Any, **__: Any) -> None:
        raise OSError("Timed out trying to connect")

    def lose_it(_: Any) -> None:
        for question in ("gather", "run", "nthreads"):
            monkeypatch.setattr(two_workers, question, is_gone)

    x = in_chunks(people(400, 8, 20), 200)
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="the Dask scheduler does not answer"):
            KMeans(20, random_state=0, tol=0.0, client=two_workers, callback=lose_it).fit(x)
