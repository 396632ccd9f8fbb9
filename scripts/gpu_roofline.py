"""What the compiled sweep can reach on GPUs that nobody here has: a roofline, not a measurement.

A tile costs as long as the busiest part of the multiprocessor needs for it: the tensor cores (or
plain cores), the issue of instructions, the half-rate integer and comparison units, shared memory,
or the L2 cache.  That supposes that the parts overlap, for which two independent blocks, or eight
warps, share a multiprocessor; a single block of warpgroups pays for its epilogue.  A call is
bounded by whole waves of blocks, by reading rows from memory once, and by the bus to the host where
packed rows do not fit into memory.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from cuda_variants import Compiled, main_loop, operations, tensor_operation

from fastface.backends.cuda.tiles import Precision, TileShape, choose_tile

_ALU = ("FMNMX", "FSETP", "FSEL", "SEL", "ISETP", "LOP3", "PLOP3", "IADD3", "SHF", "LEA", "PRMT")


@dataclass(frozen=True)
class Device:
    """What a GPU's vendor and published microbenchmarks say; rates are a clock and SM."""

    name: str
    capability: int
    sms: int
    gigahertz: float
    bf16: int  # fused multiply-adds of the tensor cores, sums in float32, no sparsity
    reachable: float  # the share of it that mma.sync gets; wgmma gets all
    plain: int  # float32 fused multiply-adds
    l2_bytes: float
    memory_gigabytes: float
    memory_rate: float  # gigabytes a second
    bus_rate: float  # likewise, from the host

    @property
    def peak(self) -> float:
        """Return the dense BF16 peak in TFLOP/s."""
        return 2e-3 * self.bf16 * self.sms * self.gigahertz

    def rate(self, tile: TileShape) -> float:
        """Return multiply-adds a clock and SM; TF32 has half of BF16's."""
        if tile.precision is Precision.FLOAT32:
            return self.plain
        share = 1.0 if tile.warpgroup_columns else self.reachable
        return self.bf16 * share / (1 if tile.precision is Precision.BF16 else 2)


DEVICES = (
    Device("A100", 80, 108, 1.41, 1024, 1.0, 64, 47, 80, 2039, 25),
    Device("L4", 89, 58, 2.04, 512, 1.0, 128, 16, 24, 300, 25),
    Device("RTX 4090", 89, 128, 2.52, 256, 1.0, 128, 16, 24, 1008, 25),
    Device("H100", 90, 132, 1.83, 2048, 0.62, 128, 24, 80, 3350, 55),
    Device("H200", 90, 132, 1.83, 2048, 0.62, 128, 24, 141, 4800, 55),
    Device("B200", 100, 148, 1.86, 4096, 0.25, 128, 36, 192, 8000, 55),
)


@dataclass(frozen=True)
class Code:
    """Instructions of a warp, counted in the machine code."""

    tile: TileShape
    step_instructions: int  # of a 64-byte step
    step_alu: int
    idle_loads: int  # of a step; each keeps shared memory busy for a clock
    tensor: int  # HMMA or FFMA of a step
    tile_instructions: int  # of an epilogue that leaves nothing out
    tile_alu: int


def measure_code(compiled: Compiled, text: str) -> Code:
    """Count the instructions of a sweep's main loop and of what is done once a tile."""
    tile = compiled.variant.tile
    assert tile is not None
    kind = tensor_operation(tile)
    inner = main_loop(text, kind)
    # The loop over tiles is the smallest that holds the main loop and more.
    steps = operations(text)
    places = {rest: i for i, (op, rest) in enumerate(steps) if op == "label"}
    outer: list[str] | None = None
    for i, (op, rest) in enumerate(steps):
        target = re.search(r"\.L_\w+", rest)
        if not op.startswith("BRA") or target is None or places.get(target[0], i) >= i:
            continue
        body = [o for o, _ in steps[places[target[0]] : i + 1] if o != "label"]
        holds = sum(o.startswith(kind) for o in body) >= inner.count(kind)
        longer = len(body) > len(inner.operations) + 50
        if holds and longer and (outer is None or len(body) < len(outer)):
            outer = body
    assert outer is not None, "no loop over tiles in the machine code"
    alu = sum(o.startswith(_ALU) for o in outer) - inner.count(*_ALU)
    return Code(
        tile,
        len(inner.operations),
        inner.count(*_ALU),
        inner.idle_loads,
        inner.count(kind),
        len(outer) - len(inner.operations),
        alu,
    )


def visited_share(tile: TileShape, n_centers: int) -> float:
    """Return how much of an epilogue's instructions run, on average over the tiles.

    All of what starts the sums and finds the maxima: a quarter of it, as counted.  The rest offers
    scores to the best three, and is left out where no lane of a warp has one that may matter: at
    tile t, a new best turns up in 1 / t of a warp's 8 rows for each of the 8 row slots, somewhere
    among the columns; 10 / t allows for near ties.
    """
    slots = tile.columns // tile.warps_n // 4
    n_tiles = math.ceil(n_centers / tile.columns)
    offered = sum(min(slots, 10 / t) for t in range(1, n_tiles + 1)) / (n_tiles * slots)
    return 0.25 + 0.75 * offered


