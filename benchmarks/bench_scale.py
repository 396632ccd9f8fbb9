"""Embeddings to people on two workers, more rows than fit: time and memory of workers by stage.

Rows of people who do not exist lie in a file, which workers map.  What workers hold beyond their
limit, Dask moves to disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import print_table, write_results
from benchmarks.synthetic_people import SyntheticPeople
from fastface.metrics import pairwise_scores

FACES_A_PERSON = 8
STAGES = ("k-means", "graph", "people", "attributes")


def write_rows(path: Path, people: SyntheticPeople) -> None:
    """Write all rows, some at a time."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (len(people), people.dim))
    start = 0
    for chunk in people.chunks():
        rows[start : start + len(chunk)] = chunk
        start += len(chunk)
    rows.flush()


def worker_memory() -> tuple[int, int]:
    """Return the most memory this process held, in all and of its own; and begin anew."""
    fields = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    )
    peak = int(fields["VmHWM"].split()[0]) << 10
    own = int(fields["RssAnon"].split()[0]) << 10
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak, own


class Stages:
    """What each stage took, on the clock and in workers' memory."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.rows: dict[str, dict[str, float]] = {}

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a stage."""
        self._client.run(worker_memory)
        cpu, began = self._cpu(), time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
        peaks = self._client.run(worker_memory)
        self.rows[name] = {
            "seconds": seconds,
            "cpu_seconds": self._cpu() - cpu,
            "peak_bytes": max(peak for peak, _ in peaks.values()),
        }
        print(
            f"{name}: {seconds:.0f} s, {self.rows[name]['peak_bytes'] / 2**30:.2f} GiB", flush=True
        )
        return result

    def _cpu(self) -> float:
        """Return the processor seconds of all workers, and of this process, which searches too."""
        return sum(self._client.run(time.process_time).values()) + time.process_time()


def run_stages(
    path: Path,
    client: Any,
    *,
    clusters: int,
    region_rows: int,
    people_rows: int,
    component_rows: int,
    k: int = 80,
    wanted: Sequence[str] = STAGES,
) -> tuple[dict[str, dict[str, float]], Any, Any]:
    """Run stages, people after the graph that they need; return what they took, and the models."""
    from fastface.distributed import AttributeDiscovery, IdentityClustering, KMeans, NeighborGraph

    stages = Stages(client)
    graph = people = None
    if "k-means" in wanted and clusters:
        stages.measure(
            "k-means, 5 iterations",
            lambda: KMeans(clusters, max_iter=5, tol=0.0, random_state=0).fit(path),
        )
    if "graph" in wanted or "people" in wanted:
        graph = stages.measure(
            "neighbour graph",
            lambda: NeighborGraph.build(
                path,
                n_neighbors=k,
                normalize=True,
                method="approximate",
                region_rows=region_rows,
            ),
        )
    if "people" in wanted:
        model = IdentityClustering(region_rows=people_rows, component_rows=component_rows)
        people = stages.measure("people", lambda: model.fit(path, graph=graph))
    if "attributes" in wanted:
        stages.measure("attributes", lambda: AttributeDiscovery().fit(path))
    return stages.rows, graph, people


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--clusters", type=int, default=1000, help="of k-means; 0 leaves it out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="3GiB", help="limit of a worker (%(default)s)")
    parser.add_argument("--region-rows", type=int, default=20_000)
    parser.add_argument("--people-rows", type=int, default=100_000)
    parser.add_argument("--component-rows", type=int, default=250_000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="(all)")
    parser.add_argument("--folder", help="for rows and spilled data (a temporary one)")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args(argv)
    if args.smoke:
        args.rows, args.clusters, args.features = 4000, 20, 32
        args.region_rows, args.people_rows = 1000, 2000
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        print("distributed is not installed (extra 'dask'): nothing to run")
        return 0
    people = SyntheticPeople(args.rows, max(1, args.rows // FACES_A_PERSON), dim=args.features)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "rows.npy"
        write_rows(path, people)
        with (
            # A run that is stopped for a while, to let others measure, loses no worker.
            dask.config.set(
                {"temporary-directory": folder, "distributed.scheduler.worker-ttl": None}
            ),
            LocalCluster(
                n_workers=args.workers,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=60,  # workers that end say much
                memory_limit=args.memory,
            ) as cluster,
            Client(cluster) as client,
        ):
            stages, graph, found = run_stages(
                path,
                client,
                clusters=args.clusters,
                region_rows=args.region_rows,
                people_rows=args.people_rows,
                component_rows=args.component_rows,
                wanted=args.stages,
            )
            results: dict[str, Any] = {"stages": stages}
            if graph is not None:
                results.update(recall=graph.recall.estimate)
            if found is not None:
                scores = pairwise_scores(people.person_ids, found.labels_.compute())
                results.update(
                    people=found.n_people_,
                    is_exact=found.is_exact_,
                    precision=scores.precision,
                    pair_recall=scores.recall,
                )
    print(
        f"{args.rows} x {args.features}, {args.workers} workers of one thread, {args.memory} each"
    )
    print_table(
        ["stage", "seconds", "CPU seconds", "peak memory of a worker"],
        [
            [
                name,
                f"{one['seconds']:.0f}",
                f"{one['cpu_seconds']:.0f}",
                f"{one['peak_bytes'] / 2**30:.2f} GiB",
            ]
            for name, one in stages.items()
        ],
    )
    if graph is not None:
        recall = graph.recall
        print(f"graph: recall {recall.estimate:.4f} ({recall.low:.4f} to {recall.high:.4f})")
    if found is not None:
        print(
            f"{found.n_people_} people, the labels of one process: {found.is_exact_};"
            f" pairwise precision {scores.precision:.4f}, recall {scores.recall:.4f}"
        )
    print(write_results("scale", {**vars(args), **results}, peers=["distributed"]))
    return 0
