"""The fit of one process, to the bit, for any number of workers and any division of the rows."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import fastface
from fastface.distributed import KMeans
from fastface.distributed.partition import _held
from fastface.errors import InvalidInputError, RunMismatchError, StorageError

EVEN = 500
ODD = (1, 907, 13, 501, 578)  # of 2000 rows


def same_bits(theirs: Any, ours: fastface.KMeans) -> None:
    # There are several clusters in these tests; `compute` would ask the latest.
    labels = theirs.client.compute(theirs.labels_).result()
    np.testing.assert_array_equal(labels, ours.labels_)
    assert theirs.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert theirs.inertia_ == ours.inertia_
    assert theirs.n_iter_ == ours.n_iter_


@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_the_bits_of_one_process(
    client: Client, people: Callable, in_chunks: Callable, sizes: Any, metric: str, weighted: bool
) -> None:
    x = people(2000, 16, 50)
    weights = np.random.default_rng(1).uniform(0, 3, 2000) if weighted else None
    options: dict[str, Any] = {"metric": metric, "random_state": 4, "init": "k-means||"}
    ours = fastface.KMeans(40, max_iter=8, **options).fit(x, sample_weight=weights)
    theirs = KMeans(40, max_iter=8, algorithm="pruned", client=client, **options)
    same_bits(theirs.fit(in_chunks(x, sizes), sample_weight=weights), ours)
    assert not _held, "workers kept something of a fit that is over"


@pytest.mark.parametrize("init", ["k-means++", "random", "given"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_other_starts(
    two_workers: Client, people: Callable, in_chunks: Callable, init: str, weighted: bool
) -> None:
    x = people(1000, 8, 20).astype(np.float16)
    weights = np.random.default_rng(1).uniform(0, 3, 1000) if weighted else None
    start: Any = x[:12] if init == "given" else init
    options: dict[str, Any] = {"init": start, "n_init": 1, "max_iter": 6, "random_state": 2}
    ours = fastface.KMeans(12, **options).fit(x, sample_weight=weights)
    theirs = KMeans(12, client=two_workers, **options)
    same_bits(theirs.fit(in_chunks(x, (1, 300, 699)), sample_weight=in_chunks_or(weights)), ours)


def in_chunks_or(weights: np.ndarray | None) -> Any:
    if weights is None:
        return None
    import dask.array as da

    return da.from_array(weights, chunks=333)  # another division than that of the rows


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_clusters_that_lose_all_rows(two_workers: Client, in_chunks: Callable) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (600, 3)).astype(np.float64)  # 27 different rows
    start = np.concatenate([x[:20], np.full((10, 3), 50.0) + np.arange(10)[:, None]])
    for weights in (None, rng.uniform(0, 2, 600)):
        options: dict[str, Any] = {"init": start, "n_init": 1, "max_iter": 4}
        ours = fastface.KMeans(30, **options).fit(x, sample_weight=weights)
        theirs = KMeans(30, client=two_workers, **options)
        same_bits(theirs.fit(in_chunks(x, (100, 250, 250)), sample_weight=weights), ours)


def test_rows_of_a_file(two_workers: Client, people: Callable, tmp_path: Path) -> None:
    x = people(1500, 16, 30)
    np.save(tmp_path / "rows.npy", x)
    options: dict[str, Any] = {"init": "k-means||", "random_state": 0, "max_iter": 5}
    ours = fastface.KMeans(25, **options).fit(x)
    theirs = KMeans(25, client=two_workers, **options).fit(tmp_path / "rows.npy")
    same_bits(theirs, ours)
    labels = theirs.predict(str(tmp_path / "rows.npy"))
    np.testing.assert_array_equal(two_workers.compute(labels).result(), ours.predict(x))
    distances = theirs.transform(str(tmp_path / "rows.npy"))
    np.testing.assert_array_equal(two_workers.compute(distances).result(), ours.transform(x))


def test_predictions(two_workers: Client, people: Callable, in_chunks: Callable) -> None:
    x = people(900, 8, 10)
    weights = np.random.default_rng(0).uniform(0, 2, 900)
    ours = fastface.KMeans(10, init="k-means||", random_state=0).fit(x)
    theirs = KMeans(10, random_state=0, client=two_workers).fit(in_chunks(x, 250))
    rows = in_chunks(x, (400, 500))
    labels = two_workers.compute(theirs.predict(rows)).result()
    np.testing.assert_array_equal(labels, ours.predict(x))
    distances = two_workers.compute(theirs.transform(rows)).result()
    np.testing.assert_array_equal(distances, ours.transform(x))
    assert theirs.transform(rows).shape == (900, 10)
    np.testing.assert_array_equal(theirs.predict(x), ours.predict(x))
    assert theirs.score(rows) == ours.score(x)
    assert theirs.score(rows, sample_weight=weights) == ours.score(x, sample_weight=weights)
    again = pickle.loads(pickle.dumps(theirs))
    np.testing.assert_array_equal(again.predict(x), ours.predict(x))


def test_a_checkpoint_goes_on_from_one_process_to_a_cluster(
    two_workers: Client, people: Callable, in_chunks: Callable, tmp_path: Path
) -> None:
    x = people(1200, 8, 30)
    options: dict[str, Any] = {
        "init": "k-means||",
        "random_state": 0,
        "checkpoint": tmp_path / "fit.npz",
        "max_iter": 20,
    }

    def stop(report: Any) -> None:
        if report.iteration == 3:
            raise RuntimeError("as if the machine had gone down")

    with pytest.raises(RuntimeError, match="gone down"):
        fastface.KMeans(25, callback=stop, **options).fit(x)
    seen: list[int] = []
    theirs = KMeans(
        25, callback=lambda report: seen.append(report.iteration), client=two_workers, **options
    ).fit(in_chunks(x, 500))
    assert seen[0] == 4
    same_bits(theirs, fastface.KMeans(25, **{**options, "checkpoint": None}).fit(x))
    with pytest.raises(RunMismatchError, match="n_clusters"):
        KMeans(24, client=two_workers, **options).fit(in_chunks(x, 500))


def bad(x: np.ndarray, row: int, column: int, value: float) -> np.ndarray:
    x = x.copy()
    x[row, column] = value
    return x


def test_bad_input(
    two_workers: Client, people: Callable, in_chunks: Callable, tmp_path: Path
) -> None:
    x = people(300, 4, 5)
    model = KMeans(5, client=two_workers)
    with pytest.raises(InvalidInputError, match=r"X\[250, 3\] is nan"):
        model.fit(in_chunks(bad(x, 250, 3, np.nan), 100))
    weights = np.ones(300)
    weights[201] = -1.0
    with pytest.raises(InvalidInputError, match=r"sample_weight\[201\] is -1"):
        model.fit(in_chunks(x, 100), sample_weight=weights)
    with pytest.raises(InvalidInputError, match="zero for every row"):
        model.fit(in_chunks(x, 100), sample_weight=np.zeros(300))
    with pytest.raises(InvalidInputError, match=r"shape \(299,\), X has 300 rows"):
        model.fit(in_chunks(x, 100), sample_weight=np.ones(299))
    with pytest.raises(InvalidInputError, match="Dask array or the path"):
        model.fit(x)
    with pytest.raises(InvalidInputError, match="two dimensions"):
        model.fit(in_chunks(x[:, 0], 100))
    with pytest.raises(InvalidInputError, match="n_samples=300"):
        KMeans(301, client=two_workers).fit(in_chunks(x, 100))
    with pytest.raises(InvalidInputError, match="one machine only"):
        KMeans(5, init="hierarchical", client=two_workers).fit(in_chunks(x, 100))
    with pytest.raises(InvalidInputError, match="all rows in one place"):
        KMeans(5, init=lambda *_, **__: x[:5], client=two_workers).fit(in_chunks(x, 100))
    with pytest.raises(InvalidInputError, match="number of features"):
        KMeans(5, init=x[:5, :3], client=two_workers).fit(in_chunks(x, 100))
    with pytest.raises(InvalidInputError, match=r"must be a dask\.distributed\.Client"):
        KMeans(5, client="tcp://nowhere:1").fit(in_chunks(x, 100))
    with pytest.raises(StorageError, match=r"cannot be read as a \.npy"):
        model.fit(tmp_path / "nothing.npy")
    np.save(tmp_path / "wrong.npy", np.arange(12))
    with pytest.raises(InvalidInputError, match="must hold a C-contiguous matrix"):
        model.fit(tmp_path / "wrong.npy")
    assert not _held


def test_bounds_that_do_not_fit(two_workers: Client, people: Callable, in_chunks: Callable) -> None:
    x = people(3000, 8, 200)
    model = KMeans(200, algorithm="pruned", memory_limit=1000, client=two_workers)
    with pytest.raises(InvalidInputError, match="bytes of bounds"):
        model.fit(in_chunks(x, 1000))


def test_without_a_client() -> None:
    code = (
        "import dask.array as da; from fastface.distributed import KMeans;"
        "KMeans(5).fit(da.zeros((100, 4)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InvalidInputError: there is no Dask client" in done.stderr


def test_a_client_that_is_not_the_current_one(
    start_cluster: Callable, people: Callable, in_chunks: Callable
) -> None:
    x = people(400, 4, 5)
    with start_cluster(1) as workers, Client(workers, set_as_default=False) as client:
        weights = in_chunks(np.linspace(0.5, 2.0, 400), 100)
        model = KMeans(5, random_state=0, client=client)
        model.fit(in_chunks(x, 150), sample_weight=weights)
        labels = client.compute(model.labels_).result()
    ours = fastface.KMeans(5, init="k-means||", random_state=0)
    np.testing.assert_array_equal(labels, ours.fit_predict(x, sample_weight=weights.compute()))
