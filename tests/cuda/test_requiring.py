"""``--require-gpu``: what would be skipped fails, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--require-gpu"], 1)])
def test_without_a_gpu(options: list[str], status: int) -> None:
    tests = f"{HERE / 'test_on_gpu.py'}::test_tensors_on_the_gpu"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tests, *options],
        cwd=HERE.parents[1],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout
    assert ("--require-gpu, but device='cuda'" in done.stdout) == bool(options)
    assert "device='cuda'" in done.stdout
    assert ("1 skipped" in done.stdout) == (not options)
