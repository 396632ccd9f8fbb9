"""Dense kernels against the machine's own matrix product and against peers.

Every task checks parity in the same run: answers must equal the float64 definition, byte by byte,
on a sample of rows before any time is quoted.  Rates count 2 n m d operations, whoever skips some.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import RESULTS, Timing, compare, print_table, ratios, write_results
from benchmarks.rows import flat_faces
from fastface.backends.cpu import CpuBackend
from fastface.backends.reference import ReferenceBackend

PEERS = ("faiss-cpu", "scikit-learn", "torch")
Calls = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Task:
    """One piece of work: a kernel, its sizes, and the type of its input."""

    kernel: str
    n: int
    m: int
    dim: int
    k: int = 1
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """How tables call it."""
        extra = f" k={self.k}" if self.kernel == "nearest_neighbors" else ""
        extra += "" if self.dtype == "float32" else f" {self.dtype}"
        return f"{self.kernel} n={self.n} m={self.m} d={self.dim}{extra}"

    @property
    def operations(self) -> float:
        """Additions and multiplications of the distances."""
        return 2.0 * self.n * self.m * self.dim

    def shrunk(self, factor: int) -> Task:
        """Return the same task on fewer rows."""
        n, m = max(1, self.n // factor), max(self.m // factor, self.k + 1)
        return Task(self.kernel, n, m, self.dim, self.k, self.dtype)


TASKS = (
    Task("assign", 100_000, 1_000, 128),
    Task("assign", 100_000, 1_000, 512),
    Task("assign", 200_000, 256, 128),
    Task("assign", 20_000, 20_000, 128),
    Task("assign", 50_000, 1_000, 128, dtype="float64"),
    Task("nearest_neighbors", 50_000, 50_000, 128, 10),
    Task("nearest_neighbors", 50_000, 50_000, 128, 80),
    Task("nearest_neighbors", 50_000, 50_000, 512, 10),
    Task("nearest_neighbors", 50_000, 50_000, 512, 80),
    Task("pairwise_distances", 20_000, 5_000, 128),
    Task("pairwise_distances", 20_000, 5_000, 512),
)


def operands(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and candidates, faces of the same people; neighbours are sought among all."""
    if task.kernel == "nearest_neighbors":
        x = y = flat_faces(task.n, task.dim, seed=1)
    else:
        rows = flat_faces(task.n + task.m, task.dim, seed=1)
        x, y = rows[: task.n], rows[task.n :]
    return x.astype(task.dtype, copy=False), y.astype(task.dtype, copy=False)


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Give every library the same number of threads."""
    from threadpoolctl import threadpool_limits

    fastface.assign(np.ones((1, 1)), np.ones((1, 1)))  # known to threadpoolctl once loaded
    with threadpool_limits(n):
        yield


def gemm(x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    """Return the best matrix product of that shape: blocks that stay in cache, nothing kept."""
    rows = min(len(x), max(256, (8 << 20) // (4 * len(y))))
    out = np.empty((rows, len(y)), x.dtype)
    turned = np.ascontiguousarray(y.T)

    def call() -> None:
        for start in range(0, len(x) - rows + 1, rows):
            np.matmul(x[start : start + rows], turned, out=out)
        rest = len(x) % rows
        if rest:
            np.matmul(x[-rest:], turned, out=out[:rest])

    return call


def candidates(
    task: Task, x: np.ndarray, y: np.ndarray, peers: Sequence[str], threads: int
) -> Calls:
    """Return everybody who can do the task, the bare matrix product first."""
    make = {
        "assign": _assign,
        "nearest_neighbors": _nearest_neighbors,
        "pairwise_distances": _pairwise_distances,
    }[task.kernel]
    return make(task, x, y, peers, threads)


def _assign(task: Task, x: np.ndarray, y: np.ndarray, peers: Sequence[str], threads: int) -> Calls:
    calls: Calls = {"gemm": gemm(x, y), "fastface": lambda: fastface.assign(x, y)}
    if "scikit-learn" in peers:
        from sklearn.metrics import pairwise_distances_argmin

        calls["scikit-learn"] = lambda: pairwise_distances_argmin(x, y)
    if "faiss-cpu" in peers and x.dtype == np.float32:
        import faiss

        faiss.omp_set_num_threads(threads)
        calls["faiss"] = lambda: faiss.knn(x, y, 1)
    if "torch" in peers:
        import torch

        torch.set_num_threads(threads)
        tx, ty = torch.from_numpy(x), torch.from_numpy(y)
        half = (ty * ty).sum(1) / 2
        calls["torch"] = lambda: torch.addmm(-half, tx, ty.T).argmax(1)
    return calls


def _nearest_neighbors(
    task: Task, x: np.ndarray, y: np.ndarray, peers: Sequence[str], threads: int
) -> Calls:
    calls: Calls = {
        "gemm": gemm(x, y),
        "fastface": lambda: fastface.nearest_neighbors(
            x, y, n_neighbors=task.k, metric="sqeuclidean"
        ),
    }
    if "faiss-cpu" in peers:
        import faiss

        faiss.omp_set_num_threads(threads)
        calls["faiss"] = lambda: faiss.knn(x, y, task.k)
    return calls


def _pairwise_distances(
    task: Task, x: np.ndarray, y: np.ndarray, peers: Sequence[str], threads: int
) -> Calls:
    out = np.empty((len(x), len(y)), np.float32)
    turned = np.ascontiguousarray(y.T)
    calls: Calls = {
        "gemm": lambda: np.matmul(x, turned, out=out),
        "fastface": lambda: fastface.pairwise_distances(x, y, out=out, metric="euclidean"),
    }
    if "scikit-learn" in peers:
        from sklearn.metrics.pairwise import euclidean_distances

        calls["scikit-learn"] = lambda: euclidean_distances(x, y)
    return calls


def check_parity(task: Task, x: np.ndarray, y: np.ndarray) -> None:
    """Compare a sample of rows with the definition, byte by byte."""
    sample = np.random.default_rng(9).choice(len(x), min(5, len(x)), replace=False)
    reference = ReferenceBackend()
    if task.kernel == "pairwise_distances":
        expected = np.empty((len(sample), len(y)), np.float32)
        reference.pairwise(x[sample], y, "euclidean", out=expected)
        same = fastface.pairwise_distances(x, y)[sample].tobytes() == expected.tobytes()
    else:
        neighbors = reference.topk(x[sample], y, task.k, "sqeuclidean")
        distances, indices = fastface.nearest_neighbors(
            x, y, n_neighbors=task.k, metric="sqeuclidean"
        )
        same = (
            indices[sample].tobytes() == neighbors.indices.tobytes()
            and distances[sample].tobytes() == neighbors.distances.tobytes()
        )
    if not same:
        raise SystemExit(f"parity failed: {task.name} differs from the definition")


def installed(names: Sequence[str]) -> list[str]:
    """Return the peers that can be imported, saying which cannot."""
    modules = {"faiss-cpu": "faiss", "scikit-learn": "sklearn", "torch": "torch"}
    found = [name for name in names if find_spec(modules[name])]
    for name in set(names) - set(found):
        print(f"peer {name} is not installed: left out", file=sys.stderr)
    return found


def slow_rows(task: Task, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of rows for which every candidate went to the definition."""
    if task.kernel == "pairwise_distances":
        return 0.0
    found = CpuBackend().topk(x, y, task.k, "sqeuclidean", n_threads=fastface.get_num_threads())
    return found.exhaustive / len(x)


