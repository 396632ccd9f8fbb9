"""What executes a model: one Protocol, one file for each runtime."""

from __future__ import annotations

from fastface.runtimes.calibration import calibrate
from fastface.runtimes.onnxruntime import Session
from fastface.runtimes.opening import open_model
from fastface.runtimes.protocol import Runtime
from fastface.runtimes.registry import choose_threads, list_runtimes, open_runtime

__all__ = [
    "Runtime",
    "Session",
    "calibrate",
    "choose_threads",
    "list_runtimes",
    "open_model",
    "open_runtime",
]
