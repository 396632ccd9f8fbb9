"""What `fastface plan` predicts beside what runs of three sizes take: seconds and memory by stage.

Rates are measured first, as `fastface bench` does.  On a busy machine read the processor seconds;
on an idle one also those on the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bench_scale import run_stages, worker_memory, write_rows
from benchmarks.harness import print_table, write_results
from benchmarks.synthetic_people import SyntheticPeople

TOLERANCE = 0.30


def start_up(client: Any, path: Path, args: argparse.Namespace, began: float) -> dict[str, float]:
    """Let new workers load and compile what they run; return what that took since `began`."""
    write_rows(path, SyntheticPeople(400, 50, dim=args.features))
    run_stages(
        path,
        client,
        clusters=0,
        region_rows=200,
        people_rows=200,
        component_rows=400,
        k=args.neighbors,
    )
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": sum(client.run(time.process_time).values()),
        "peak_bytes": max(peak for peak, _ in client.run(worker_memory).values()),
    }


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plan", description=__doc__)
    parser.add_argument("--sizes", default="20000,40000,80000", help="rows (%(default)s)")
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--neighbors", type=int, default=80)
    parser.add_argument("--region-rows", type=int, default=10_000)
    parser.add_argument("--people-rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rates", help="a file of `fastface bench`, in place of measuring")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args(argv)
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("distributed is not installed (extra 'dask'): nothing to check")
        return 0
    from fastface.planning import Cluster, Job, load_rates, measure_rates, predict

    options: dict[str, Any] = {}
    if args.smoke:
        args.sizes, args.features, args.neighbors = "1500,3000,4500", 32, 20
        args.region_rows, args.people_rows = 1000, 2000
        options = {"sizes": (1000, 2000), "region_rows": 700}
    if args.rates:
        rates = load_rates(args.rates)
    else:
        rates = measure_rates(dim=args.features, n_neighbors=args.neighbors, **options)
    there = Cluster(args.workers, 1, 1 << 40, 1e10)
    rows: list[list[Any]] = []
    for n in map(int, args.sizes.split(",")):
        job = Job(n, args.features, args.neighbors, args.region_rows, args.people_rows)
        expected = predict(job, there, rates)
        people = SyntheticPeople(n, max(1, n // 8), dim=args.features)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.npy"
            write_rows(path, people)
            # A cluster of its own for each size: what memory it takes is seen from the beginning.
            began = time.perf_counter()
            with (
                LocalCluster(
                    n_workers=args.workers,
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=60,  # workers that end say much
                    memory_limit=None,
                ) as cluster,
                Client(cluster) as client,
            ):
                start = start_up(client, Path(folder) / "few.npy", args, began)
                took, _, _ = run_stages(
                    path,
                    client,
                    clusters=0,
                    region_rows=args.region_rows,
                    people_rows=args.people_rows,
                    component_rows=10 * args.people_rows,
                    k=args.neighbors,
                )
            took["start"] = start
        for stage in expected:
            real = took[stage.name]
            rows.append(
                [
                    n,
                    stage.name,
                    stage.cpu_seconds,
                    real["cpu_seconds"],
                    stage.cpu_seconds / real["cpu_seconds"],
                    stage.seconds,
                    real["seconds"],
                    stage.seconds / real["seconds"],
                    stage.memory / 2**30,
                    real["peak_bytes"] / 2**30,
                    stage.memory / real["peak_bytes"],
                ]
            )
        mine = [row for row in rows if row[0] == n]
        totals = [sum(row[i] for row in mine) for i in (2, 3, 5, 6)]
        memory = max(row[8] for row in mine), max(row[9] for row in mine)
        rows.append(
            [
                n,
                "in all",
                *totals[:2],
                totals[0] / totals[1],
                *totals[2:],
                totals[2] / totals[3],
                *memory,
                memory[0] / memory[1],
            ]
        )
    print(rates.machine)
    print_table(
        [
            "rows",
            "stage",
            "CPU s planned",
            "taken",
            "ratio",
            "s planned",
            "taken",
            "ratio",
            "GiB planned",
            "taken",
            "ratio",
        ],
        rows,
    )
    for name, place in (("processor seconds", 4), ("seconds", 7), ("memory", 10)):
        far = [row[0] for row in rows if row[1] == "in all" and abs(row[place] - 1) > TOLERANCE]
        verdict = f"not at {far}" if far else "at every size"
        print(f"{name} of the whole within {TOLERANCE:.0%}: {verdict}")
    print(write_results("plan", {**vars(args), "rates": asdict(rates), "rows": rows}))
    return 0
