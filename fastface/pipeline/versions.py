"""Which versions of which packages a result was made with."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastface.pipeline.storage import file_sha256

__all__ = ["all_versions", "deciding_versions", "describe_detector"]

# Another version of one of these may find other faces or give other bits.
_DECIDING = (
    "fastface",
    "numpy",
    "dlib-bin",
    "dlib",
    "pillow",
    "pillow-heif",
    "onnxruntime",
    "openvino",
)
_OTHERS = ("pyarrow", "scipy", "scikit-learn")


def deciding_versions() -> dict[str, str]:
    """Return versions of what decides how photos become vectors."""
    return _installed(_DECIDING)


def all_versions() -> dict[str, str]:
    """Return versions of everything worth writing down."""
    return {"python": platform.python_version(), **_installed((*_DECIDING, *_OTHERS))}


def describe_detector(detector: str) -> dict[str, str]:
    """Return the hash of a detector that is a file: another file may find other faces."""
    path = Path(detector).expanduser()
    return {"detector_sha256": file_sha256(path)} if path.is_file() else {}


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
