"""Embedding models: what they are, where they come from, and their ONNX files."""

from __future__ import annotations

from fastface.models.load import Model, load
from fastface.models.registry import get_spec, list_specs
from fastface.models.spec import ModelSpec, PackagedWeights

__all__ = ["Model", "ModelSpec", "PackagedWeights", "get_spec", "list_specs", "load"]
