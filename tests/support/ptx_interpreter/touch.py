"""Where an access goes and whether it may: bounds, alignment, written bytes, races.

Compiled by Numba, one pass over the lanes of an instruction.  Every touched cell carries two
stamps, one of its last writer and one of its last readers.  A stamp says which thread, at which
tick of the launch's clock, and whether several threads share it.  An access is ordered after a
stamp when the two threads are the same, or when the block (or, within one warp, the warp) has been
synchronised since; everything else with a write in it is a race.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = [
    "ATOMIC",
    "ATOMIC_READ",
    "OK",
    "READ",
    "READ_ONLY",
    "WRITE",
    "gather_bytes",
    "resolve_global",
    "resolve_window",
    "scatter",
    "scatter_bytes",
    "stamp_thread",
    "touch",
]

# Kinds of access; READ_ONLY is ld.global.nc, ATOMIC_READ a volatile or relaxed load.
READ, WRITE, ATOMIC, READ_ONLY, ATOMIC_READ = 0, 1, 2, 3, 4
# Answers.
OK, OUT_OF_BOUNDS, MISALIGNED, WRITE_WRITE, READ_WRITE, WRITE_READ = 0, 1, 2, 3, 4, 5
UNWRITTEN, PENDING, NOT_READ_ONLY = 6, 7, 8
# The state of a byte to which an asynchronous copy is under way (`memory.PENDING`).
PENDING_STATE = 2

# A stamp: thread << 32 | sharing << 30 | atomic << 29 | tick.
_TICKS = (1 << 29) - 1
_ATOMIC_BIT = 1 << 29
# Sharing: one thread; several of one warp; of one block; of several blocks.
_ALONE, _WARP, _BLOCK, _GRID = 0, 1, 2, 3

_jit = numba.njit(cache=True, nogil=True)


def stamp_thread(stamp: int) -> int:
    """Return the thread of a stamp, numbered over the grid with padded blocks."""
    return int(stamp) >> 32


@_jit
def resolve_global(
    addresses: Any,
    displacement: int,
    active: Any,
    origin: int,
    nbytes: int,
    starts: Any,
    ends: Any,
    offsets: Any,
    answer: Any,
) -> int:
    """Write the place of every active lane's access into `offsets`; return OK or what is wrong."""
    low, high = np.int64(0), np.int64(0)
    for lane in range(len(offsets)):
        if not active[lane]:
            offsets[lane] = 0
            continue
        place = np.int64(addresses[lane]) + displacement - origin
        if place < low or place + nbytes > high:
            k = np.searchsorted(starts, place, side="right") - 1
            if k < 0 or place + nbytes > ends[k]:
                answer[0] = lane
                answer[1] = place + origin
                return OUT_OF_BOUNDS
            low, high = starts[k], ends[k]
        if place & (nbytes - 1):
            answer[0] = lane
            answer[1] = place + origin
            return MISALIGNED
        offsets[lane] = place
    return OK


@_jit
def resolve_window(
    addresses: Any,
    displacement: int,
    active: Any,
    bases: Any,
    nbytes: int,
    size: int,
    offsets: Any,
    answer: Any,
) -> int:
    """Do the same for shared and local memory, where a lane has a window of `size` bytes."""
    for lane in range(len(offsets)):
        if not active[lane]:
            offsets[lane] = 0
            continue
        place = np.int64(addresses[lane]) + displacement
        if place < 0 or place + nbytes > size:
            answer[0] = lane
            answer[1] = place
            return OUT_OF_BOUNDS
        if place & (nbytes - 1):
            answer[0] = lane
            answer[1] = place
            return MISALIGNED
        offsets[lane] = place + bases[lane]
    return OK


@numba.njit(inline="always")
def _relation(other: int, me: int, block_lanes: int) -> int:
    if other == me:
        return _ALONE
    if other >> 5 == me >> 5:
        return _WARP
    return _BLOCK if other // block_lanes == me // block_lanes else _GRID


