"""k-means on two workers of this machine beside one process: time, memory of workers, equal bits.

The rows lie in a file, which workers map.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import print_table, write_results
from benchmarks.rows import flat_faces

STEP = 500_000


def write_rows(path: Path, n: int, dim: int) -> None:
    """Write face-like rows as float16, some at a time."""
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (n, dim))
    for start in range(0, n, STEP):
        count = min(STEP, n - start)
        rows[start : start + count] = flat_faces(count, dim, seed=start)
    rows.flush()


def peak_bytes() -> int:
    """Return the most memory of its own that this process has held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) << 10


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks distributed", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args(argv)
    if args.smoke:
        args.rows, args.clusters, args.iterations = 20_000, 50, 2
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("distributed is not installed (extra 'dask'): nothing to compare")
        return 0
    from fastface.distributed import KMeans

    options: dict[str, Any] = {
        "init": "k-means||",
        "random_state": 0,
        "max_iter": args.iterations,
        "tol": 0.0,
        "algorithm": "lloyd",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write_rows(path, args.rows, args.features)
        with (
            LocalCluster(
                n_workers=args.workers,
                threads_per_worker=1,
                dashboard_address=None,
                memory_limit=None,
            ) as cluster,
            Client(cluster) as client,
        ):
            before = client.run(peak_bytes)
            began = time.perf_counter()
            theirs = KMeans(args.clusters, **options).fit(path)
            seconds = time.perf_counter() - began
            peaks = client.run(peak_bytes)
            grown = max(peaks[name] - before[name] for name in peaks)
            labels = theirs.labels_.compute()
        rows = np.load(path, mmap_mode="r")
        began = time.perf_counter()
        ours = fastface.KMeans(args.clusters, n_threads=args.workers, **options).fit(rows)
        alone = time.perf_counter() - began
    same = (
        np.array_equal(labels, ours.labels_)
        and theirs.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
        and theirs.inertia_ == ours.inertia_
    )
    if not same:
        raise SystemExit("parity failed: the cluster and one process differ")
    title = (
        f"{args.rows} x {args.features} float16, K={args.clusters}, {args.iterations} iterations"
    )
    print(f"{title}: the same bits")
    print_table(
        ["", "seconds", "memory a worker grew by"],
        [
            [f"{args.workers} workers of one thread", f"{seconds:.1f}", f"{grown / 2**20:.0f} MiB"],
            [f"one process, {args.workers} threads", f"{alone:.1f}", "-"],
        ],
    )
    results = {"seconds": seconds, "one_process_seconds": alone, "worker_growth_bytes": grown}
    print(write_results("distributed", {**vars(args), **results}, peers=["distributed"]))
    return 0
