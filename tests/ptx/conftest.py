"""Tests here compile CUDA C++ with NVRTC from wheels."""

from __future__ import annotations

import importlib.util
import os

import pytest


@pytest.fixture(scope="session")
def nvrtc() -> None:
    """Skip where the wheels of NVRTC are absent, unless nothing may be missing."""
    try:
        found = importlib.util.find_spec("cuda.bindings.nvrtc") is not None
    except ModuleNotFoundError:
        found = False
    if found:
        return
    missing = "NVRTC is not installed (pip install cuda-bindings nvidia-cuda-nvrtc)"
    if os.environ.get("FASTFACE_REQUIRE_ALL") == "1":
        pytest.fail(f"{missing}, and FASTFACE_REQUIRE_ALL=1 forbids skipping")
    pytest.skip(missing)
