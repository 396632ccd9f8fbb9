"""From a name or a file to a model that every runtime can open."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fastface.errors import InvalidInputError, ModelError
from fastface.models.cache import cached
from fastface.models.dlib import read_network
from fastface.models.dlib.graph import embedding_graph
from fastface.models.onnx_input import find_interface, take_crops
from fastface.models.onnx_reader import read_onnx
from fastface.models.packaged import read_packaged
from fastface.models.registry import get_spec, list_specs
from fastface.models.spec import ModelSpec, PackagedWeights

__all__ = ["Model", "load"]

# Raise it whenever the same source would become another file: old conversions are then ignored.
CONVERTER_VERSION = 3
_SPEC_KEY = "fastface.spec"
_PRECISION_KEY = "fastface.precision"


@dataclass(frozen=True)
class Model:
    """A model ready to be opened by a runtime.

    Attributes
    ----------
    spec : ModelSpec
        How to feed it and read it.
    onnx_path : Path
        ONNX file that takes uint8 RGB crops (n, height, width, 3).
    sha256 : str
        Of that file.
    source_sha256 : str
        Of the weights it was made from: for a file of yours, of that file with all its data.
    precision : {"fp32", "fp16", "bf16", "int8"}
        Arithmetic of the network; see `fastface.models.change_precision`.
    """

    spec: ModelSpec
    onnx_path: Path
    sha256: str
    source_sha256: str
    precision: str = "fp32"


def load(name_or_path: str | os.PathLike[str], spec: ModelSpec | str | None = None) -> Model:
    """Make a model ready: convert it if need be, once, and check that it can be trusted.

    Parameters
    ----------
    name_or_path : str or path
        A name such as ``"dlib-resnet"``, or an ONNX file.  What has a folder or a suffix in it is
        a file.
    spec : ModelSpec or str, optional
        For a file: what it is, or the name of a preset such as ``"arcface-112"``.  Not needed for
        files that fastface wrote; they carry their own.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the file cannot be found, read or trusted, or is not what the spec says.
    InvalidInputError
        If a file of yours comes without a spec, or a spec contradicts the model.
    MissingDependencyError
        If the named model's weights, or the packages that convert them, are not installed.
    StorageError
        If the cache directory cannot be used.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InvalidInputError(
            f"a model is a name or the path of an ONNX file, got {type(name_or_path).__name__}"
        )
    name = os.fspath(name_or_path)
    if any(name == known.name for known in list_specs()) and isinstance(name_or_path, str):
        if spec is not None:
            raise InvalidInputError(
                f"{name!r} is a model with a spec of its own; spec= is for files, "
                f"as in load('model.onnx', spec={name!r})"
            )
        return _load_named(get_spec(name))
    path = Path(name).expanduser()
    if not path.is_file():
        known = ", ".join(spec.name for spec in list_specs() if spec.weights)
        what = "is a folder" if path.is_dir() else "is no file"
        raise ModelError(f"{name!r} {what}, and no model is called so; models: {known}")
    return _load_file(path.absolute(), get_spec(spec) if isinstance(spec, str) else spec)


def _load_named(spec: ModelSpec) -> Model:
    weights = spec.weights
    if weights is None:
        raise ModelError(
            f"{spec.name!r} is a preset for a file of yours and brings no weights: "
            f"load('model.onnx', spec={spec.name!r})"
        )
    file = cached(_cache_key(spec, weights.sha256), ".onnx", lambda: _convert_dlib(spec, weights))
    return Model(spec, file.path, file.sha256, weights.sha256)


def _convert_dlib(spec: ModelSpec, weights: PackagedWeights) -> bytes:
    network = read_network(read_packaged(weights), name=Path(weights.file).name)
    return embedding_graph(network, name=spec.name, metadata={_SPEC_KEY: spec.to_json()})


def _cache_key(spec: ModelSpec, source_sha256: str) -> str:
    """Name everything a converted file depends on: source, spec and converter."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", spec.name)[:40]
    described = hashlib.sha256(spec.to_json().encode()).hexdigest()[:8]
    return f"{name}-{source_sha256}-v{CONVERTER_VERSION}-{described}"


def _load_file(path: Path, spec: ModelSpec | None) -> Model:
    model, has_external_data = read_onnx(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    carried = metadata.get(_SPEC_KEY)
    spec = _agree_on_spec(path, spec, carried)
    interface = find_interface(path, model, spec)
    if carried is not None and not interface.takes_crops:
        raise ModelError(f"{path} carries fastface's metadata but takes no uint8 crops: damaged?")
    source = path.read_bytes() if not has_external_data else _serialize(model)
    source_sha256 = hashlib.sha256(source).hexdigest()
    if interface.takes_crops and not has_external_data and len(model.graph.output) == 1:
        precision = metadata.get(_PRECISION_KEY, "fp32")
        return Model(spec, path, source_sha256, source_sha256, precision)

    def convert() -> bytes:
        try:
            take_crops(model, interface, spec)
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # onnx raises a dozen unrelated types
            raise ModelError(f"{path} cannot be given its preprocessing: {error}") from error
        return _serialize(model)

    file = cached(_cache_key(spec, source_sha256), ".onnx", convert)
    return Model(spec, file.path, file.sha256, source_sha256)


def _serialize(model: object) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))  # type: ignore[attr-defined]


def _agree_on_spec(path: Path, given: ModelSpec | None, carried: str | None) -> ModelSpec:
    if carried is not None:
        own = ModelSpec.from_json(carried)
        if given is not None and given.to_json() != own.to_json():
            raise InvalidInputError(
                f"{path} carries the spec {own.name!r} with its preprocessing in the graph; "
                f"{given.name!r} contradicts it: leave spec= out"
            )
        return own
    if given is None:
        presets = ", ".join(repr(spec.name) for spec in list_specs() if not spec.weights)
        raise InvalidInputError(
            f"{path} does not say how its input is prepared: give spec= one of {presets} "
            "or a fastface.models.ModelSpec"
        )
    return given
