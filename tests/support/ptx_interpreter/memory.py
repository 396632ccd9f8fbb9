"""Device memory: one flat heap of bytes, every allocation with a red zone behind it."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ptx_interpreter.errors import LaunchError, OutOfBounds, OutOfDeviceMemory

__all__ = ["ALIGNMENT", "ORIGIN", "SHARED_ORIGIN", "DeviceArray", "DeviceMemory", "Space"]

# Device addresses start above 32 bits, so that a pointer cut to 32 bits is found.
ORIGIN = 0x7_0000_0000
# Generic addresses of shared memory start here.
SHARED_ORIGIN = 0x7F00_0000_0000
ALIGNMENT = 256
_RED_ZONE = 256
UNWRITTEN, WRITTEN, PENDING = 0, 1, 2


class Space:
    """Bytes, what is known of each, and who touched them last.

    Attributes
    ----------
    data, state : ndarray of uint8
        The bytes; and UNWRITTEN, WRITTEN or PENDING (an asynchronous copy is under way) for each.
    shadows : dict
        For a granule of 1 << key bytes, the stamps of the last writer and the last readers.
    """

    def __init__(self, nbytes: int) -> None:
        self.data = np.zeros(nbytes, np.uint8)
        self.state = np.zeros(nbytes, np.uint8)
        self.shadows: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def shadow(self, shift: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the stamps of writers and of readers, made at the first use."""
        if shift not in self.shadows:
            cells = (len(self.data) >> shift) + 1
            self.shadows[shift] = (np.zeros(cells, np.int64), np.zeros(cells, np.int64))
        return self.shadows[shift]


class DeviceMemory(Space):
    """The memory of one device.

    Parameters
    ----------
    capacity : int
        Bytes of the device; pages that nobody touches cost nothing.
    """

    def __init__(self, capacity: int = 256 << 20) -> None:
        super().__init__(ALIGNMENT + 2 * capacity)
        self.capacity = capacity
        self.used = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.ticks = 1  # the clock of the race detector goes on from launch to launch
        self.module_variables: dict[int, dict[str, int]] = {}

    @property
    def allocations(self) -> dict[int, int]:
        """Return the bytes of every live allocation by its address."""
        pairs = zip(self._starts, self._ends, strict=True)
        return {start + ORIGIN: end - start for start, end in pairs}

    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return sorted starts and ends of the live allocations, relative to the origin."""
        return np.array(self._starts, np.int64), np.array(self._ends, np.int64)

    def allocate(self, nbytes: int) -> int:
        """Return the address of `nbytes` fresh, unwritten bytes."""
        if self.used + nbytes > self.capacity:
            raise OutOfDeviceMemory(
                f"{nbytes} bytes asked, {self.capacity - self.used} of {self.capacity} are free"
            )
        start = self._gap(nbytes)
        place = bisect.bisect(self._starts, start)
        self._starts.insert(place, start)
        self._ends.insert(place, start + nbytes)
        self.used += nbytes
        # What a kernel reads unwritten must not look like a plausible zero.
        self.data[start : start + nbytes] = 0xCD
        self.state[start : start + nbytes] = UNWRITTEN
        return start + ORIGIN

    def _gap(self, nbytes: int) -> int:
        """Return the first place that fits, a red zone away from its neighbours."""
        start = ALIGNMENT
        for other_start, other_end in zip(self._starts, self._ends, strict=True):
            if start + nbytes + _RED_ZONE <= other_start:
                break
            start = -(-(other_end + _RED_ZONE) // ALIGNMENT) * ALIGNMENT
        if start + nbytes > len(self.data):
            raise OutOfDeviceMemory(f"{nbytes} bytes asked; the free memory is in smaller pieces")
        return start

    def release(self, address: int) -> None:
        """Give an allocation back; touching it afterwards is an error."""
        start = address - ORIGIN
        place = bisect.bisect_left(self._starts, start)
        if place == len(self._starts) or self._starts[place] != start:
            raise LaunchError(f"release of {address:#x}, which is no live allocation")
        self.used -= self._ends[place] - start
        self.data[start : self._ends[place]] = 0xDD
        del self._starts[place], self._ends[place]

    def _slice(self, address: int, nbytes: int) -> slice:
        start = address - ORIGIN
        place = bisect.bisect(self._starts, start) - 1
        if nbytes and (place < 0 or start + nbytes > self._ends[place]):
            raise OutOfBounds(f"copy of {nbytes} bytes at {address:#x}: {self.describe(address)}")
        return slice(start, start + nbytes)

    def describe(self, address: int) -> str:
        """Say in words where `address` lies."""
        start = address - ORIGIN
        place = bisect.bisect(self._starts, start) - 1
        if place < 0:
            return "below every allocation"
        offset, nbytes = start - self._starts[place], self._ends[place] - self._starts[place]
        where = "inside" if offset < nbytes else f"{offset - nbytes} bytes behind the end of"
        at = self._starts[place] + ORIGIN
        return f"offset {offset}, {where} the allocation of {nbytes} bytes at {at:#x}"

    def read(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Return a copy of bytes."""
        return self.data[self._slice(address, nbytes)].copy()

    def write(self, address: int, values: NDArray[Any]) -> None:
        """Copy an array to the device."""
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        target = self._slice(address, flat.size)
        self.data[target] = flat
        self.state[target] = WRITTEN

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy bytes on the device, with what is known of them."""
        to, of = self._slice(target, nbytes), self._slice(source, nbytes)
        self.data[to] = self.data[of].copy()
        self.state[to] = self.state[of].copy()

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return an array that nobody has written."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        kind = np.dtype(dtype)
        return DeviceArray(
            self, self.allocate(int(np.prod(shape, dtype=np.int64)) * kind.itemsize), shape, kind
        )

    def put(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of a host array on the device."""
        array = self.empty(values.shape, values.dtype)
        self.write(array.ptr, values)
        return array

    def zeros(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return an array of zeros."""
        return self.put(np.zeros(shape, dtype))

    def full(self, shape: int | tuple[int, ...], value: Any, dtype: DTypeLike) -> DeviceArray:
        """Return an array of one value."""
        return self.put(np.full(shape, value, dtype))


class DeviceArray:
    """A C-contiguous array on a `DeviceMemory`."""

    def __init__(
        self, memory: DeviceMemory, ptr: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.memory, self.ptr, self.shape, self.dtype = memory, ptr, shape, dtype

    @property
    def nbytes(self) -> int:
        """Return the size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def view(self) -> NDArray[Any]:
        """Return the device's own bytes as an array; writes through it count as unwritten."""
        target = self.memory._slice(self.ptr, self.nbytes)
        return self.memory.data[target].view(self.dtype).reshape(self.shape)

    def get(self) -> NDArray[Any]:
        """Return a copy on the host; unwritten elements hold 0xCD bytes."""
        return self.view.copy()

    def set(self, values: NDArray[Any]) -> None:
        """Overwrite the whole array from the host."""
        if values.shape != self.shape or values.dtype != self.dtype:
            raise LaunchError(f"{values.dtype}{values.shape} into {self.dtype}{self.shape}")
        self.memory.write(self.ptr, values)

    @property
    def written(self) -> NDArray[np.bool_]:
        """Return which elements have been written, by host or device."""
        state = self.memory.state[self.memory._slice(self.ptr, self.nbytes)]
        per_element = state.reshape(*self.shape, self.dtype.itemsize) == WRITTEN
        return np.asarray(per_element.all(axis=-1))

    def free(self) -> None:
        """Give the memory back."""
        self.memory.release(self.ptr)
