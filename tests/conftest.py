"""Fixtures every room shares."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Generator
from pathlib import Path

import pytest

# Some tests import ONNX Runtime before fastface does, and fastface tells it to be silent.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

REPO = Path(__file__).resolve().parent.parent
SHARED = REPO.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu",
        action="store_true",
        help="turn the skips of tests that need a CUDA device into failures",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that needs a GPU fail where it would be skipped, if that was asked for."""
    report = yield
    needs_gpu = item.get_closest_marker("gpu") is not None
    if report.skipped and needs_gpu and item.config.getoption("--require-gpu"):
        assert call.excinfo is not None
        report.outcome = "failed"
        report.longrepr = f"--require-gpu, but {call.excinfo.value}"
    return report


def _absent(what: str) -> None:
    """Skip, or fail where the environment promises that nothing may be missing."""
    if os.environ.get("FASTFACE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what}, and FASTFACE_REQUIRE_ALL=1 forbids skipping")
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared_faces() -> Path:
    """Folder of real labelled photos and embeddings, kept beside the repository."""
    folder = SHARED / "faces"
    if not folder.is_dir():
        _absent("the labelled photos ../shared/faces are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def packaged_models() -> Path:
    """Folder of the weights that the distribution face-recognition-models carries."""
    distribution = importlib.metadata.distribution("face-recognition-models")
    return Path(str(distribution.locate_file("face_recognition_models/models")))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium to open pages with."""
    import shutil

    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    _absent("no Chromium found on PATH")
    raise AssertionError


@pytest.fixture(autouse=True)
def _private_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep tests out of the user's cache, but convert the model only once a test run."""
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
