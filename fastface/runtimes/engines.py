"""Engines in the cache: built once for a model, a precision, a runtime and an architecture."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastface.errors import FastfaceError, MissingDependencyError
from fastface.models import Model, change_precision
from fastface.models.cache import cache_directory, cached
from fastface.models.quantize import Ranges
from fastface.runtimes.engine_file import EngineInfo, pack_engine, read_engine
from fastface.runtimes.tensorrt import ENGINE_RUNTIMES, EngineBuilder
from fastface.validation import check_integer

__all__ = ["CachedEngine", "build_engine", "clean_engines", "list_engines"]

_SUFFIX = ".engine"
_MAX_BATCH = 4096


def build_engine(
    model: Model,
    *,
    runtime: str,
    arch: str,
    precision: str = "fp16",
    max_batch: int = 64,
    ranges: Ranges | None = None,
) -> Path:
    """Build an engine, or find the one that was built before.

    Parameters
    ----------
    model : Model
        In single precision.
    runtime : {"tensorrt", "tensorrt-rtx"}
    arch : str
        Such as ``"sm_89"``; ``"native"`` for TensorRT.
    precision : {"fp32", "fp16", "bf16", "int8"}
    max_batch : int
        The engine takes 1 to so many crops.
    ranges : mapping, optional
        For ``"int8"`` and a model of yours; see `fastface.models.change_precision`.

    Returns
    -------
    Path
        The engine's file in the cache.

    Raises
    ------
    InvalidInputError, MissingDependencyError, BackendUnavailableError, ModelError
        See `fastface.runtimes.tensorrt.EngineBuilder`.
    StorageError
        If the cache directory cannot be used.
    """
    max_batch = check_integer(max_batch, name="max_batch", low=1, high=_MAX_BATCH)
    builder = EngineBuilder(runtime)
    made = change_precision(model, precision, ranges=ranges, symmetric=True)
    info = EngineInfo(
        model=made.spec.name,
        model_sha256=made.sha256,
        precision=precision,
        runtime=runtime,
        runtime_version=builder.version,
        arch=arch,
        max_batch=max_batch,
        spec=made.spec.to_json(),
    )

    def build() -> bytes:
        engine = builder.build(
            made.onnx_path.read_bytes(), arch=arch, precision=precision, max_batch=max_batch
        )
        return pack_engine(info, engine)

    name = re.sub(r"[^A-Za-z0-9._-]", "_", made.spec.name)[:40]
    key = f"{name}-{made.sha256}-{runtime}-{builder.version}-{arch}-{precision}-b{max_batch}"
    return cached(key, _SUFFIX, build).path


@dataclass(frozen=True)
class CachedEngine:
    """One engine's file.

    Attributes
    ----------
    path : Path
    size : int
        In bytes.
    info : EngineInfo or None
        None where the file cannot be read.
    problem : str
        Empty, or why it will not be used: damaged, or of another version of its runtime.
    """

    path: Path
    size: int
    info: EngineInfo | None
    problem: str


def list_engines(paths: list[Path] | None = None) -> list[CachedEngine]:
    """Read engines and check every byte of them.

    Parameters
    ----------
    paths : list of Path, optional
        These files; by default all in the cache.

    Returns
    -------
    list of CachedEngine
        In the order given, or of their names.
    """
    if paths is None:
        folder = cache_directory()
        paths = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
    versions = _installed_versions()
    return [_examine(path, versions) for path in paths]


def clean_engines(*, everything: bool = False) -> list[Path]:
    """Remove engines from the cache that will not be used any more.

    Parameters
    ----------
    everything : bool
        Remove good ones too.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed = []
    for engine in list_engines():
        if engine.problem or everything:
            engine.path.unlink(missing_ok=True)
            removed.append(engine.path)
    return removed


def _examine(path: Path, versions: dict[str, str]) -> CachedEngine:
    size = path.stat().st_size if path.is_file() else 0
    try:
        info, _ = read_engine(path)
    except FastfaceError as error:
        return CachedEngine(path, size, None, str(error))
    installed = versions.get(info.runtime)
    problem = ""
    if installed is not None and installed != info.runtime_version:
        problem = (
            f"built by {info.runtime} {info.runtime_version}, and {installed} is installed:"
            " build it again"
        )
    return CachedEngine(path, size, info, problem)


def _installed_versions() -> dict[str, str]:
    found = {}
    for runtime in ENGINE_RUNTIMES:
        with suppress(MissingDependencyError):
            found[runtime] = EngineBuilder(runtime).version
    return found
