"""How many rows the GPU's low precisions leave open, found by rounding like them on the CPU.

Scores are computed from operands rounded as csrc/cuda/operands.cu rounds them, and judged by the
bound of csrc/cuda/screen.cuh.  What a tensor core loses while it adds up is not emulated: it is
below the bound by orders of magnitude.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import print_table, write_results
from benchmarks.rows import flat_faces
from fastface import KMeans
from fastface.backends.cuda.tiles import Precision

Floats = NDArray[np.float64]

_UNIT = 2.0**-24
_SAFETY = 1.01


def rounded(values: Floats, precision: Precision) -> Floats:
    """Return what the packed operand holds."""
    bits = values.astype(np.float32).view(np.uint32)
    if precision is Precision.BF16:
        bits = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    elif precision is Precision.TF32:
        bits = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return bits.view(np.float32).astype(np.float64)


def accumulation_error(precision: Precision, dim: int) -> float:
    """Return `accumulation_error` of csrc/cuda/screen.cuh."""
    steps = dim + 34
    if precision is Precision.FLOAT32:
        return steps * _UNIT / (1 - steps * _UNIT)
    if precision is Precision.TF32X3:
        return 3 * steps * 4 * _UNIT + 3.1 * 4 * _UNIT
    return steps * 4 * _UNIT


def shares(rows: Floats, centers: Floats, precision: Precision) -> dict[str, float]:
    """Return the shares of rows that go to two candidates, and to all of them."""
    shift = centers.mean(axis=0)
    a, b = rows - shift, centers - shift
    exponent = np.floor(np.log2(np.linalg.norm(b, axis=1).max()))
    a, b = a * 2.0**-exponent, b * 2.0**-exponent
    a_kept, b_kept = rounded(a, precision), rounded(b, precision)
    norms = _SAFETY * np.linalg.norm(a, axis=1)
    lost = _SAFETY * np.linalg.norm(a - a_kept, axis=1)
    reach = _SAFETY * np.linalg.norm(b, axis=1).max()
    reach_lost = _SAFETY * np.linalg.norm(b - b_kept, axis=1).max()
    half = 0.5 * reach * reach
    magnitude = (norms + lost) * (reach + reach_lost) + half
    padded = precision.operand.padded_dim(rows.shape[1])
    error = _SAFETY * (
        norms * reach_lost
        + lost * (reach + reach_lost)
        + accumulation_error(precision, padded) * magnitude
        + 2 * _UNIT * half
    )
    scores = a_kept @ b_kept.T - 0.5 * (b * b).sum(axis=1)
    best = np.partition(scores, -3, axis=1)[:, -3:]
    bar = best[:, 2] - 2 * error
    two = (best[:, 1] > bar) & (best[:, 0] <= bar)
    return {"two": float(two.mean()), "all": float((best[:, 0] > bar).mean())}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--smoke", action="store_true", help="tiny: does it still run?")
    options = parser.parse_args(argv)
    cases = [(1000, 128), (4096, 128), (1000, 512)]
    n_rows = options.rows
    if options.smoke:
        cases, n_rows = [(20, 32)], 500
    table: list[list[Any]] = []
    for n_centers, dim in cases:
        rows = flat_faces(n_rows, dim)
        model = KMeans(n_centers, init="random", max_iter=5, random_state=0).fit(rows)
        chosen = rows[np.random.default_rng(1).permutation(n_rows)[:n_centers]]
        for kind, centers in (("k-means centers", model.cluster_centers_), ("rows", chosen)):
            for precision in Precision:
                found = shares(rows.astype(np.float64), centers.astype(np.float64), precision)
                table.append(
                    [n_centers, dim, kind, precision.name.lower(), found["two"], found["all"]]
                )
    print_table(["candidates", "d", "kind", "precision", "two", "all"], table)
    write_results("screening", {"rows": n_rows, "table": table})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
