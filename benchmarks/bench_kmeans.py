"""k-means against scikit-learn, FAISS and SuperKMeans: seeding, iterations, whole fits.

Rows are face-like: see `benchmarks.rows`.  What pruning leaves out, iteration by iteration, is in
``pruning``.  Everybody starts from the same centers where the peer can be told
so.  Parity is checked in the same run: our ways agree to the bit, and a peer's inertia is printed
beside ours.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import Timing, compare, print_table, ratios, write_results
from benchmarks.rows import face_like
from fastface import KMeans, MiniBatchKMeans

PEERS = {"scikit-learn": "sklearn", "faiss-cpu": "faiss", "superkmeans": "superkmeans"}


class Recorded:
    """Callables whose centers are kept, to judge them when no clock runs."""

    def __init__(self, x: np.ndarray) -> None:
        self.calls: dict[str, Callable[[], object]] = {}
        self._x = x
        self._centers: dict[str, np.ndarray] = {}

    def add(self, name: str, call: Callable[[], np.ndarray]) -> None:
        """Add one candidate, which returns its centers."""

        def run() -> None:
            self._centers[name] = call()

        self.calls[name] = run

    def inertia(self) -> dict[str, float]:
        """Return the exact inertia that each candidate came to."""
        return {name: inertia(self._x, centers) for name, centers in self._centers.items()}


def inertia(x: np.ndarray, centers: np.ndarray) -> float:
    """Return the exact inertia of somebody's centers."""
    model = KMeans(len(centers), init=centers, n_init=1, max_iter=1)
    model.cluster_centers_, model.n_features_in_ = np.ascontiguousarray(centers), x.shape[1]
    return -float(model.score(x))


def iterations(x: np.ndarray, k: int, peers: Sequence[str], n_iter: int, threads: int) -> Recorded:
    """Everybody makes `n_iter` iterations from the same rows."""
    start = x[np.random.default_rng(1).permutation(len(x))[:k]].copy()
    fixed: dict[str, Any] = {"init": start, "n_init": 1, "max_iter": n_iter, "tol": 0.0}
    task = Recorded(x)
    for algorithm in ("lloyd", "pruned"):
        task.add(
            f"fastface {algorithm}",
            lambda algorithm=algorithm: (
                KMeans(k, algorithm=algorithm, n_threads=threads, **fixed).fit(x).cluster_centers_
            ),
        )
    if "scikit-learn" in peers:
        from sklearn.cluster import KMeans as Theirs

        task.add("scikit-learn", lambda: Theirs(k, **fixed).fit(x).cluster_centers_)
    if "faiss-cpu" in peers:
        import faiss

        faiss.omp_set_num_threads(threads)

        def train() -> np.ndarray:
            model = faiss.Kmeans(
                x.shape[1], k, niter=n_iter, max_points_per_centroid=len(x), verbose=False
            )
            model.train(x, init_centroids=start)
            return model.centroids

        task.add("faiss", train)
    if "superkmeans" in peers:
        from superkmeans import SuperKMeans

        def super_train() -> np.ndarray:
            model = SuperKMeans(
                k,
                x.shape[1],
                iters=n_iter,
                hierarchical=False,
                sampling_fraction=1.0,
                max_points_per_cluster=len(x),
                early_termination=False,
                n_threads=threads,
            )
            return np.asarray(model.train(x), np.float32)

        task.add("superkmeans", super_train)
    return task


def seedings(x: np.ndarray, k: int, peers: Sequence[str], threads: int) -> Recorded:
    """Everybody chooses centers by greedy k-means++."""
    task = Recorded(x)
    task.add(
        "fastface",
        lambda: fastface.kmeans_plusplus(x, k, random_state=0, n_threads=threads)[0],
    )
    if "scikit-learn" in peers:
        from sklearn.cluster import kmeans_plusplus

        task.add("scikit-learn", lambda: kmeans_plusplus(x, k, random_state=0)[0])
    return task


