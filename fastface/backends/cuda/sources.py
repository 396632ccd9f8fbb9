"""Where the CUDA sources are and what they can be compiled for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["COMPILE_OPTIONS", "architecture", "source_folder", "source_of"]

_ONLY_THERE = "WARPGROUP_COLUMNS"  # its instructions are not promised to later architectures
# Contracting a product and a sum into one rounding would change what is defined; kernels that want
# a fused multiply-add say so.
COMPILE_OPTIONS = ("-std=c++17", "--fmad=false", "--ftz=false", "-default-device")


@cache
def source_folder() -> Path:
    """Return the folder of the CUDA sources, which is also what they include from.

    Raises
    ------
    FileNotFoundError
        If the installation is not complete.
    """
    # An editable installation has two folders: Python files, and what was built and installed.
    package = find_spec("fastface")
    for folder in (package and package.submodule_search_locations) or ():
        sources = Path(folder) / "backends" / "cuda" / "sources"
        if sources.is_dir():
            return sources
    raise FileNotFoundError("fastface's CUDA sources are missing: install the package again")


def source_of(family: str) -> str:
    """Return the source text of one family of kernels, such as ``"assign"``."""
    return (source_folder() / f"{family}.cu").read_text(encoding="utf-8")


def architecture(capability: int, defines: Mapping[str, int]) -> str:
    """Return what NVRTC is told to compile for, such as ``"sm_90a"``."""
    return f"sm_{capability}{'a' if _ONLY_THERE in defines else ''}"