@numba.njit(inline="always")
def _is_ordered(
    stamp: int, me: int, lane: int, block_lanes: int, launched: int, sync: Any, fences: Any
) -> bool:
    tick = stamp & _TICKS
    if tick < launched:
        return True
    other = stamp >> 32
    sharing = max((stamp >> 30) & 3, _relation(other, me, block_lanes))
    if sharing == _ALONE:
        return True
    if sharing == _WARP and sync[1, lane] > tick:
        return True
    if sharing <= _BLOCK and sync[0, lane] > tick:
        return True
    # Across blocks: published by the writer's __threadfence().
    return len(fences) > 0 and fences[other] > tick


@numba.njit(inline="always")
def _joined(stamp: int, me: int, now: int, is_atomic: int, block_lanes: int, is_new: bool) -> int:
    sharing = 0
    if not is_new:
        sharing = max((stamp >> 30) & 3, _relation(stamp >> 32, me, block_lanes))
    return (np.int64(me) << 32) | (sharing << 30) | is_atomic | now


@_jit
def touch(
    kind: int,
    offsets: Any,
    active: Any,
    nbytes: int,
    state: Any,
    writers: Any,
    readers: Any,
    shift: int,
    threads: Any,
    block_lanes: int,
    sync: Any,
    fences: Any,
    launched: int,
    now: int,
    answer: Any,
) -> int:
    """Check an access of every active lane against the stamps, then leave its own."""
    is_read = kind in (READ, READ_ONLY)
    atomic_bit = _ATOMIC_BIT if kind in (ATOMIC, ATOMIC_READ) else 0
    for lane in range(len(offsets)):
        if not active[lane]:
            continue
        place, me = offsets[lane], threads[lane]
        for byte in range(place, place + nbytes):
            if kind == WRITE:
                if state[byte] == PENDING_STATE:
                    answer[0], answer[1] = lane, byte
                    return PENDING
                state[byte] = 1
            elif state[byte] != 1:
                answer[0], answer[1] = lane, byte
                return UNWRITTEN if state[byte] == 0 else PENDING
        for cell in range(place >> shift, ((place + nbytes - 1) >> shift) + 1):
            writer = writers[cell]
            is_after = _is_ordered(writer, me, lane, block_lanes, launched, sync, fences)
            if not is_after and not (atomic_bit and writer & _ATOMIC_BIT):
                answer[0], answer[1], answer[2] = lane, cell << shift, writer
                return READ_WRITE if is_read else WRITE_WRITE
            if kind == READ_ONLY:
                if writer & _TICKS >= launched:
                    answer[0], answer[1], answer[2] = lane, cell << shift, writer
                    return NOT_READ_ONLY
                continue
            reader = readers[cell]
            is_last = _is_ordered(reader, me, lane, block_lanes, launched, sync, fences)
            if is_read:
                readers[cell] = _joined(reader, me, now, 0, block_lanes, is_last)
                continue
            if not is_last and kind != ATOMIC_READ:
                answer[0], answer[1], answer[2] = lane, cell << shift, reader
                return WRITE_READ
            writers[cell] = _joined(writer, me, now, atomic_bit, block_lanes, is_after)
    return OK


@_jit
def scatter(view: Any, offsets: Any, active: Any, shift: int, step: int, values: Any) -> None:
    """Store one element of every active lane."""
    for lane in range(len(offsets)):
        if active[lane]:
            view[(offsets[lane] >> shift) + step] = values[lane]


@_jit
def gather_bytes(data: Any, offsets: Any, active: Any, counts: Any, out: Any) -> None:
    """Read ``counts[lane]`` bytes of every active lane into rows of `out`; zeros behind them."""
    for lane in range(len(offsets)):
        if active[lane]:
            for byte in range(out.shape[1]):
                out[lane, byte] = data[offsets[lane] + byte] if byte < counts[lane] else 0


@_jit
def scatter_bytes(data: Any, offsets: Any, active: Any, rows: Any) -> None:
    """Store the row of every active lane."""
    for lane in range(len(offsets)):
        if active[lane]:
            for byte in range(rows.shape[1]):
                data[offsets[lane] + byte] = rows[lane, byte]
