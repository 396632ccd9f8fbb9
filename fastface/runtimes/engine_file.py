"""Engines on disk: a checksum, what they were built from and for, then their bytes.

An engine is machine code for one GPU architecture and one version of its runtime.  It is handed to
that runtime only if all of it is what the header says.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fastface.errors import CorruptFileError, ModelError, StorageError

__all__ = ["EngineInfo", "is_engine", "pack_engine", "read_engine"]

_MAGIC = b"fastface engine 2\n"
_DIGEST = 65  # SHA-256 of all that follows, in hexadecimal, and the end of its line
_MAX_HEADER = 1 << 16


@dataclass(frozen=True)
class EngineInfo:
    """What an engine was built from and for.

    Attributes
    ----------
    model : str
        Name of the model's spec.
    model_sha256 : str
        Of the ONNX file.
    precision : {"fp32", "fp16", "bf16", "int8"}
    runtime : {"tensorrt", "tensorrt-rtx"}
    runtime_version : str
    arch : str
        Such as ``"sm_89"``.
    max_batch : int
        Crops at once: the engine takes 1 to so many.
    spec : str
        The model's spec as JSON.
    device : str
        Name of the GPU that its kernels were timed on; empty where none was needed.
    """

    model: str
    model_sha256: str
    precision: str
    runtime: str
    runtime_version: str
    arch: str
    max_batch: int
    spec: str
    device: str = ""


def is_engine(path: Path) -> bool:
    """Say whether a file claims to be an engine that fastface wrote."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def pack_engine(info: EngineInfo, engine: bytes) -> bytes:
    """Return the file of an engine."""
    header = json.dumps(asdict(info), sort_keys=True).encode() + b"\n"
    digest = hashlib.sha256(header)
    digest.update(engine)
    return b"".join([_MAGIC, digest.hexdigest().encode(), b"\n", header, engine])


def read_engine(path: Path) -> tuple[EngineInfo, bytes]:
    """Read an engine and check that every byte is what was written.

    Raises
    ------
    ModelError
        If the file is no engine that fastface wrote.
    CorruptFileError
        If it is one, and truncated or damaged.
    StorageError
        If it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if not data.startswith(_MAGIC):
        raise ModelError(
            f"{path} is no engine that fastface wrote: build it with `fastface engines build`"
        )
    damaged = f"{path} is truncated or damaged: build it again"
    start = len(_MAGIC) + _DIGEST
    end = data.find(b"\n", start, start + _MAX_HEADER)
    digest, rest = data[len(_MAGIC) : start - 1], memoryview(data)[start:]
    if end < 0 or hashlib.sha256(rest).hexdigest().encode() != digest:
        raise CorruptFileError(damaged)
    try:
        info = EngineInfo(**json.loads(data[start:end]))
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptFileError(damaged) from error
    return info, data[end + 1 :]
