"""Whole neighbour graphs against FAISS and pynndescent: time, recall, memory and growth.

Rows are synthetic people (`benchmarks.synthetic_people`).  Recall is measured for everybody in the
same run, on rows drawn by chance and searched exactly.  Searches of FAISS that would take minutes
are timed on a part of the queries and scaled by their number: such rows say "scaled".
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastface
from benchmarks.harness import (
    RESULTS,
    isolated_python,
    measure_peak_rss,
    print_table,
    write_results,
)
from benchmarks.synthetic_people import make

K = 80
PHOTOS = 20  # of a person, on average
HEADERS = ["n", "candidate", "seconds", "recall", "times FAISS exact", "times FAISS HNSW"]
Row = dict[str, Any]
Answer = NDArray[np.integer[Any]]

_CHILD = """
import time
from benchmarks.synthetic_people import make
from fastface import NeighborGraph
X, _ = make({n}, {people})
start = time.perf_counter()
graph = NeighborGraph.build(X, n_neighbors={k}, method={method!r}, recall={recall})
print(time.perf_counter() - start, *graph.recall[:3])
"""


class Truth:
    """Exact neighbours of some rows, to hold any answer against."""

    def __init__(self, X: NDArray[np.float32], size: int = 500) -> None:
        drawn = np.random.default_rng(1).choice(len(X), min(size, len(X)), replace=False)
        self.rows = np.sort(drawn)
        _, found = fastface.nearest_neighbors(
            X[self.rows], X, n_neighbors=K + 1, metric="euclidean"
        )
        self.lists = [set(a.tolist()) - {b} for a, b in zip(found, self.rows, strict=True)]

    def recall(self, rows: NDArray[Any], answer: Answer) -> float:
        """Return the share of the true neighbours of `rows` (of `self.rows`) in an answer."""
        lists = dict(zip(self.rows.tolist(), self.lists, strict=True))
        hits = [
            len(set(found.tolist()) & lists[row])
            for row, found in zip(rows.tolist(), answer, strict=True)
        ]
        return float(np.mean(hits)) / K


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and answer of one call."""
    time.sleep(0.1)
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def ours(X: NDArray[np.float32], truth: Truth, n_threads: int) -> list[Row]:
    """Build both kinds of graph."""
    rows = []
    for name, options in (
        ("fastface exact", {"method": "exact"}),
        ("fastface approximate", {"method": "approximate", "recall": 0.99}),
    ):
        seconds, graph = timed(
            lambda options=options: fastface.NeighborGraph.build(
                X, n_neighbors=K, n_threads=n_threads, **options
            )
        )
        rows.append(row_of(X, name, seconds, truth.recall(truth.rows, graph.indices[truth.rows])))
    return rows


def faiss_exact(X: NDArray[np.float32], truth: Truth, n_threads: int, most: int) -> Row:
    """Search the flat index, with at most so many queries."""
    import faiss

    faiss.omp_set_num_threads(n_threads)
    queries = np.union1d(truth.rows, np.arange(min(len(X), most)))
    index = faiss.IndexFlatL2(X.shape[1])
    index.add(X)
    seconds, (_, found) = timed(lambda: index.search(X[queries], K + 1))
    recall = truth.recall(truth.rows, found[np.searchsorted(queries, truth.rows)])
    scaled = "" if len(queries) == len(X) else " (scaled)"
    return row_of(X, f"FAISS exact{scaled}", seconds * len(X) / len(queries), recall)


def faiss_hnsw(X: NDArray[np.float32], truth: Truth, n_threads: int, most: int) -> Row:
    """Build HNSW (32 links, 40 while building) and search it for recall .99."""
    import faiss

    faiss.omp_set_num_threads(n_threads)
    index = faiss.IndexHNSWFlat(X.shape[1], 32)
    built, _ = timed(lambda: index.add(X))
    queries = np.union1d(truth.rows, np.arange(min(len(X), most)))
    for effort in (100, 150, 200, 300, 400):
        index.hnsw.efSearch = effort
        _, found = index.search(X[truth.rows], K + 1)
        if truth.recall(truth.rows, found) >= 0.99:
            break
    seconds, (_, found) = timed(lambda: index.search(X[queries], K + 1))
    recall = truth.recall(truth.rows, found[np.searchsorted(queries, truth.rows)])
    scaled = "" if len(queries) == len(X) else ", scaled"
    name = f"FAISS HNSW (ef {effort}{scaled})"
    return row_of(X, name, built + seconds * len(X) / len(queries), recall)


