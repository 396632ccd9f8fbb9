"""Shapes of the tiles that the sweeping kernels are compiled for (csrc/cuda/tile.cuh)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["STEP_BYTES", "Operand", "Precision", "TileShape", "choose_tile", "shared_limits"]

STEP_BYTES = 64  # of a row, brought to shared memory at a time
_WARP_ROWS = 64
_SWIZZLE_BYTES = 512  # what warpgroups read begins at a multiple of it


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
    """What tile.cuh is compiled with.

    With `warpgroup_columns`, four warps at a time multiply by wgmma, as wide as that.
    """

    precision: Precision
    warps_m: int
    warps_n: int
    stages: int
    resident: bool
    warpgroup_columns: int = 0

    @property
    def label(self) -> str:
        """Return what tables call it."""
        words = [
            self.precision.name.lower(),
            "wgmma" if self.warpgroup_columns else "",
            "wide" if self.columns > self.rows else "",
            "resident" if self.resident else "",
        ]
        return " ".join(word for word in words if word)

    @property
    def rows(self) -> int:
        """Return the rows of a tile."""
        return self.warps_m * (16 if self.warpgroup_columns else _WARP_ROWS)

    @property
    def columns(self) -> int:
        """Return the candidates of a tile."""
        if self.warpgroup_columns:
            return self.warpgroup_columns
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
        start = _SWIZZLE_BYTES if self.warpgroup_columns else 0
        return (self.stages * stage + rows) * STEP_BYTES + start

    @property
    def blocks_per_sm(self) -> int:
        """Return how many blocks registers leave room for."""
        if self.warpgroup_columns:
            return 2 if self.warpgroup_columns <= 128 else 1
        return 2 if self.threads <= 128 else 1

    @property
    def defines(self) -> dict[str, int]:
        """Return the macros to compile with."""
        defines = {
            "PRECISION": int(self.precision),
            "WARPS_M": self.warps_m,
            "WARPS_N": self.warps_n,
            "STAGES": self.stages,
            "RESIDENT": int(self.resident),
        }
        if self.warpgroup_columns:
            defines["WARPGROUP_COLUMNS"] = self.warpgroup_columns
        return defines


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
    for shape in _tiles(precision, capability):
        # What kernels declare for themselves and the driver keeps; with more, one block fewer fits.
        static = 1536 if shape.threads <= 128 else 4096 if shape.blocks_per_sm == 2 else 6144
        if shape.blocks_per_sm * (shape.shared_bytes(n_steps) + static) <= total:
            return shape
    raise AssertionError("three stages fit everywhere")


def _tiles(precision: Precision, capability: int) -> Iterator[TileShape]:
    """Yield tiles, the best first."""
    tensor = precision in (Precision.BF16, Precision.TF32)
    if tensor and capability == 90:
        # Only Hopper has wgmma.  Two steps are read from at once, which takes a stage more.
        for resident, columns in ((True, 128), (True, 256), (False, 256)):
            for stages in (6, 5, 4):
                yield TileShape(precision, 8, 1, stages, resident, columns)
        return
    for resident, warps_n in (
        ((True, 2), (True, 4), (False, 2)) if tensor else ((True, 4), (False, 4))
    ):
        for stages in (6, 5, 4, 3):
            yield TileShape(precision, 2, warps_n, stages, resident)
