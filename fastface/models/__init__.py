"""Embedding models: what they are, where they come from, and their ONNX files."""

from __future__ import annotations

from fastface.models.detector import DetectorModel, load_dlib_cnn
from fastface.models.dlib.hog import HogDetector, read_hog_detector
from fastface.models.export import export
from fastface.models.load import Model, load
from fastface.models.onnx_reader import check_onnx
from fastface.models.precision import PRECISIONS, change_precision
from fastface.models.registry import get_spec, list_specs
from fastface.models.spec import ModelSpec, PackagedWeights
from fastface.models.torch_network import export_torch, torch_module

__all__ = [
    "PRECISIONS",
    "DetectorModel",
    "HogDetector",
    "Model",
    "ModelSpec",
    "PackagedWeights",
    "change_precision",
    "check_onnx",
    "export",
    "export_torch",
    "get_spec",
    "list_specs",
    "load",
    "load_dlib_cnn",
    "read_hog_detector",
    "torch_module",
]
