"""The primitives of dlib's serialisation: integers, reals, text and tensors from a byte string.

Nothing in a file is believed before it is checked, and nothing is allocated by a size the file
merely claims: every read is bounded by the bytes that are there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastface.errors import ModelError

__all__ = ["ByteStream"]

_NEGATIVE = 0x80
_SIZE_MASK = 0x0F
_MAX_INTEGER_BYTES = 8
_MAX_TEXT_BYTES = 256
_SPECIAL_REALS = {32000: math.inf, 32001: -math.inf, 32002: math.nan}
_TENSOR_VERSION = 2
_ALIAS_VERSION = 1

Shape = tuple[int, int, int, int]


class ByteStream:
    """Reads dlib's primitives one after another.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What to call it in errors.

    Notes
    -----
    Every method takes `what`, the thing being read, for errors, and raises `ModelError` with the
    byte offset where the file ends early or says something impossible.
    """

    def __init__(self, data: bytes, *, name: str) -> None:
        self._data = data
        self._name = name
        self._position = 0

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        return self._position

    @property
    def remaining(self) -> int:
        """How many bytes have not been read yet."""
        return len(self._data) - self._position

    def error(self, problem: str) -> ModelError:
        """Build the error that says where in which file something is wrong."""
        return ModelError(f"{self._name} is not a readable dlib network: {problem}")

    def integer(self, what: str, *, low: int = -(2**63), high: int = 2**63 - 1) -> int:
        """Read a variable-length integer that must lie in ``[low, high]``."""
        start = self._position
        control = self._take(1, what)[0]
        size = control & _SIZE_MASK
        if control & ~(_NEGATIVE | _SIZE_MASK) or not 1 <= size <= _MAX_INTEGER_BYTES:
            raise self.error(f"byte {start} ({control:#04x}) cannot begin the integer for {what}")
        value = int.from_bytes(self._take(size, what), "little")
        if control & _NEGATIVE:
            value = -value
        if not low <= value <= high:
            raise self.error(f"{what} at byte {start} is {value}, outside {low} to {high}")
        return value

    def real(self, what: str) -> float:
        """Read a float or double: a mantissa and an exponent of two."""
        start = self._position
        mantissa = self.integer(what)
        exponent = self.integer(what, low=-32002, high=32002)
        if exponent in _SPECIAL_REALS:
            return _SPECIAL_REALS[exponent]
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.error(f"{what} at byte {start} is {mantissa}·2^{exponent}") from None

    def finite_real(self, what: str) -> float:
        """Read a float or double that must be a number."""
        start = self._position
        value = self.real(what)
        if not math.isfinite(value):
            raise self.error(f"{what} at byte {start} is {value}")
        return value

    def flag(self, what: str) -> bool:
        """Read a bool: the character 0 or 1."""
        start = self._position
        byte = self._take(1, what)
        if byte not in (b"0", b"1"):
            raise self.error(f"{what} at byte {start} is {byte!r}, neither '0' nor '1'")
        return byte == b"1"

    def text(self, what: str) -> str:
        """Read a short ASCII string."""
        start = self._position
        size = self.integer(f"the length of {what}", low=0, high=_MAX_TEXT_BYTES)
        raw = self._take(size, what)
        if not raw.isascii() or not raw.decode("ascii").isprintable():
            raise self.error(f"{what} at byte {start} is {raw!r}, not a name")
        return raw.decode("ascii")

    def tensor(self, what: str) -> NDArray[np.float32]:
        """Read a tensor of float32 in four dimensions (samples, channels, rows, columns)."""
        self._version(_TENSOR_VERSION, what)
        shape = self._shape(what)
        start = self._position
        # Python integers: four dimensions from a hostile file cannot overflow them.
        raw = self._take(4 * math.prod(shape), f"{what}, declared as {shape} float32")
        values = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(shape)
        if not np.isfinite(values).all():
            raise self.error(f"{what} at byte {start} holds values that are not finite")
        return values

    def alias(self, what: str) -> Shape:
        """Read an alias: the shape of a piece of another tensor."""
        self._version(_ALIAS_VERSION, what)
        return self._shape(what)

    def finish(self) -> None:
        """Refuse bytes after the end."""
        if self.remaining:
            raise self.error(
                f"{self.remaining} bytes follow the end of the network at byte {self._position}"
            )

    def _version(self, expected: int, what: str) -> None:
        self.integer(f"the version of {what}", low=expected, high=expected)

    def _shape(self, what: str) -> Shape:
        n, channels, rows, columns = (
            self.integer(f"dimension {axis} of {what}", low=0) for axis in range(4)
        )
        return n, channels, rows, columns

    def _take(self, size: int, what: str) -> bytes:
        if size > self.remaining:
            raise self.error(
                f"it ends inside {what}: {size} bytes wanted at byte {self._position}, "
                f"{self.remaining} left; is the file truncated?"
            )
        taken = self._data[self._position : self._position + size]
        self._position += size
        return taken
