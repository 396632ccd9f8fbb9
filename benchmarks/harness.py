"""Timing side by side, the machine it happened on, and where the numbers go.

Candidates of one comparison are called in turn, A B C A B C …, in one process, so that whatever
else the machine does falls on all of them alike.  Quote the ratios; the seconds belong to one
machine on one day.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT

__all__ = [
    "PeakMemory",
    "Timing",
    "compare",
    "describe_machine",
    "gemm_ceiling",
    "isolated_python",
    "measure_peak_rss",
    "memory_bandwidth",
    "print_table",
    "print_timings",
    "ratios",
    "write_results",
]

RESULTS = ROOT / "results"
# Threads of BLAS and OpenMP spin for some 50 ms after a call before they sleep; whoever comes next
# would have to share a core with them.
_SETTLE = 0.1


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one candidate, one entry a round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Middle of the rounds: the figure to quote."""
        return statistics.median(self.seconds)

    @property
    def min(self) -> float:
        """Fastest round."""
        return min(self.seconds)

    @property
    def max(self) -> float:
        """Slowest round."""
        return max(self.seconds)

    def rate(self, amount: float) -> float:
        """Return units per second at the median, for `amount` units of work a call."""
        return amount / self.median

    def as_dict(self) -> dict[str, Any]:
        """Return what `write_results` stores."""
        return {
            "median": self.median,
            "min": self.min,
            "max": self.max,
            "seconds": list(self.seconds),
        }


def compare(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    warmup: int = 1,
    quiet: bool = False,
) -> dict[str, Timing]:
    """Time callables in turn, in one process.

    Parameters
    ----------
    candidates : mapping of str to callable
        What to time; each is called without arguments and must leave its inputs as they were.
    rounds : int
        Timed calls of each candidate.
    warmup : int
        Untimed calls of each candidate before the first timed one (compilation, caches, pools).
    quiet : bool
        Do not say on stderr which round is running.

    Returns
    -------
    dict of str to Timing
        In the order of `candidates`.
    """
    for _ in range(warmup):
        for call in candidates.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds):
        for name, call in candidates.items():
            time.sleep(_SETTLE)
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
        if not quiet:
            print(f"\r  round {round_number + 1} of {rounds}", end="", file=sys.stderr)
    if not quiet:
        print(file=sys.stderr)
    return {name: Timing(name, tuple(values)) for name, values in seconds.items()}


def ratios(timings: Mapping[str, Timing], *, against: str) -> dict[str, float]:
    """Return how many times faster than `against` each candidate is.

    The ratio is taken round by round and then its median, so that a slow minute of the machine,
    which both shared, cancels.
    """
    base = timings[against].seconds
    return {
        name: statistics.median(b / s for b, s in zip(base, timing.seconds, strict=True))
        for name, timing in timings.items()
    }


@dataclass(frozen=True)
class PeakMemory:
    """What one subprocess took."""

    rss_bytes: int
    seconds: float
    returncode: int
    stdout: str


def isolated_python(code: str) -> list[str]:
    """Return the argv that runs `code` with the installed packages, whatever the current folder."""
    bootstrap = f"import sys; sys.path.append({str(ROOT)!r})\n"
    return [sys.executable, "-I", "-c", bootstrap + code]


def measure_peak_rss(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> PeakMemory:
    """Run a command and report the largest resident memory of any one of its processes.

    Parameters
    ----------
    argv : sequence of str
        The command; see `isolated_python` for a snippet of Python.
    env : mapping of str to str, optional
        Variables added to the current environment.

    Returns
    -------
    PeakMemory
        Peak resident bytes, wall seconds, exit status, and what was printed.

    Raises
    ------
    RuntimeError
        If the command fails; the message carries the end of its stderr.
    """
    start = time.perf_counter()
    # A launcher of its own: RUSAGE_CHILDREN is a maximum over every child this process ever had.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LAUNCHER, *argv],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    stdout, _, peak = done.stdout.rpartition("\npeak-rss-bytes ")
    return PeakMemory(int(peak), seconds, done.returncode, stdout)


_LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
print("\\npeak-rss-bytes", peak)
sys.exit(code)
"""


def gemm_ceiling(dtype: Any = np.float32, *, size: int = 2048, rounds: int = 5) -> float:
    """Return the GF/s of NumPy's matrix product: the practical roof of a dense kernel.

    It uses as many threads as NumPy's BLAS does; limit those with `threadpoolctl` around the call.
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal((size, size)).astype(dtype)
    b = rng.standard_normal((size, size)).astype(dtype)
    out = np.empty_like(a)
    timing = compare({"gemm": lambda: np.matmul(a, b, out=out)}, rounds=rounds, quiet=True)["gemm"]
    return 2.0 * size**3 / timing.min / 1e9


def memory_bandwidth(*, megabytes: int = 256, rounds: int = 5) -> float:
    """Return GB/s of a copy in main memory by one thread, reads and writes both counted."""
    source = np.ones(megabytes * 2**20 // 8)
    target = np.empty_like(source)
    timing = compare({"copy": lambda: np.copyto(target, source)}, rounds=rounds, quiet=True)["copy"]
    return 2.0 * source.nbytes / timing.min / 1e9


def describe_machine(peers: Iterable[str] = ()) -> dict[str, Any]:
    """Return processor, cores, memory and versions, so that a number can be read later.

    Parameters
    ----------
    peers : iterable of str
        Distributions whose versions belong to the comparison, such as ``"faiss-cpu"``.
    """
    packages = ["fastface", "numpy", "scipy", "scikit-learn", *peers]
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "isas": _isas(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _isas() -> list[str]:
    import fastface

    return list(fastface.available_isas())


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, numbers on the right: it can go into a document as it is."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(headers))
    ]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = [
        "-" * (width - 1) + (":" if right else "-")
        for width, right in zip(widths, numeric, strict=True)
    ]
    print("\n".join([line(headers), line(rule), *(line(row) for row in cells)]))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] == "-"


def print_timings(
    timings: Mapping[str, Timing], *, against: str, amount: float = 1.0, unit: str = "calls"
) -> None:
    """Print one comparison: median, spread, rate, and the ratio to the named candidate."""
    factors = ratios(timings, against=against)
    print_table(
        ["candidate", "median s", "min s", "max s", f"{unit}/s", f"times {against}"],
        [
            [name, t.median, t.min, t.max, t.rate(amount), factors[name]]
            for name, t in timings.items()
        ],
    )


def write_results(name: str, results: Mapping[str, Any], *, peers: Iterable[str] = ()) -> Path:
    """Write one benchmark's numbers, with the machine they come from, under ``results/``.

    Parameters
    ----------
    name : str
        Of the benchmark; the file is ``results/<name>.json``, replaced whole.
    results : mapping
        Anything JSON can hold; `Timing` values and NumPy numbers are converted.
    peers : iterable of str
        See `describe_machine`.

    Returns
    -------
    Path
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    payload = {"benchmark": name, "machine": describe_machine(peers), "results": dict(results)}
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(payload, indent=2, default=_plain) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _plain(value: object) -> object:
    if isinstance(value, Timing):
        return value.as_dict()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
