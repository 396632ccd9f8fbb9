"""Measuring what a model computes, so that it can be quantised."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError
from fastface.models import Model
from fastface.models.onnx_graph import import_onnx
from fastface.models.quantize import Ranges, check_calibration, expose_values, measure_ranges
from fastface.runtimes.onnxruntime import Session
from fastface.runtimes.protocol import fixed_batch

__all__ = ["calibrate"]


def calibrate(model: Model, crops: NDArray[np.uint8], *, n_threads: int = 1) -> Ranges:
    """Run a model on crops and return the range of every value inside.

    Parameters
    ----------
    model : Model
        In single precision.
    crops : ndarray of uint8, shape (n, height, width, 3)
        At least 32 aligned crops of many people; 200 are better.
    n_threads : int
        Threads to compute with.

    Returns
    -------
    mapping of str to (float, float)

    Raises
    ------
    InvalidInputError
        If the crops are too few, blank, or not of the model's size.
    """
    check_calibration(crops)
    if crops.shape[1:3] != model.spec.input_size:
        height, width = model.spec.input_size
        raise InvalidInputError(
            f"calibration crops are {crops.shape[2]} × {crops.shape[1]} pixels; "
            f"{model.spec.name!r} takes {width} × {height}"
        )
    proto = import_onnx().load_model(model.onnx_path)
    names = expose_values(proto)
    with tempfile.TemporaryDirectory(prefix="fastface-") as folder:
        path = Path(folder) / "exposed.onnx"
        path.write_bytes(proto.SerializeToString())
        session = Session(path, n_threads=n_threads)
    order = [session.output_names.index(name) for name in names]

    def run(batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        outputs = session.run(np.ascontiguousarray(batch))
        return [outputs[place] for place in order]

    # One at a time where the network takes no more; else few: all values are in memory at once.
    batch_size = fixed_batch(session.input_shape) or 8
    return measure_ranges(names, run, crops, batch_size=batch_size)
