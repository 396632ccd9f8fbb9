"""What the interpreter finds wrong, one class each, all below `LaunchError`."""

from __future__ import annotations

__all__ = [
    "BadArgument",
    "BadShuffle",
    "DivergentBarrier",
    "EarlyRead",
    "LaunchError",
    "Misaligned",
    "OutOfBounds",
    "OutOfDeviceMemory",
    "RaceFound",
    "Trap",
    "Uninitialised",
    "Unsupported",
]


class LaunchError(Exception):
    """A launch that hardware would refuse, or whose result hardware would not promise."""


class BadArgument(LaunchError):
    """Arguments, grid or shared memory that do not fit the kernel or the hardware."""


class Unsupported(LaunchError):
    """An instruction that the interpreter does not know; never skipped in silence."""


class OutOfBounds(LaunchError):
    """An address outside every live allocation, or outside the window of its space."""


class Misaligned(LaunchError):
    """An address that is no multiple of the size of the access."""


class RaceFound(LaunchError):
    """Two threads touch one place, one of them writing, with nothing that orders them."""


class Uninitialised(LaunchError):
    """A read of memory or of a register that nobody has written."""


class EarlyRead(LaunchError):
    """A touch of bytes that an asynchronous copy may still be writing."""


class DivergentBarrier(LaunchError):
    """Threads wait at a barrier that others will never reach."""


class BadShuffle(LaunchError):
    """A shuffle, vote or tensor instruction that needs lanes which do not take part."""


class Trap(LaunchError):
    """The kernel executed `trap`."""


class OutOfDeviceMemory(LaunchError, MemoryError):
    """The device has not as many bytes left."""
