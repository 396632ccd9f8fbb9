"""Implementations of the dense kernels behind one Protocol."""

from __future__ import annotations

from fastface.backends.protocol import Backend
from fastface.backends.registry import (
    available_isas,
    get_backend,
    get_isa,
    get_num_threads,
    set_isa,
    set_num_threads,
)

__all__ = [
    "Backend",
    "available_isas",
    "get_backend",
    "get_isa",
    "get_num_threads",
    "set_isa",
    "set_num_threads",
]
