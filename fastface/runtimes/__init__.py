"""What executes a model: one Protocol, one file for each runtime."""

from __future__ import annotations

from fastface.runtimes.protocol import Runtime
from fastface.runtimes.registry import list_runtimes, open_runtime

__all__ = ["Runtime", "list_runtimes", "open_runtime"]
