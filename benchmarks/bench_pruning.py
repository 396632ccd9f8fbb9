"""Exact pruning in k-means: iterations against Lloyd on every instruction set, and against peers.

Rows are face-like, spread as real embeddings are; ``flat`` rows vary alike in all dimensions, the
hard case (`benchmarks.rows`); ``real`` ones are the labelled embeddings, where they are.

Everybody makes the same iterations from the same rows, without a tolerance to stop by; all ways of
ours have to come to the same bits.  A whole iteration, update included, counts 2 n K d operations
for those that leave nothing out.  `sgemm` is the bare product of rows and centers, in NumPy.  Slow
ways that take as long for every iteration may be given fewer of them (`--most-seconds`); their time
is then scaled up to all, and the table says so.  SuperKMeans prunes, and grows faster with every
iteration: it makes all of them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastface
from benchmarks import ROOT
from benchmarks.bench_kmeans import PEERS, installed
from benchmarks.harness import print_table, write_results
from benchmarks.rows import face_like, flat_faces
from fastface.kmeans.assigners import PrunedAssigner
from fastface.kmeans.iterate import IterationState, iterate
from fastface.kmeans.lloyd import Assigner, ExhaustiveAssigner, Problem
from fastface.kmeans.owner import LocalRows
from fastface.kmeans.rows import RowBlocks

SIZES = [(200_000, 1_000, 128), (100_000, 1_000, 512), (100_000, 4_000, 512)]
KINDS = {"face-like": face_like, "flat": flat_faces}
FACES = ROOT.parent / "shared" / "faces"


@dataclass(frozen=True)
class Way:
    """What one way of ours took and came to."""

    seconds: list[float]  # of every iteration
    shares: list[float]  # of the operations of Lloyd
    decided: list[float]  # pairs a row that went to the definition
    moved: list[int]  # rows
    labels: bytes
    centers: bytes


@dataclass(frozen=True)
class Task:
    """Rows, and where everybody starts."""

    x: np.ndarray
    start: np.ndarray
    n_iter: int
    threads: int

    def operations(self) -> float:
        """Return those of an iteration that leaves nothing out."""
        return 2.0 * self.x.size * len(self.start)


def ours(task: Task, algorithm: str, n_iter: int) -> Way:
    """Return what Lloyd or the pruned way takes, on the instruction set in use."""
    kernels = fastface.backends.get_backend("cpu").kmeans
    rows = RowBlocks(task.x)
    problem = Problem.over(rows, kernels, "sqeuclidean", None, n_threads=task.threads)
    pruned = PrunedAssigner(problem, len(task.start))
    assigner: Assigner = pruned if algorithm == "pruned" else ExhaustiveAssigner(problem)
    seconds: list[float] = []
    shares: list[float] = []
    decided: list[float] = []
    moved: list[int] = []
    began = time.perf_counter()

    def after(state: IterationState) -> None:
        nonlocal began
        seconds.append(time.perf_counter() - began)
        scored = pruned.scored_pairs / (len(task.x) * pruned.n_groups)
        shares.append(1.0 if state.iteration == 1 or algorithm == "lloyd" else scored)
        decided.append(pruned.decided_pairs / len(task.x))
        moved.append(state.moved)
        began = time.perf_counter()

    owner = LocalRows(problem, assigner)
    result = iterate(owner, task.start, max_iter=n_iter, tol=0.0, after=after)
    return Way(seconds, shares, decided, moved, result.labels.tobytes(), result.centers.tobytes())


def peers_of(task: Task, names: Sequence[str]) -> dict[str, Callable[[int], int]]:
    """Return what fits each peer with a number of iterations and tells how many it made."""
    x, start, threads = task.x, task.start, task.threads
    calls: dict[str, Callable[[int], int]] = {}
    if "scikit-learn" in names:
        from sklearn.cluster import KMeans

        calls["scikit-learn"] = lambda n_iter: int(
            KMeans(len(start), init=start, n_init=1, max_iter=n_iter, tol=0.0).fit(x).n_iter_
        )
    if "faiss-cpu" in names:
        import faiss

        faiss.omp_set_num_threads(threads)

        def faiss_train(n_iter: int) -> int:
            model = faiss.Kmeans(
                x.shape[1], len(start), niter=n_iter, max_points_per_centroid=len(x), verbose=False
            )
            model.train(x, init_centroids=start)
            return n_iter

        calls["FAISS"] = faiss_train
    if "superkmeans" in names:
        from superkmeans import SuperKMeans

        def super_train(n_iter: int) -> int:
            SuperKMeans(
                len(start),
                x.shape[1],
                iters=n_iter,
                hierarchical=False,
                sampling_fraction=1.0,
                max_points_per_cluster=len(x),
                early_termination=False,
                n_threads=threads,
            ).train(x)
            return n_iter

        calls["SuperKMeans"] = super_train
    return calls


def all_rows(shrink: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield names, rows and numbers of clusters."""
    for kind, make in KINDS.items():
        for n, k, dim in SIZES:
            n, k = n // shrink, max(100, k // shrink)
            yield f"{kind} n={n} K={k} d={dim}", make(n, dim), k
    if files := sorted(FACES.glob("*/embeddings.npz")):
        x = np.concatenate([np.load(file)["emb"] for file in files]).astype(np.float32)
        yield f"real n={len(x)} K=200 d={x.shape[1]}", x, 200


