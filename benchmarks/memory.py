"""Memory of this process: what is resident, and what malloc has handed out."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["growth", "malloc_bytes", "rss_bytes", "trim"]

_LIBC = ctypes.CDLL(None)


class _Mallinfo2(ctypes.Structure):
    """glibc's ``struct mallinfo2``: the sums over all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def malloc_bytes() -> int:
    """Return the bytes that malloc has handed out; 0 where it cannot say (glibc before 2.33).

    Holes between them are not counted: a leak grows this, the allocator alone does not.
    """
    if not hasattr(_LIBC, "mallinfo2"):
        return 0
    _LIBC.mallinfo2.restype = _Mallinfo2
    found = _LIBC.mallinfo2()
    return int(found.uordblks + found.hblkhd)


def trim() -> None:
    """Let malloc give every free page back to the system, where it can."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def growth(name: str, sampled: Sequence[int], seconds: float) -> dict[str, float]:
    """Say how a kind of memory went after the first quarter, which warms up.

    Medians of its first and last third, since single samples see calls at their peak; and the slope
    of the line through all of them.
    """
    later = sampled[len(sampled) // 4 :]
    if not any(later):
        return {}
    third = max(1, len(later) // 3)
    first, last = statistics.median(later[:third]), statistics.median(later[-third:])
    slope = float(np.polyfit(np.arange(len(later)), later, 1)[0]) if len(later) > 1 else 0.0
    return {
        f"{name}_first": first,
        f"{name}_last": last,
        f"{name}_growth": last / first - 1,
        f"{name}_slope": slope * len(sampled) / seconds * 3600 / first,  # share an hour
    }