def run_task(task: Task, isa: str, peers: Sequence[str], rounds: int, threads: int) -> list[Any]:
    """Return table rows: rates, and ratios to the matrix product, of every candidate."""
    x, y = operands(task)
    check_parity(task, x, y)
    calls = candidates(task, x, y, peers, threads)
    timings = compare(calls, rounds=rounds, quiet=True)
    if threads > 1:
        with limited_threads(1):
            alone = compare({"fastface": calls["fastface"]}, rounds=max(2, rounds // 2), quiet=True)
        timings["fastface, 1 thread"] = _repeat(alone["fastface"], len(timings["gemm"].seconds))
    to_gemm = ratios(timings, against="gemm")
    slow = slow_rows(task, x, y)
    return [
        [
            task.name,
            isa,
            name,
            timing.median,
            timing.rate(task.operations) / 1e9,
            to_gemm[name],
            slow if name == "fastface" else "",
        ]
        for name, timing in timings.items()
    ]


def _repeat(timing: Timing, rounds: int) -> Timing:
    return Timing(timing.name, (timing.median,) * rounds)


def small_calls() -> list[list[Any]]:
    """Time one row against 1,000 centers of 128 dimensions, in microseconds."""
    rows = flat_faces(1001, 128, seed=3)
    row, centers = rows[:1], rows[1:]
    prepared = fastface.prepare(centers)
    calls: Calls = {
        "centers": lambda: fastface.assign(row, centers),
        "prepared centers": lambda: fastface.assign(row, prepared),
    }
    return [
        [name, 1e6 * min(timeit.repeat(call, number=200, repeat=20)) / 200]
        for name, call in calls.items()
    ]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw how many times as fast as the bare matrix product everybody is."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    bars = {
        task: [
            (
                f"{row['candidate']} ({row['isa']})"
                if "fastface" in row["candidate"]
                else row["candidate"],
                row["times gemm"],
            )
            for row in rows
            if row["task"] == task
            and row["candidate"] != "gemm"
            and "1 thread" not in row["candidate"]
        ]
        for task in tasks
    }
    names = list(dict.fromkeys(name for pairs in bars.values() for name, _ in pairs))
    figure = Figure(figsize=(11, 1.0 + 0.16 * len(tasks) * (len(names) + 1)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, len(names))
    for i, name in enumerate(names):
        places = [t + i * height for t in range(len(tasks))]
        values = [dict(bars[task]).get(name, 0.0) for task in tasks]
        axes.barh(places, values, height=height, label=name)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks([t + 0.4 for t in range(len(tasks))], tasks)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the bare matrix product of the same shape")
    axes.legend()
    figure.savefig(path)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kernels", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="tasks whose name contains it")
    parser.add_argument("--isas", default="", help="instruction sets, comma-separated")
    options = parser.parse_args(argv)
    wanted = {"all": list(PEERS), "none": []}.get(options.peers, options.peers.split(","))
    peers = installed(wanted)
    isas = options.isas.split(",") if options.isas else fastface.available_isas()[1:]
    tasks = [task for task in TASKS if options.only in task.name]
    if options.smoke:
        tasks = [task.shrunk(50) for task in tasks]
    table: list[list[Any]] = []
    with limited_threads(options.threads):
        for task in tasks:
            rounds = 2 if options.smoke or task.operations > 2e11 else options.rounds
            for i, isa in enumerate(isas or fastface.available_isas()):
                fastface.set_isa(isa)
                # The peers choose their own instruction set: once is enough.
                others = peers if i == len(isas) - 1 else []
                table += run_task(task, isa, others, rounds, options.threads)
        calls = small_calls()
    headers = ["task", "isa", "candidate", "median s", "GF/s", "times gemm", "slow rows"]
    print_table(headers, table)
    print_table(["one row against 1,000 x 128", "microseconds"], calls)
    rows = [dict(zip(headers, row, strict=True)) for row in table]
    results = {
        "threads": options.threads,
        "tasks": [asdict(task) for task in tasks],
        "rows": rows,
        "small calls": dict(calls),
    }
    path = write_results("kernels", results, peers=peers)
    plot(rows, RESULTS / "kernels.svg")
    print(f"written to {path} and {RESULTS / 'kernels.svg'}")
    return 0
