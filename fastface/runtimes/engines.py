"""Engines in the cache: built once for a model, a precision, a runtime and an architecture."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastface.errors import FastfaceError, InvalidInputError, MissingDependencyError
from fastface.models import Model, change_precision
from fastface.models.cache import cache_directory, cached
from fastface.models.quantize import Ranges
from fastface.runtimes.device import CudaDevice
from fastface.runtimes.engine_file import EngineInfo, pack_engine, read_engine
from fastface.runtimes.tensorrt import ENGINE_RUNTIMES, EngineBuilder
from fastface.runtimes.timings import measured_timings
from fastface.validation import check_integer

__all__ = ["CachedEngine", "build_engine", "clean_engines", "list_engines"]

# Raise it whenever the same model would become another engine.
_VERSION = 3
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
    device: CudaDevice | None = None,
) -> Path:
    """Build an engine, or find the one that was built before.

    Of several processes that want the same engine one builds it, and the others wait for it.

    Parameters
    ----------
    model : Model
        In single precision, or a typed file already in `precision`.
    runtime : {"tensorrt", "tensorrt-rtx"}
    arch : str
        Such as ``"sm_89"``; ``"native"``: of the GPU that is there.
    precision : {"fp32", "fp16", "bf16", "int8"}
    max_batch : int
        The engine takes 1 to so many crops.
    ranges : mapping, optional
        For ``"int8"`` and a model of yours; see `fastface.models.change_precision`.
    device : CudaDevice, optional
        For ``"native"``; the first that there is if None.

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
    arch, device_name = _resolve(builder, arch, device)
    builder.check(arch, precision)
    made = model
    if model.precision != precision:
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
        device=device_name,
    )

    def build() -> bytes:
        onnx = made.onnx_path.read_bytes()
        compile_it = partial(
            builder.build, onnx, arch=arch, precision=precision, max_batch=max_batch
        )
        if not builder.times:
            return pack_engine(info, compile_it()[0])
        with measured_timings(f"{runtime}-{builder.version}-{_plain(device_name)}") as timings:
            engine, timings.data = compile_it(timings=timings.data)
        return pack_engine(info, engine)

    key = (
        f"{_plain(made.spec.name)}-{made.sha256}-{runtime}-{builder.version}-{arch}"
        f"{'-' + _plain(device_name) if device_name else ''}-{precision}-b{max_batch}-v{_VERSION}"
    )
    return cached(key, _SUFFIX, build).path


def _resolve(builder: EngineBuilder, arch: str, device: CudaDevice | None) -> tuple[str, str]:
    """Return the architecture to build for, and the GPU whose kernels will be timed."""
    if not builder.times and arch != "native":
        return arch, ""
    there = device or CudaDevice()
    if arch not in ("native", there.arch):
        raise InvalidInputError(
            f"{builder.runtime} builds only for the GPU that is there, {there.name} ({there.arch}),"
            f" not for {arch!r}; 'tensorrt-rtx' builds for others"
        )
    return there.arch, there.name if builder.times else ""


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:40]


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
