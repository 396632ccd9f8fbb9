"""Kernels and k-means on a GPU: parity with the CPU to the bit, then speed beside GPU peers.

Without a GPU it says what is missing and ends.  Writes ``results/gpu.json`` and a plot.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastface
from benchmarks.gpu_peers import PEERS, Call, Task, peer_calls
from benchmarks.harness import RESULTS, Timing, compare, print_table, ratios, write_results
from benchmarks.rows import flat_faces
from fastface.backends import get_backend
from fastface.errors import BackendUnavailableError, MissingDependencyError

DTYPES = (np.float16, np.float32, np.float64)
METRICS = ("sqeuclidean", "euclidean", "cosine", "inner_product")


def _bits(result: Any) -> list[bytes]:
    if hasattr(result, "indptr"):
        return [part.tobytes() for part in (result.data, result.indices, result.indptr)]
    return [part.tobytes() for part in (result if isinstance(result, tuple) else (result,))]


def check_bits(x: np.ndarray, k: int, device: str) -> int:
    """Stop where the GPU's answers are not those of the CPU, to the bit; return how many agree."""
    centers, few = x[:k].copy(), x[:2000]
    k_near = min(k, 10)
    checks: dict[str, Any] = {}
    for metric, dtype in itertools.product(METRICS, DTYPES):
        rows, candidates = few.astype(dtype), centers.astype(dtype)
        near = float(
            fastface.nearest_neighbors(rows[:50], candidates, n_neighbors=k_near, metric=metric)[
                0
            ].max()
        )
        options: dict[str, Any] = {"metric": metric}
        for name, call in {
            "assign": lambda d, r=rows, c=candidates, o=options: fastface.assign(
                r, c, device=d, **o
            ),
            "nearest_neighbors": lambda d, r=rows, c=candidates, o=options: (
                fastface.nearest_neighbors(r, c, n_neighbors=k_near, device=d, **o)
            ),
            "radius_neighbors": lambda d, r=rows, c=candidates, o=options, e=near: (
                fastface.radius_neighbors(r[:200], c, radius=e, device=d, **o)
            ),
            "pairwise_distances": lambda d, r=rows, c=candidates, o=options: (
                fastface.pairwise_distances(r[:200], c, device=d, **o)
            ),
        }.items():
            checks[f"{name}, {metric}, {np.dtype(dtype).name}"] = call
    checks["assign, all rows"] = lambda d: fastface.assign(x, centers, device=d)

    def fit(where: str, init: Any, metric: str) -> tuple[np.ndarray, ...]:
        options: dict[str, Any] = {"n_init": 1, "max_iter": 3, "tol": 0.0, "random_state": 0}
        model = fastface.KMeans(k, device=where, init=init, metric=metric, **options).fit(x)
        return model.cluster_centers_, model.labels_, np.float64(model.inertia_)

    checks["k-means"] = lambda d: fit(d, centers, "sqeuclidean")
    checks["k-means++, cosine"] = lambda d: fit(d, "k-means++", "cosine")
    for name, call in checks.items():
        if _bits(call(device)) != _bits(call("cpu")):
            raise SystemExit(f"parity failed: {name}: the GPU and the CPU differ")
    return len(checks)


def own_calls(task: Task, device: str) -> dict[str, Call]:
    """Return the same iterations by fastface: rows on the GPU, rows of the host, and the CPU."""
    fixed: dict[str, Any] = {"init": task.start, "n_init": 1, "max_iter": task.n_iter, "tol": 0.0}
    there = get_backend(device).rows(get_backend(device).to_device(task.x)).array

    def fit(rows: Any, where: str) -> Call:
        return lambda: fastface.KMeans(len(task.start), device=where, **fixed).fit(rows)

    return {
        f"fastface {device}": fit(there, device),
        f"fastface {device}, rows of the host": fit(task.x, device),
        "fastface cpu": fit(task.x, "cpu"),
    }


def plot(timings: Mapping[str, Timing], flops: float, title: str, path: Path) -> None:
    """Draw TFLOP/s, with the slowest and the fastest round."""
    from matplotlib.figure import Figure

    names = sorted(timings, key=lambda name: timings[name].median, reverse=True)
    rates = [flops / timings[name].median / 1e12 for name in names]
    low = [rate - flops / timings[n].max / 1e12 for n, rate in zip(names, rates, strict=True)]
    high = [flops / timings[n].min / 1e12 - rate for n, rate in zip(names, rates, strict=True)]
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    colors = ["tab:orange" if name.startswith("fastface") else "tab:blue" for name in names]
    axes.barh(names, rates, xerr=[low, high], color=colors)
    axes.set_xlabel("TFLOP/s (2 n K d over the time; higher is better)")
    axes.set_title(title)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


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
    names = {"all": list(PEERS), "none": []}.get(args.peers, args.peers.split(","))
    if unknown := set(names) - set(PEERS):
        parser.error(f"unknown peers {sorted(unknown)}; choose some of {', '.join(PEERS)}")
    try:
        device = get_backend(args.device).name
    except (BackendUnavailableError, MissingDependencyError) as error:
        print(f"nothing to measure: {error}")
        return 0
    x = flat_faces(args.rows, args.features)
    agreed = check_bits(x[:50_000], args.clusters, device)
    print(f"parity: the same bits as the CPU in {agreed} comparisons")

    chosen = np.random.default_rng(1).permutation(len(x))[: args.clusters]
    task = Task(x, x[chosen].copy(), args.iterations)
    peers, left_out = peer_calls(task, names)
    for name, reason in left_out.items():
        print(f"peer {name} is left out: {reason}")
    timings = compare({**own_calls(task, device), **peers}, rounds=args.rounds)
    ours = next(iter(timings))
    times = ratios(timings, against=ours)
    print_table(
        ["who", "seconds", "TFLOP/s", f"times as fast as {ours}"],
        [
            [name, f"{t.median:.3f}", f"{task.flops / t.median / 1e12:.3g}", f"{times[name]:.3g}"]
            for name, t in timings.items()
        ],
    )
    title = f"k-means, {args.rows} x {args.features} rows, {args.clusters} clusters"
    picture = RESULTS / "gpu.png"
    plot(timings, task.flops, title, picture)
    found = {"timings": timings, "ratios": times, "flops": task.flops, "left_out": left_out}
    print(picture)
    print(write_results("gpu", {**vars(args), "parity": agreed, **found}, peers=list(PEERS)))
    return 0
