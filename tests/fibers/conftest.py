"""Tests here build CUDA C++ with an ordinary compiler."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for programs, or skip where there is no compiler and one may be missing."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        if os.environ.get("FASTFACE_REQUIRE_ALL") == "1":
            pytest.fail(f"{compiler} is absent, and FASTFACE_REQUIRE_ALL=1 forbids skipping")
        pytest.skip(f"{compiler} is absent")
    return tmp_path_factory.mktemp("fibers")