def tile_clocks(device: Device, code: Code, dim: int, n_centers: int) -> dict[str, float]:
    """Return the clocks that each part of a multiprocessor needs for one tile."""
    tile = code.tile
    n_steps = tile.precision.operand.n_steps(dim)
    warps = tile.threads // 32
    per_step = 64 // tile.precision.operand.itemsize
    products = tile.rows * tile.columns * n_steps * per_step
    repeated = 3 if tile.precision is Precision.TF32X3 else 1
    visited = visited_share(tile, n_centers)
    instructions = warps * (code.step_instructions * n_steps + visited * code.tile_instructions)
    alu = warps * (code.step_alu * n_steps + visited * code.tile_alu)
    warp_columns = tile.columns // tile.warps_n
    # By ldmatrix, or by wgmma for four warps at once; plain cores broadcast.
    readers = warps // 4 if tile.warpgroup_columns else warps
    read = readers * n_steps * 64 * (64 + warp_columns)
    idle_loads = warps * n_steps * code.idle_loads
    # A warpgroup does not multiply while it is in the epilogue; another block's do.
    alone = tile.warpgroup_columns and tile.blocks_per_sm == 1
    idle = warps * visited * code.tile_instructions / 4 if alone else 0.0
    fetched = n_steps * 64 * (tile.columns + (0 if tile.resident else tile.rows))
    return {
        "products": repeated * products / device.rate(tile) + idle,
        "issue": instructions / 4,
        "comparisons": alu / 2,  # 16 lanes a scheduler
        "shared memory": (read + fetched) / 128 + idle_loads,
        "L2": fetched / device.l2_bytes,
    }


def predict(device: Device, code: Code, n: float, n_centers: int, dim: int) -> tuple[float, str]:
    """Return TFLOP/s of one assignment of n rows, and what bounds it."""
    tile = code.tile
    clocks = tile_clocks(device, code, dim, n_centers)
    busiest = max(clocks, key=lambda part: clocks[part])
    n_tiles = math.ceil(n_centers / tile.columns)
    blocks = math.ceil(n / tile.rows)
    at_once = device.sms * tile.blocks_per_sm
    waves = math.ceil(blocks / at_once) * tile.blocks_per_sm  # blocks one after another on an SM
    computing = waves * n_tiles * clocks[busiest] / (device.gigahertz * 1e9)
    row_bytes = tile.precision.operand.n_steps(dim) * 64
    reading = n * row_bytes / (device.memory_rate * 1e9)
    fits = n * row_bytes < 0.8 * device.memory_gigabytes * 1e9
    # From the host come the rows themselves, in float32.
    streaming = 0.0 if fits else n * dim * 4 / (device.bus_rate * 1e9)
    bounds = {busiest: computing, "memory": reading, "bus": streaming}
    slowest = max(bounds, key=lambda part: bounds[part])
    return 2e-12 * n * n_centers * dim / bounds[slowest], slowest


def code_for(
    codes: dict[tuple[int, str], Code], device: Device, precision: Precision, dim: int
) -> Code:
    """Return the code that `choose_tile` would launch."""
    tile = choose_tile(precision, device.capability, precision.operand.n_steps(dim))
    code = codes[device.capability, tile.label]
    return Code(tile, *(getattr(code, f) for f in list(code.__dataclass_fields__)[1:]))


def roofline_table(codes: dict[tuple[int, str], Code]) -> str:
    """Return predicted TFLOP/s, a line for each GPU and shape."""
    lines = [
        "| GPU (BF16 peak) | d | K | BF16, n = 1M | share of peak | bound by | BF16, n = 1B"
        " | bound by | TF32, n = 1M | 3xTF32, n = 1M |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for device in DEVICES:
        for dim in (128, 512):
            for n_centers in (1024, 8192, 32768):
                found = {
                    p: predict(device, code_for(codes, device, p, dim), 1e6, n_centers, dim)
                    for p in (Precision.BF16, Precision.TF32, Precision.TF32X3)
                }
                large, large_bound = predict(
                    device, code_for(codes, device, Precision.BF16, dim), 1e9, n_centers, dim
                )
                small, bound = found[Precision.BF16]
                lines.append(
                    f"| {device.name} ({device.peak:.0f}) | {dim} | {n_centers} | {small:.0f}"
                    f" | {small / device.peak:.0%} | {bound} | {large:.0f} | {large_bound}"
                    f" | {found[Precision.TF32][0]:.0f} | {found[Precision.TF32X3][0]:.0f} |"
                )
    return "\n".join(lines)
