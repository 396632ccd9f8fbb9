"""From a model in single precision to the same model in another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.errors import InvalidInputError, ModelError
from fastface.models.cache import cached
from fastface.models.half import HALF_TYPES, round_to_half, to_half
from fastface.models.load import Model
from fastface.models.onnx_graph import import_onnx
from fastface.models.quantize import Ranges, quantize

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["PRECISIONS", "change_precision", "packaged_ranges"]

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

# Raise it whenever the same model would become another file.
_VERSION = 1
_CALIBRATION = Path(__file__).parent / "calibration"


def change_precision(
    model: Model,
    precision: str,
    *,
    ranges: Ranges | None = None,
    symmetric: bool = False,
    emulate: bool = False,
) -> Model:
    """Return the same model computed in another precision, made once and kept in the cache.

    Parameters
    ----------
    model : Model
        In single precision.
    precision : {"fp32", "fp16", "bf16", "int8"}
    ranges : mapping, optional
        For ``"int8"``: the range of every value, from `fastface.runtimes.calibrate`.  The default
        model brings its own.
    symmetric : bool
        For ``"int8"``: values as int8 around 0, as TensorRT wants them.
    emulate : bool
        For ``"fp16"`` and ``"bf16"``: compute in single precision and only round, which runs
        everywhere.

    Returns
    -------
    Model

    Raises
    ------
    InvalidInputError
        If the precision is none of those, or a model of yours is to be int8 without ranges.
    ModelError
        If the network cannot be converted.
    StorageError
        If the cache directory cannot be used.
    """
    if precision not in PRECISIONS:
        raise InvalidInputError(
            f"precision {precision!r} is not offered; choose one of {', '.join(PRECISIONS)}"
        )
    if precision == "fp32":
        return model
    if model.precision != "fp32":
        raise InvalidInputError(
            f"{model.onnx_path} is {model.precision} already: convert the file it was made from"
        )
    if precision in HALF_TYPES:
        how = "emulated" if emulate else "typed"
        return _converted(
            model,
            precision,
            how,
            lambda proto: (round_to_half if emulate else to_half)(proto, precision),
        )
    chosen = packaged_ranges(model) if ranges is None else ranges
    if chosen is None:
        raise InvalidInputError(
            f"to make {model.spec.name!r} int8, give crops to measure it on: calibration=crops, or "
            "--calibrate FOLDER of about 200 aligned crops of many people"
        )
    described = json.dumps(sorted(chosen.items())).encode()
    how = ("symmetric-" if symmetric else "") + hashlib.sha256(described).hexdigest()[:12]
    return _converted(
        model, precision, how, lambda proto: quantize(proto, chosen, symmetric=symmetric)
    )


def packaged_ranges(model: Model) -> Ranges | None:
    """Return the ranges that fastface brings for a model of its own, else None."""
    path = _CALIBRATION / f"{model.spec.name}.json"
    if model.spec.weights is None or not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content["source_sha256"] != model.source_sha256:
        return None
    return {name: (low, high) for name, (low, high) in content["ranges"].items()}


def _converted(
    model: Model, precision: str, how: str, convert: Callable[[ModelProto], None]
) -> Model:
    def build() -> bytes:
        onnx = import_onnx()
        proto = onnx.load_model(model.onnx_path)
        try:
            convert(proto)
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # onnx raises a dozen unrelated types
            raise ModelError(f"{model.onnx_path} cannot be made {precision}: {error}") from error
        proto.metadata_props.add(key="fastface.precision", value=precision)
        return bytes(proto.SerializeToString(deterministic=True))

    key = f"{model.sha256}-{precision}-{how}-v{_VERSION}"
    file = cached(key, ".onnx", build)
    return replace(model, onnx_path=file.path, sha256=file.sha256, precision=precision)
