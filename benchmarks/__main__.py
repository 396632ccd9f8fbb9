"""``python -m benchmarks NAME [options]``: run one benchmark, or all of them small.

::

    python -m benchmarks list               what there is
    python -m benchmarks kernels            one of them, at the size that is quoted
    python -m benchmarks kernels --help     its options
    python -m benchmarks --smoke            all of them, tiny: do they still run?
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ROOT

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """Return the benchmarks there are: one file ``bench_<name>.py`` each."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def summary(name: str) -> str:
    """Return the first line of a benchmark's docstring, without importing its peers."""
    source = (FOLDER / f"bench_{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def require_kernels() -> None:
    """Stop with a remedy where `fastface` has no compiled extension."""
    try:
        importlib.import_module("fastface._kernels")
    except ImportError as error:
        raise SystemExit(
            f"fastface is not installed with its compiled kernels ({error}).\n"
            f"Install it first, from {ROOT}: pip install '.[faces,report,bench]'"
        ) from error


def run(name: str, argv: Sequence[str]) -> int:
    """Run one benchmark in this process and return its exit code."""
    module = importlib.import_module(f"benchmarks.bench_{name}")
    return int(module.main(list(argv)) or 0)


def smoke() -> int:
    """Run every benchmark in its smallest form, each in a fresh process."""
    failed = []
    for name in names():
        print(f"== {name} --smoke", flush=True)
        start = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-m", "benchmarks", name, "--smoke"], cwd=ROOT, check=False
        ).returncode
        print(f"== {name}: exit {code}, {time.perf_counter() - start:.1f} s", flush=True)
        if code != 0:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: Sequence[str]) -> int:
    """Dispatch the command line."""
    if not argv or argv[0] in ("-h", "--help", "list"):
        if not argv or argv[0] != "list":
            print(__doc__)
        for name in names():
            print(f"{name:12} {summary(name)}")
        return 0 if argv else 2
    if argv[0] not in ("--smoke", *names()):
        print(f"no benchmark {argv[0]!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    require_kernels()
    return smoke() if argv[0] == "--smoke" else run(argv[0], argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
