"""Measured claims: every speed is a ratio to a named peer, timed in the same process.

``python -m benchmarks NAME [options]`` from the root of a checkout; see `benchmarks.__main__`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Peers are measured through ONNX Runtime itself, which would tell its maker about it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

ROOT = Path(__file__).resolve().parent.parent


def _prefer_installed_fastface() -> None:
    # ``python -m`` puts the checkout first on sys.path.  There, `fastface/` has no compiled
    # extension unless the build was in place, and would hide an installed package that has one.
    # Last on the path it is found only where nothing is installed.
    def is_checkout(entry: str) -> bool:
        return Path(entry or ".").resolve() == ROOT

    sys.path[:] = [entry for entry in sys.path if not is_checkout(entry)] + [str(ROOT)]


_prefer_installed_fastface()
