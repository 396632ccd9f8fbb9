"""Kernels and k-means on a GPU: parity with the CPU to the bit, then speed beside GPU peers.

Without a GPU it says what is missing and ends.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import compare, print_table, write_results
from benchmarks.rows import flat_faces
from fastface.backends import get_backend
from fastface.errors import BackendUnavailableError, MissingDependencyError

PEERS = {"cuml": "cuml", "faiss-gpu": "faiss", "torch": "torch", "flashlib": "flashlib"}


def check_bits(x: np.ndarray, k: int, device: str) -> None:
    """Stop where the GPU's answers are not those of the CPU, to the bit."""
    centers = x[:k].copy()
    for call in (
        lambda where: fastface.assign(x, centers, device=where),
        lambda where: fastface.nearest_neighbors(
            x[:2000], centers, n_neighbors=min(k, 10), device=where
        ),
    ):
        for one, other in zip(call(device), call("cpu"), strict=True):
            if one.tobytes() != other.tobytes():
                raise SystemExit("parity failed: the GPU and the CPU differ")
    options: dict[str, Any] = {"init": centers, "n_init": 1, "max_iter": 3, "tol": 0.0}
    ours, theirs = (fastface.KMeans(k, device=d, **options).fit(x) for d in (device, "cpu"))
    if ours.cluster_centers_.tobytes() != theirs.cluster_centers_.tobytes():
        raise SystemExit("parity failed: k-means on the GPU and the CPU differ")


def candidates(
    x: np.ndarray, k: int, n_iter: int, device: str, peers: Sequence[str]
) -> dict[str, Callable[[], object]]:
    """Everybody makes `n_iter` iterations of k-means from the same centers."""
    start = x[np.random.default_rng(1).permutation(len(x))[:k]].copy()
    fixed: dict[str, Any] = {"init": start, "n_init": 1, "max_iter": n_iter, "tol": 0.0}
    calls: dict[str, Callable[[], object]] = {
        f"fastface {device}": lambda: fastface.KMeans(k, device=device, **fixed).fit(x),
        "fastface cpu": lambda: fastface.KMeans(k, **fixed).fit(x),
    }
    if "cuml" in peers:
        from cuml.cluster import KMeans as Theirs

        calls["cuml"] = lambda: Theirs(n_clusters=k, **fixed).fit(x)
    if "faiss-gpu" in peers:
        import faiss

        if faiss.get_num_gpus():
            options = {"niter": n_iter, "gpu": True, "max_points_per_centroid": len(x)}
            calls["faiss-gpu"] = lambda: faiss.Kmeans(x.shape[1], k, **options).train(
                x, init_centroids=start
            )
    if "torch" in peers:
        import torch

        if torch.cuda.is_available():
            there = torch.from_numpy(x).cuda()

            def lloyd() -> None:
                centers = torch.from_numpy(start).cuda()
                for _ in range(n_iter):
                    scores = there @ centers.T - 0.5 * (centers * centers).sum(1)
                    labels = scores.argmax(1)
                    sums = torch.zeros_like(centers).index_add_(0, labels, there)
                    counts = torch.bincount(labels, minlength=k).clamp(min=1)
                    centers = sums / counts[:, None]
                torch.cuda.synchronize()

            calls["torch"] = lloyd
    return calls


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="all", help="'all', 'none', or names with commas")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args(argv)
    if args.smoke:
        args.rows, args.clusters, args.iterations, args.rounds = 3000, 20, 2, 1
    try:
        device = get_backend(args.device).name
    except (BackendUnavailableError, MissingDependencyError) as error:
        print(f"nothing to measure: {error}")
        return 0
    names = list(PEERS) if args.peers == "all" else args.peers.split(",")
    peers = [name for name in names if name in PEERS and find_spec(PEERS[name])]
    for name in set(names) & set(PEERS) - set(peers):
        print(f"peer {name} is not installed: left out", file=sys.stderr)
    x = flat_faces(args.rows, args.features)
    check_bits(x[:50_000], args.clusters, device)
    print("parity: the same bits as the CPU")
    timings = compare(
        candidates(x, args.clusters, args.iterations, device, peers), rounds=args.rounds
    )
    work = 2.0 * args.rows * args.features * args.clusters * args.iterations
    print_table(
        ["who", "seconds", "TFLOP/s"],
        [
            [name, f"{timing.median:.3f}", f"{work / timing.median / 1e12:.2f}"]
            for name, timing in timings.items()
        ],
    )
    seconds = {name: timing.median for name, timing in timings.items()}
    print(write_results("gpu", {**vars(args), "seconds": seconds}, peers=peers))
    return 0