def pynndescent(X: NDArray[np.float32], truth: Truth, n_threads: int) -> Row:
    """Build its graph, after one on a few rows has compiled it."""
    from pynndescent import NNDescent

    def build(rows: NDArray[np.float32]) -> Answer:
        graph = NNDescent(rows, n_neighbors=K + 1, n_jobs=n_threads, random_state=0)
        return np.asarray(graph.neighbor_graph[0])

    build(X[:5000])
    seconds, found = timed(lambda: build(X))
    return row_of(X, "pynndescent", seconds, truth.recall(truth.rows, found[truth.rows]))


def row_of(X: NDArray[np.float32], name: str, seconds: float, recall: float) -> Row:
    """Return one line of the table, without its ratios."""
    return {"n": len(X), "candidate": name, "seconds": seconds, "recall": recall}


def side_by_side(n: int, n_threads: int, most: int, peers: Sequence[str]) -> list[Row]:
    """Time everybody once on the same rows."""
    X, _ = make(n, max(1, n // PHOTOS))
    truth = Truth(X)
    rows = ours(X, truth, n_threads)
    if "faiss" in peers and find_spec("faiss"):
        rows.append(faiss_exact(X, truth, n_threads, most))
        rows.append(faiss_hnsw(X, truth, n_threads, 2 * most))
    if "pynndescent" in peers and find_spec("pynndescent"):
        rows.append(pynndescent(X, truth, n_threads))
    for peer in ("FAISS exact", "FAISS HNSW"):
        base = [row["seconds"] for row in rows if row["candidate"].startswith(peer)]
        for row in rows:
            row[f"times {peer}"] = base[0] / row["seconds"] if base else ""
    return rows


def growth(sizes: Sequence[int], recall: float) -> list[Row]:
    """Build approximate graphs in processes of their own: seconds, recall, peak memory."""
    rows = []
    for n in sizes:
        code = _CHILD.format(n=n, people=n // PHOTOS, k=K, method="approximate", recall=recall)
        peak = measure_peak_rss(isolated_python(code))
        seconds, *measured = map(float, peak.stdout.split())
        rows.append(
            {
                "n": n,
                "seconds": seconds,
                "recall": measured[0],
                "low": measured[1],
                "high": measured[2],
                "peak RSS MiB": peak.rss_bytes / 2**20,
            }
        )
        print_table(list(rows[-1]), [list(rows[-1].values())])
    return rows


def exponent(rows: Sequence[Row]) -> float:
    """Return the slope of log seconds over log n."""
    logs = np.log([[row["n"], row["seconds"]] for row in rows])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw seconds over rows, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.loglog([row["n"] for row in rows], [row["seconds"] for row in rows], "o-")
    axes.set_xlabel("rows")
    axes.set_ylabel("seconds")
    axes.set_title(f"approximate graph, k = {K}: exponent {exponent(rows):.2f}")
    figure.savefig(path)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks graph", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--rows", type=int, default=200_000, help="of the comparison; 0: none")
    parser.add_argument("--queries", type=int, default=20_000, help="most of FAISS exact")
    parser.add_argument("--peers", default="faiss", help="faiss, pynndescent; comma-separated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--growth",
        default="10000,30000,100000,300000,1000000",
        help="rows of the growth plot, comma-separated; empty: none",
    )
    parser.add_argument("--people", type=int, help="then group so many faces, as 1000000")
    parser.add_argument("--recall", type=float, default=0.98, help="that growth aims at")
    options = parser.parse_args(argv)
    if options.smoke:
        options.rows, options.queries, options.growth = 3000, 500, "1000,4000"
    results: dict[str, Any] = {}
    if options.rows:
        rows = side_by_side(
            options.rows, options.threads, options.queries, options.peers.split(",")
        )
        print_table(HEADERS, [[row[name] for name in HEADERS] for row in rows])
        results["comparison"] = rows
    sizes = [int(size) for size in options.growth.split(",") if size]
    if sizes:
        grown = growth(sizes, options.recall)
        print_table(list(grown[0]), [list(row.values()) for row in grown])
        results["growth"] = grown
        if len(grown) > 1:
            results["exponent"] = exponent(grown)
            print(f"exponent {results['exponent']:.2f}")
    if options.people:
        from benchmarks.bench_identities import HEADERS as SCORES
        from benchmarks.bench_identities import many

        scores = many(options.people, max(1, options.people // PHOTOS))
        print_table(SCORES, scores)
        results["people"] = [dict(zip(SCORES, row, strict=True)) for row in scores]
    path = write_results("graph", results, peers=["faiss-cpu", "pynndescent"])
    if len(sizes) > 1:
        plot(results["growth"], RESULTS / "graph-growth.png")
    print(f"written to {path}")
    return 0
