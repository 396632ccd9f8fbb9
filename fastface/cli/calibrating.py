"""``--calibrate FOLDER``: crops that eight bits are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastface.errors import InvalidInputError

if TYPE_CHECKING:
    from fastface.models import Model
    from fastface.models.quantize import Ranges

__all__ = ["CALIBRATION_CROPS", "measure_crops"]

CALIBRATION_CROPS = 200


def measure_crops(model: Model, folder: Path, *, precision: str) -> Ranges:
    """Return the ranges of a model's values on some crops of a folder."""
    if precision != "int8":
        raise InvalidInputError("--calibrate is for --precision int8")
    from fastface.pipeline.labelled import read_labelled_crops
    from fastface.runtimes import calibrate, choose_threads

    crops = read_labelled_crops(folder, model.spec.input_size, limit=CALIBRATION_CROPS).crops
    return calibrate(model, crops, n_threads=choose_threads(None))
