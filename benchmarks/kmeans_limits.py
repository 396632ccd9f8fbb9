"""Fits whose memory is promised, each in a process of its own: mapped rows, very many clusters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import isolated_python, measure_peak_rss
from benchmarks.rows import population

__all__ = ["Fit", "many_clusters", "mapped_rows", "write_rows"]

_BLOCK = 250_000

# Seconds are those of the iterations alone: a start is the same work wherever the rows are.
_CODE = """
import json, resource, sys, time, warnings
import numpy as np
import fastface
from fastface import KMeans
path, mapped, clusters, limit, init, iterations, threads = json.loads({arguments!r})
warnings.simplefilter("ignore")
fastface.set_num_threads(threads)
x = np.load(path, mmap_mode="r" if mapped else None)
seconds = []
began = time.perf_counter()
model = KMeans(clusters, init=init, n_init=1, max_iter=iterations, tol=0.0, random_state=0,
               memory_limit=limit, callback=lambda report: seconds.append(report.seconds))
model.fit(x)
print(json.dumps([sum(seconds), time.perf_counter() - began, model.inertia_]))
"""


@dataclass(frozen=True)
class Fit:
    """What one fit in a process of its own took."""

    iterations_s: float
    whole_s: float
    inertia: float
    peak_bytes: int  # of the whole process, Python and NumPy included


def write_rows(path: Path, n: int, dim: int, dtype: Any) -> None:
    """Write face-like rows, a block at a time."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n, dim))
    people = population(n, dim)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        rows[start:stop] = people.rows(start, stop)
    rows.flush()


def _fit(*arguments: Any) -> Fit:
    done = measure_peak_rss(isolated_python(_CODE.format(arguments=json.dumps(arguments))))
    iterations_s, whole_s, inertia = json.loads(done.stdout)
    return Fit(iterations_s, whole_s, inertia, done.rss_bytes)


def mapped_rows(path: Path, clusters: int, limit: str, threads: int) -> tuple[Fit, Fit]:
    """Return one iteration over a mapped file with a memory limit, and over the same in memory."""
    mapped = _fit(str(path), True, clusters, limit, "random", 1, threads)
    held = _fit(str(path), False, clusters, None, "random", 1, threads)
    if mapped.inertia != held.inertia:
        raise SystemExit("parity failed: mapped rows and rows in memory differ")
    return mapped, held


def many_clusters(path: Path, clusters: int, threads: int) -> Fit:
    """Return a hierarchical start, one exact iteration and the exact labels after it."""
    n_features = np.load(path, mmap_mode="r").shape[1]
    limit = 36 * clusters * n_features * 8 // 7 + (64 << 20)
    return _fit(str(path), True, clusters, limit, "hierarchical", 1, threads)
