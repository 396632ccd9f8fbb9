"""The CUDA sources as programs: what they export, and how arguments are passed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fastface.backends.cuda.sources import source_folder

__all__ = ["Define", "Program", "as_arguments", "read_program"]

Define = tuple[str, int]

_INCLUDE = re.compile(r'^#include "([\w.]+)"$', re.MULTILINE)
_ENTRY = re.compile(
    r'extern "C" __global__ void(?:\s+__launch_bounds__\([^()]*(?:\([^()]*\))?[^()]*\))?\s+(\w+)'
    r"\(([^)]*)\)"
)
_SCALARS: dict[str, type[np.generic]] = {
    "int": np.int32,
    "i64": np.int64,
    "double": np.float64,
    "float": np.float32,
}


@dataclass(frozen=True)
class Program:
    """One source file.

    Attributes
    ----------
    name : str
        Of the file, without ``.cu``.
    source : str
        With everything that it includes.
    entries : dict of str to tuple of (str, type or None)
        Kernels: name and scalar type of each parameter, None for a pointer.
    """

    name: str
    source: str
    entries: dict[str, tuple[tuple[str, type[np.generic] | None], ...]]


@cache
def read_program(name: str) -> Program:
    """Return a source with all its headers in place, each once."""
    seen: set[str] = set()

    def expand(file: str) -> str:
        text = (source_folder() / file).read_text(encoding="utf-8").replace("#pragma once\n", "")

        def include(found: re.Match[str]) -> str:
            if found[1] in seen or not (source_folder() / found[1]).is_file():
                return "" if found[1] in seen else found[0]
            seen.add(found[1])
            return expand(found[1])

        return _INCLUDE.sub(include, text)

    source = expand(f"{name}.cu")
    entries = {
        entry: tuple(map(_parameter, parameters.split(",")))
        for entry, parameters in _ENTRY.findall(source)
    }
    return Program(name, source, entries)


def _parameter(text: str) -> tuple[str, type[np.generic] | None]:
    *words, name = text.replace("*", "* ").split()
    if any("*" in word for word in words):
        return name, None
    (kind,) = (word for word in words if word != "const")
    return name, _SCALARS[kind]


def as_arguments(program: Program, entry: str, args: Sequence[Any]) -> tuple[Any, ...]:
    """Return arguments in the types that a kernel declares.

    Raises
    ------
    TypeError
        If their number is wrong, or a pointer and a number were mistaken for each other.
    """
    parameters = program.entries[entry]
    if len(parameters) != len(args):
        raise TypeError(f"{entry} takes {len(parameters)} arguments, got {len(args)}")
    converted: list[Any] = []
    for (name, scalar), value in zip(parameters, args, strict=True):
        if (scalar is None) != (value is None or (hasattr(value, "ndim") and value.shape != ())):
            raise TypeError(f"{entry}: {name} got {type(value).__name__}")
        if scalar is not None:
            converted.append(scalar(value))
        else:
            converted.append(np.uint64(0) if value is None else value)
    return tuple(converted)
