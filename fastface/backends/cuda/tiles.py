"""Shapes of the tiles that the sweeping kernels are compiled for (csrc/cuda/tile.cuh)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["STEP_BYTES", "Operand", "Precision", "TileShape", "choose_tile", "shared_limits"]

STEP_BYTES = 64  # of a row, brought to shared memory at a time
_WARP_ROWS = 64


class Operand(IntEnum):
    """How rows are packed (csrc/cuda/operands.cu)."""

    FLOAT32 = 0
    BF16 = 1
    TF32 = 2

    @property
    def itemsize(self) -> int:
        """Return the bytes of a value."""
        return 2 if self is Operand.BF16 else 4

    def padded_dim(self, dim: int) -> int:
        """Return the features of a packed row."""
        per_step = STEP_BYTES // self.itemsize
        return -(-dim // per_step) * per_step

    def n_steps(self, dim: int) -> int:
        """Return the 64-byte steps of a packed row."""
        return self.padded_dim(dim) * self.itemsize // STEP_BYTES


class Precision(IntEnum):
    """How scores are computed; none of them changes an answer."""

    FLOAT32 = 0  # the plain cores
    BF16 = 1
    TF32 = 2
    TF32X3 = 3  # three products of TF32 halves: nearly float32

    @property
    def operand(self) -> Operand:
        """Return what the rows are packed as."""
        if self is Precision.BF16:
            return Operand.BF16
        return Operand.TF32 if self is Precision.TF32 else Operand.FLOAT32


@dataclass(frozen=True)
class TileShape:
    """What tile.cuh is compiled with."""

    precision: Precision
    warps_m: int
    warps_n: int
    stages: int
    resident: bool

    @property
    def label(self) -> str:
        """Return what tables call it."""
        wide = "wide " if self.columns > self.rows else ""
        return f"{self.precision.name.lower()} {wide}{'resident' if self.resident else ''}".rstrip()

    @property
    def rows(self) -> int:
        """Return the rows of a tile."""
        return self.warps_m * _WARP_ROWS

    @property
    def columns(self) -> int:
        """Return the candidates of a tile."""
        wide = self.precision in (Precision.BF16, Precision.TF32)
        return self.warps_n * (64 if wide else 32)

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return 32 * self.warps_m * self.warps_n

    def shared_bytes(self, n_steps: int) -> int:
        """Return the dynamic shared memory of a block for rows of `n_steps` steps."""
        stage = (0 if self.resident else self.rows) + self.columns
        rows = n_steps * self.rows if self.resident else 0
        return (self.stages * stage + rows) * STEP_BYTES

    @property
    def blocks_per_sm(self) -> int:
        """Return how many blocks registers leave room for."""
        return 2 if self.threads <= 128 else 1

    @property
    def defines(self) -> dict[str, int]:
        """Return the macros to compile with."""
        return {
            "PRECISION": int(self.precision),
            "WARPS_M": self.warps_m,
            "WARPS_N": self.warps_n,
            "STAGES": self.stages,
            "RESIDENT": int(self.resident),
        }


def shared_limits(capability: int) -> tuple[int, int]:
    """Return the shared memory of a block and of a multiprocessor, for 80, 86, 90 and so on.

    From the table of compute capabilities in the CUDA C++ Programming Guide.  A block may have a
    kilobyte less than the multiprocessor.
    """
    total = {80: 164, 86: 100, 87: 164, 89: 100, 90: 228, 100: 228, 103: 228}.get(capability, 100)
    return (total - 1) << 10, total << 10


def choose_tile(precision: Precision, capability: int, n_steps: int) -> TileShape:
    """Return the tile for rows of `n_steps` steps on one architecture.

    Rows stay in shared memory where that leaves three stages of candidates, in a tile of twice the
    width (one block a multiprocessor in place of two) if need be; and then as many stages as fit.
    """
    _, total = shared_limits(capability)
    tensor = precision in (Precision.BF16, Precision.TF32)
    for resident, warps_n in (
        ((True, 2), (True, 4), (False, 2)) if tensor else ((True, 4), (False, 4))
    ):
        # What kernels declare for themselves and the driver keeps; with more, one block fewer fits.
        static = 1536 if tensor and warps_n == 2 else 6144
        for stages in (6, 5, 4, 3):
            shape = TileShape(precision, 2, warps_n, stages, resident)
            needed = shape.blocks_per_sm * (shape.shared_bytes(n_steps) + static)
            if needed <= total:
                return shape
    raise AssertionError("three stages fit everywhere")
