"""k-means: how its cost grows with rows, features and clusters, over three decades of each.

Every point is the processor time of an iteration: that of a whole fit from a given start, the
fastest of the rounds, divided by its iterations.  An exponent is the slope of a straight line in
logarithms, through all points of a sweep and through those of its last decade: small sizes carry
costs that do not grow, such as the sums of the clusters where there are few clusters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import RESULTS, print_table, write_results
from benchmarks.rows import face_like
from fastface import KMeans


@dataclass(frozen=True)
class Sweep:
    """Sizes of which one grows."""

    varied: str  # "rows", "features" or "clusters"
    values: tuple[int, ...]
    rows: int = 100_000
    features: int = 32
    clusters: int = 256
    algorithms: tuple[str, ...] = ("lloyd",)
    iterations: int = 5

    def sizes(self, value: int) -> tuple[int, int, int]:
        """Return rows, features and clusters at one point."""
        sizes = {"rows": self.rows, "features": self.features, "clusters": self.clusters}
        sizes[self.varied] = value
        return sizes["rows"], sizes["features"], sizes["clusters"]


def decades(low: int, points: int = 7) -> tuple[int, ...]:
    """Return sizes over three decades from `low`, evenly spaced in logarithms."""
    return tuple(round(low * 10 ** (3 * i / (points - 1))) for i in range(points))


SWEEPS = (
    Sweep("rows", decades(4_000), features=32, clusters=256),
    Sweep("features", decades(16), rows=8_000, clusters=256),
    # Pruning needs iterations to win: bounds come from the second on.
    Sweep(
        "clusters",
        decades(10),
        rows=100_000,
        features=64,
        algorithms=("lloyd", "pruned"),
        iterations=25,
    ),
)


def cost(x: np.ndarray, start: np.ndarray, algorithm: str, iterations: int, rounds: int) -> float:
    """Return the seconds of processor time that an iteration of the fastest fit took."""
    model = KMeans(
        len(start), init=start, n_init=1, max_iter=iterations, tol=0.0, algorithm=algorithm
    )
    found = []
    for _ in range(rounds):
        began = time.process_time()
        model.fit(x)
        found.append((time.process_time() - began) / model.n_iter_)
    return min(found)


def measure(sweep: Sweep, rounds: int) -> dict[str, list[float]]:
    """Return the costs of one sweep, a list for each algorithm."""
    costs: dict[str, list[float]] = {name: [] for name in sweep.algorithms}
    for value in sweep.values:
        rows, features, clusters = sweep.sizes(value)
        x = face_like(rows, features)
        start = x[np.random.default_rng(1).permutation(rows)[:clusters]].copy()
        for algorithm in sweep.algorithms:
            repeats = rounds if rows * features * clusters < 1e9 else 1
            costs[algorithm].append(cost(x, start, algorithm, sweep.iterations, repeats))
    return costs


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def last_decade(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent of the last decade alone."""
    first = next(i for i, size in enumerate(sizes) if size >= 0.099 * sizes[-1])
    return exponent(sizes[first:], costs[first:])


def plot(results: Sequence[tuple[Sweep, dict[str, list[float]]]], path: Path) -> None:
    """Draw all sweeps in logarithms, beside a line of slope one."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (sweep, costs) in zip(figure.subplots(1, len(results)), results, strict=True):
        for name, seconds in costs.items():
            slopes = exponent(sweep.values, seconds), last_decade(sweep.values, seconds)
            label = f"{name}: {slopes[0]:.2f}, last decade {slopes[1]:.2f}"
            axes.loglog(sweep.values, seconds, marker="o", label=label)
        top = max(max(seconds) for seconds in costs.values())
        linear = [top * value / sweep.values[-1] for value in sweep.values]
        axes.loglog(sweep.values, linear, "--", color="grey", linewidth=0.8, label="linear")
        axes.set_xlabel(sweep.varied)
        axes.set_ylabel("processor seconds an iteration")
        axes.legend()
    # Text as text, and the same file from the same numbers.
    with rc_context({"svg.hashsalt": "fastface", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kmeans_growth", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path, default=RESULTS / "kmeans_growth.svg")
    options = parser.parse_args(argv)
    fastface.set_num_threads(options.threads)
    results = []
    for sweep in SWEEPS:
        if options.smoke:
            sweep = Sweep(
                sweep.varied,
                tuple(16 * 2**i for i in range(3)),
                rows=400,
                features=8,
                clusters=16,
                algorithms=sweep.algorithms,
            )
        results.append((sweep, measure(sweep, 1 if options.smoke else options.rounds)))
    headers = ["varied", "from", "to", "algorithm", "seconds at first", "at last", "exponent"]
    headers.append("last decade")
    table: list[list[Any]] = [
        [
            sweep.varied,
            sweep.values[0],
            sweep.values[-1],
            name,
            seconds[0],
            seconds[-1],
            exponent(sweep.values, seconds),
            last_decade(sweep.values, seconds),
        ]
        for sweep, costs in results
        for name, seconds in costs.items()
    ]
    print_table(headers, table)
    stored = {
        "threads": options.threads,
        "sweeps": [
            {"varied": s.varied, "values": s.values, "iterations": s.iterations, "seconds": costs}
            for s, costs in results
        ],
        "exponents": [dict(zip(headers, row, strict=True)) for row in table],
    }
    path = write_results("kmeans_growth", stored)
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    plot(results, options.figure)
    print(f"written to {path} and {options.figure}")
    return 0
