"""Dense kernels against the machine's own matrix product and against peers.

Every row checks parity in the same run: labels and neighbours must equal the float64 definition on
a sample of rows before any time is quoted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import Timing, compare, print_table, ratios, write_results
from fastface.backends.reference import ReferenceBackend

PEERS = ("faiss-cpu", "scikit-learn", "torch")


def faces(n: int, dim: int, seed: int) -> np.ndarray:
    """Return unit vectors around one common direction, as face embeddings are."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    rows[:, 0] += 0.8 * np.sqrt(dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Give every library the same number of threads."""
    from threadpoolctl import threadpool_limits

    fastface.set_num_threads(n)
    with threadpool_limits(n):
        yield
    fastface.set_num_threads(None)


def gemm(x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    """Return the best matrix product of that shape: blocks that stay in cache, nothing kept."""
    rows = max(256, (8 << 20) // (4 * len(y)))
    out = np.empty((rows, len(y)), np.float32)
    turned = np.ascontiguousarray(y.T)

    def call() -> None:
        for start in range(0, len(x) - rows + 1, rows):
            np.matmul(x[start : start + rows], turned, out=out)
        rest = len(x) % rows
        if rest:
            np.matmul(x[-rest:], turned, out=out[:rest])

    return call


def assign_candidates(
    x: np.ndarray, y: np.ndarray, peers: Sequence[str], threads: int
) -> dict[str, Callable[[], object]]:
    """Return everybody who can find nearest centers."""
    calls: dict[str, Callable[[], object]] = {
        "sgemm": gemm(x, y),
        "fastface": lambda: fastface.assign(x, y),
    }
    if "scikit-learn" in peers:
        from sklearn.metrics import pairwise_distances_argmin

        calls["scikit-learn"] = lambda: pairwise_distances_argmin(x, y)
    if "faiss-cpu" in peers:
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


def neighbor_candidates(
    x: np.ndarray, k: int, peers: Sequence[str], threads: int
) -> dict[str, Callable[[], object]]:
    """Return everybody who can find k nearest neighbours."""
    calls: dict[str, Callable[[], object]] = {
        "sgemm": gemm(x, x),
        "fastface": lambda: fastface.nearest_neighbors(x, n_neighbors=k, metric="sqeuclidean"),
    }
    if "faiss-cpu" in peers:
        import faiss

        faiss.omp_set_num_threads(threads)
        calls["faiss"] = lambda: faiss.knn(x, x, k)
    return calls


def check_parity(x: np.ndarray, y: np.ndarray, k: int) -> None:
    """Compare a sample of rows with the definition, byte by byte."""
    sample = np.random.default_rng(9).choice(len(x), 5, replace=False)
    expected = ReferenceBackend().topk(x[sample], y, k, "sqeuclidean")
    distances, indices = fastface.nearest_neighbors(x, y, n_neighbors=k, metric="sqeuclidean")
    if (
        indices[sample].tobytes() != expected.indices.tobytes()
        or distances[sample].tobytes() != expected.distances.tobytes()
    ):
        raise SystemExit("parity failed: neighbours differ from the definition")


def installed(names: Sequence[str]) -> list[str]:
    """Return the peers that can be imported, saying which cannot."""
    modules = {"faiss-cpu": "faiss", "scikit-learn": "sklearn", "torch": "torch"}
    found = [name for name in names if find_spec(modules[name])]
    for name in set(names) - set(found):
        print(f"peer {name} is not installed: left out", file=sys.stderr)
    return found


def line(task: str, isa: str, work: float, timings: dict[str, Timing]) -> list[list[Any]]:
    """Return table rows: GF/s and ratios of every candidate."""
    to_gemm = ratios(timings, against="sgemm")
    return [
        [task, isa, name, t.median, t.rate(work) / 1e9, to_gemm[name]]
        for name, t in timings.items()
    ]


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kernels", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    wanted = {"all": list(PEERS), "none": []}.get(options.peers, options.peers.split(","))
    peers = installed(wanted)
    shrink = 50 if options.smoke else 1
    rounds = 2 if options.smoke else options.rounds
    tasks: list[tuple[str, int, int, int, int]] = [
        ("assign", 100_000, 1_000, 128, 1),
        ("assign", 100_000, 1_000, 512, 1),
        ("assign", 200_000, 256, 128, 1),
        ("assign", 20_000, 20_000, 128, 1),
        ("nearest_neighbors", 50_000, 50_000, 128, 10),
        ("nearest_neighbors", 50_000, 50_000, 128, 80),
    ]
    table = []
    with limited_threads(options.threads):
        for isa in fastface.available_isas()[1:] or fastface.available_isas():
            fastface.set_isa(isa)
            for kind, n, m, dim, k in tasks:
                n, m = n // shrink, max(m // shrink, k + 1)
                x, y = faces(n, dim, 1), faces(m, dim, 2)
                if kind == "assign":
                    calls = assign_candidates(x, y, peers, options.threads)
                else:
                    y = x
                    calls = neighbor_candidates(x, k, peers, options.threads)
                check_parity(x, y, k)
                timings = compare(calls, rounds=rounds if n * m < 10**9 else 2, quiet=True)
                task = f"{kind} n={n} m={m} d={dim} k={k}"
                table += line(task, isa, 2.0 * n * m * dim, timings)
    headers = ["task", "isa", "candidate", "median s", "GF/s", "times sgemm"]
    print_table(headers, table)
    rows = [dict(zip(headers, row, strict=True)) for row in table]
    path = write_results("kernels", {"threads": options.threads, "rows": rows}, peers=peers)
    print(f"written to {path}")
    return 0