def whole_fits(x: np.ndarray, k: int, peers: Sequence[str], threads: int, mini: bool) -> Recorded:
    """Everybody fits with default parameters."""
    task = Recorded(x)
    estimator = MiniBatchKMeans if mini else KMeans
    task.add(
        "fastface", lambda: estimator(k, random_state=0, n_threads=threads).fit(x).cluster_centers_
    )
    if "scikit-learn" in peers:
        import sklearn.cluster

        theirs = sklearn.cluster.MiniBatchKMeans if mini else sklearn.cluster.KMeans
        task.add("scikit-learn", lambda: theirs(k, random_state=0).fit(x).cluster_centers_)
    return task


def check_bits(x: np.ndarray, k: int) -> None:
    """Our ways have to agree to the bit."""
    fixed: dict[str, Any] = {"init": x[:k].copy(), "n_init": 1, "max_iter": 5, "tol": 0.0}
    lloyd, pruned = (KMeans(k, algorithm=a, **fixed).fit(x) for a in ("lloyd", "pruned"))
    if (
        lloyd.labels_.tobytes() != pruned.labels_.tobytes()
        or lloyd.cluster_centers_.tobytes() != pruned.cluster_centers_.tobytes()
    ):
        raise SystemExit("parity failed: pruned and lloyd differ")


def installed(names: Sequence[str]) -> list[str]:
    """Return the peers that can be imported, saying which cannot."""
    found = [name for name in names if find_spec(PEERS[name])]
    for name in set(names) - set(found):
        print(f"peer {name} is not installed: left out", file=sys.stderr)
    return found


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    from threadpoolctl import threadpool_limits

    parser = argparse.ArgumentParser(prog="python -m benchmarks kmeans", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--only", default="", help="run the tasks whose text holds this")
    options = parser.parse_args(argv)
    peers = installed({"all": list(PEERS), "none": []}.get(options.peers, options.peers.split(",")))
    shrink = 100 if options.smoke else 1
    n_iter = 3 if options.smoke else options.iterations
    rounds = 1 if options.smoke else options.rounds
    sizes = [(200_000, 1_000, 128), (100_000, 1_000, 512), (100_000, 4_000, 512)]
    tasks: list[tuple[str, int, int, int]] = [("iterations", *size) for size in sizes]
    tasks += [("seeding", 200_000, 1_000, 128), ("seeding", 200_000, 100, 128)]
    tasks += [("fit", 50_000, 200, 128), ("mini-batch fit", 200_000, 1_000, 128)]
    table: list[list[Any]] = []
    fastface.set_num_threads(options.threads)
    with threadpool_limits(options.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, n, k, dim in tasks:
            if options.only not in f"{kind} n={n} K={k} d={dim}":
                continue
            n, k = n // shrink, max(8, k // shrink)
            x = face_like(n, dim)
            check_bits(x[: 50 * k], k)
            if kind == "iterations":
                task = iterations(x, k, peers, n_iter, options.threads)
            elif kind == "seeding":
                task = seedings(x, k, peers, options.threads)
            else:
                task = whole_fits(x, k, peers, options.threads, kind == "mini-batch fit")
            timings = compare(task.calls, rounds=rounds, warmup=0)
            table += lines(f"{kind} n={n} K={k} d={dim}", timings, task.inertia())
    headers = ["task", "candidate", "median s", "min s", "times fastface", "inertia, ours = 1"]
    print_table(headers, table)
    results = {
        "threads": options.threads,
        "rows": [dict(zip(headers, row, strict=True)) for row in table],
    }
    print(f"written to {write_results('kmeans', results, peers=PEERS)}")
    return 0


def lines(task: str, timings: dict[str, Timing], found: dict[str, float]) -> list[list[Any]]:
    """Return table rows: seconds, and how much longer than our fastest everybody took."""
    first = next(iter(timings))
    best = min((name for name in timings if "fastface" in name), key=lambda n: timings[n].median)
    slower = {name: 1.0 / r for name, r in ratios(timings, against=best).items()}
    return [
        [task, name, t.median, t.min, slower[name], found[name] / found[first]]
        for name, t in timings.items()
    ]
