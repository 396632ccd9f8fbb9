"""Runs NVRTC's PTX on the CPU, every thread a lane of NumPy arrays, and checks what it does.

`Module.from_source` compiles, `Module.launch` executes on a `DeviceMemory`; the first access out
of bounds, race, unwritten read, or divergent barrier raises a `LaunchError`.
"""

from __future__ import annotations

from ptx_interpreter.errors import (
    BadArgument,
    BadShuffle,
    DivergentBarrier,
    EarlyRead,
    LaunchError,
    Misaligned,
    OutOfBounds,
    OutOfDeviceMemory,
    RaceFound,
    Trap,
    Uninitialised,
    Unsupported,
)
from ptx_interpreter.memory import DeviceArray, DeviceMemory
from ptx_interpreter.module import Kernel, LaunchStatistics, Module

__all__ = [
    "BadArgument",
    "BadShuffle",
    "DeviceArray",
    "DeviceMemory",
    "DivergentBarrier",
    "EarlyRead",
    "Kernel",
    "LaunchError",
    "LaunchStatistics",
    "Misaligned",
    "Module",
    "OutOfBounds",
    "OutOfDeviceMemory",
    "RaceFound",
    "Trap",
    "Uninitialised",
    "Unsupported",
]