def sgemm_seconds(task: Task) -> float:
    """Return what the bare product takes, the best of three on a tenth of the rows."""
    rows = task.x[: max(1, len(task.x) // 10)]
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        rows @ task.start.T
        best = min(best, time.perf_counter() - began)
    return best * len(task.x) / len(rows)


def instruction_sets() -> list[str]:
    """Return those worth a figure, fastest first."""
    return [isa for isa in reversed(fastface.available_isas()) if isa != "baseline"]


class Table:
    """Lines of the comparison of one task."""

    headers = (
        "task",
        "way",
        "seconds",
        "iterations",
        "GF/s",
        "x sgemm",
        "x float32 Lloyd",
        "x Lloyd same ISA",
        "remark",
    )

    def __init__(self, name: str, task: Task, sgemm: float, float32_lloyd: float) -> None:
        self.lines: list[list[Any]] = []
        self._name, self._task = name, task
        self._sgemm, self._float32 = sgemm, float32_lloyd

    def add(self, way: str, seconds: float, n_iter: int, lloyd: float | None, remark: str) -> None:
        """Add what so many iterations took."""
        each = seconds / n_iter
        self.lines.append(
            [
                self._name,
                way,
                seconds,
                n_iter,
                self._task.operations() / each / 1e9,
                self._sgemm / each,
                self._float32 * n_iter / seconds,
                "" if lloyd is None else lloyd * n_iter / seconds,
                remark,
            ]
        )


def run_task(
    name: str, task: Task, peers: Sequence[str], most_seconds: float, by_iteration: list[list[Any]]
) -> list[list[Any]]:
    """Return the table of one task, and add to that of its iterations."""
    before = fastface.get_isa()
    sgemm = sgemm_seconds(task)
    pruned: dict[str, Way] = {}
    lloyd: dict[str, Way] = {}
    try:
        for isa in instruction_sets():
            fastface.set_isa(isa)
            pruned[isa] = ours(task, "pruned", task.n_iter)
            # Lloyd's iterations take equally long, but for the update: some tell of all.
            lloyd[isa] = ours(task, "lloyd", min(task.n_iter, 4))
    finally:
        fastface.set_isa(before)
    check_bits(pruned, lloyd, task)
    made = len(next(iter(pruned.values())).seconds)
    each = {isa: float(np.mean(way.seconds)) for isa, way in lloyd.items()}
    float32 = each.get("avx512", each.get("avx2", next(iter(each.values()))))
    table = Table(name, task, sgemm, float32)
    for isa, way in pruned.items():
        tried = len(lloyd[isa].seconds)
        remark = f"{tried} iterations, scaled" if tried < made else ""
        table.add(f"lloyd {isa}", each[isa] * made, made, each[isa], remark)
        table.add(f"pruned {isa}", sum(way.seconds), made, each[isa], "")
        for i, second in enumerate(way.seconds):
            by_iteration.append(
                [name, isa, i + 1, way.shares[i], way.decided[i], way.moved[i], second]
            )
    for peer, fit in peers_of(task, peers).items():
        began = time.perf_counter()
        fit(1)
        one = time.perf_counter() - began
        wanted = made if peer == "SuperKMeans" else int(np.clip(most_seconds / one, 1, made))
        began = time.perf_counter()
        done = fit(wanted)
        seconds = time.perf_counter() - began
        remark = f"{done} iterations, scaled" if done < made else ""
        table.add(peer, seconds / done * made, made, None, remark)
    return table.lines


def check_bits(pruned: dict[str, Way], lloyd: dict[str, Way], task: Task) -> None:
    """All instruction sets have to agree to the bit, and pruned with Lloyd as far as that went."""
    found = {(way.labels, way.centers) for way in pruned.values()}
    short = {(way.labels, way.centers) for way in lloyd.values()}
    again = ours(task, "pruned", len(next(iter(lloyd.values())).seconds))
    if len(found) != 1 or short != {(again.labels, again.centers)}:
        raise SystemExit("parity failed: ways of ours differ")


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    from threadpoolctl import threadpool_limits

    parser = argparse.ArgumentParser(prog="python -m benchmarks pruning", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--most-seconds", type=float, default=12.0, help="of one peer's fit")
    parser.add_argument("--only", default="", help="run the tasks whose text holds this")
    options = parser.parse_args(argv)
    peers = installed({"all": list(PEERS), "none": []}.get(options.peers, options.peers.split(",")))
    shrink = 100 if options.smoke else 1
    table: list[list[Any]] = []
    by_iteration: list[list[Any]] = []
    fastface.set_num_threads(options.threads)
    with threadpool_limits(options.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, x, k in all_rows(shrink):
            if options.only not in name:
                continue
            chosen = np.random.default_rng(1).permutation(len(x))[:k]
            n_iter = 3 if options.smoke else options.iterations
            task = Task(x, x[chosen].copy(), n_iter, options.threads)
            table += run_task(name, task, peers, options.most_seconds, by_iteration)
            print_table(Table.headers, table)
    steps = [
        "task",
        "way",
        "iteration",
        "share of groups scored",
        "decided a row",
        "rows moved",
        "seconds",
    ]
    print_table(steps, by_iteration)
    results = {
        "threads": options.threads,
        "rows": [dict(zip(Table.headers, row, strict=True)) for row in table],
        "pruning": [dict(zip(steps, row, strict=True)) for row in by_iteration],
    }
    print(f"written to {write_results('pruning', results, peers=PEERS)}")
    return 0
