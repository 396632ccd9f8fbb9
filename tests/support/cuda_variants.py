"""Every variant of every CUDA kernel, compiled without a GPU: NVRTC and nvdisasm from wheels."""

from __future__ import annotations

import re
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastface.backends.cuda.sources import (
    COMPILE_OPTIONS,
    architecture,
    source_folder,
    source_of,
)
from fastface.backends.cuda.tiles import Operand, Precision, TileShape, choose_tile

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
SWEEPS = ("assign", "topk", "radius")
CAPACITY = 512
STORAGES = {"float16": 0, "float32": 1, "float64": 2}


@dataclass(frozen=True)
class Variant:
    """One family of kernels, compiled for one architecture with one set of macros."""

    family: str
    label: str
    capability: int
    defines: tuple[tuple[str, int], ...]
    tile: TileShape | None = None


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one kernel."""

    entry: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """A variant's machine code; `remarks` are what the compilers say beside how much is used."""

    variant: Variant
    cubin: bytes
    usages: tuple[Usage, ...]
    seconds: float
    remarks: tuple[str, ...] = ()


def _define(**defines: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(defines.items()))


def _sweep(family: str, precision: Precision, capability: int, dim: int) -> Variant:
    tile = choose_tile(precision, capability, precision.operand.n_steps(dim))
    defines = dict(tile.defines)
    if family == "topk":
        defines["CAPACITY"] = CAPACITY
    label = tile.label
    return Variant(family, label, capability, _define(**defines), tile)


def variants(capability: int) -> Iterator[Variant]:
    """Yield every variant for one architecture."""
    for precision in Precision:
        for family in SWEEPS:
            # The sweep is the same for all three; with rarer precisions one of them is enough.
            usual = precision in (Precision.FLOAT32, Precision.BF16)
            if usual or family == "assign" or capability == ARCHITECTURES[0]:
                yield _sweep(family, precision, capability, 512)
    # Longer rows than those of 512 features do not stay in shared memory, shorter ones in more.
    for precision in Precision:
        tiles = {_sweep("assign", precision, capability, 512).label}
        for dim in (128, 1024):
            variant = _sweep("assign", precision, capability, dim)
            if variant.label not in tiles:
                tiles.add(variant.label)
                yield variant
    yield _sweep("pairwise", Precision.FLOAT32, capability, 512)
    for layout in (0, 1):
        yield Variant("warp", ("bytes", "floats")[layout], capability, _define(LAYOUT=layout))
    for storage, code in STORAGES.items():
        for operand in Operand:
            yield Variant(
                "operands",
                f"{storage} to {operand.name.lower()}",
                capability,
                _define(X_TYPE=code, OPERAND=int(operand)),
            )
        yield Variant("lloyd", storage, capability, _define(X_TYPE=code))
        # Pairs of types are tried on one architecture: they only differ in how values are read.
        for other, other_code in STORAGES.items():
            if storage != other and capability != ARCHITECTURES[0]:
                continue
            pair = _define(X_TYPE=code, Y_TYPE=other_code)
            label = storage if storage == other else f"{storage}, {other}"
            for family in ("assign_decide", "radius_decide", "pairwise_decide", "rows", "seeding"):
                yield Variant(family, label, capability, pair)
            yield Variant("topk_decide", label, capability, (*_define(CAPACITY=CAPACITY), *pair))


# A front end's warning, such as that of a variable without a value; and ptxas on wgmma: products
# that it makes wait for each other, or waits and fences that it had to put in.
_REMARK = re.compile(r"warning|\(C7\d\d\d\)|#\d+-D")
_USAGE = re.compile(
    r"Compiling entry function '(?P<entry>\w+)' for.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores,"
    r" (?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


@cache
def compile_variant(variant: Variant) -> Compiled:
    """Compile to machine code; raises AssertionError with NVRTC's log where that fails."""
    from cuda.bindings import nvrtc

    name = f"{variant.family}.cu"
    _, program = nvrtc.nvrtcCreateProgram(
        source_of(variant.family).encode(), name.encode(), 0, [], []
    )
    options = [
        f"--gpu-architecture={architecture(variant.capability, dict(variant.defines))}",
        *COMPILE_OPTIONS,
        f"--include-path={source_folder()}",
        "--ptxas-options=-v",
        *(f"-D{key}={value}" for key, value in variant.defines),
    ]
    before = time.process_time()
    (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    seconds = time.process_time() - before
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    log = bytearray(size)
    nvrtc.nvrtcGetProgramLog(program, log)
    text = log.decode().rstrip("\0")
    assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS, f"{variant}:\n{text}"
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    cubin = bytearray(size)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(program)
    usages = []
    for found in _USAGE.finditer(text):
        shared = re.search(r"(\d+) bytes smem", found["rest"])
        usages.append(
            Usage(
                found["entry"],
                int(found["registers"]),
                int(found["stack"]),
                int(found["stores"]),
                int(found["loads"]),
                int(shared[1]) if shared else 0,
            )
        )
    remarks = tuple(line for line in text.splitlines() if _REMARK.search(line))
    return Compiled(variant, bytes(cubin), tuple(usages), seconds, remarks)


def _nvdisasm() -> Path:
    return Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin" / "nvdisasm"


def disassemble(compiled: Compiled, folder: Path) -> str:
    """Return the machine code as text."""
    file = folder / "kernel.cubin"
    file.write_bytes(compiled.cubin)
    done = subprocess.run(
        [str(_nvdisasm()), "-c", str(file)], check=True, capture_output=True, text=True
    )
    return done.stdout


# ptxas 13.0 puts up to three of these before `cp.async`, and one or more between its wait and
# `fence.proxy.async`, from sm_90 on also into kernels of two lines: a read of nothing into nothing.
_IDLE_LOAD = ("LDS", "RZ, [RZ]")


@dataclass(frozen=True)
class Loop:
    """Instructions of an innermost loop."""

    instructions: tuple[tuple[str, str], ...]

    @property
    def operations(self) -> tuple[str, ...]:
        """Return what they are called."""
        return tuple(op for op, _ in self.instructions)

    @property
    def idle_loads(self) -> int:
        """Return how many loads of shared memory read nothing for nobody."""
        return self.instructions.count(_IDLE_LOAD)

    @property
    def warpgroup(self) -> list[str]:
        """Return its products of warpgroups and what they wait for, in their order."""
        found = []
        for op, rest in self.instructions:
            if op.startswith(("HGMMA", "WARPGROUP")):
                barrier = rest if op.startswith("WARPGROUP") else rest[rest.rfind("gsb") :]
                found.append(f"{op} {barrier}".strip() if "gsb" in rest else op)
        return found

    def count(self, *prefixes: str) -> int:
        """Return how many operations begin with one of the prefixes."""
        return sum(op.startswith(prefixes) for op in self.operations)


_LINE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(?P<op>[A-Z][\w.]*)(?P<rest>[^;]*);")


def operations(code: str) -> list[tuple[str, str]]:
    """Return (operation, operands) of every instruction, labels as ("label", name)."""
    found = []
    for line in code.splitlines():
        if label := re.match(r"(\.L_\w+):", line.strip()):
            found.append(("label", label[1]))
        elif instruction := _LINE.search(line):
            found.append((instruction["op"], instruction["rest"].strip()))
    return found


def tensor_operation(tile: TileShape) -> str:
    """Return how the products of a tile begin in the machine code."""
    if tile.precision is Precision.FLOAT32:
        return "FFMA"
    return "HGMMA" if tile.warpgroup_columns else "HMMA"


def main_loop(code: str, heaviest: str) -> Loop:
    """Return the smallest loop that holds the most instructions of one kind."""
    steps = operations(code)
    places = {rest: i for i, (op, rest) in enumerate(steps) if op == "label"}
    loops = []
    for i, (op, rest) in enumerate(steps):
        target = re.search(r"\.L_\w+", rest)
        if op.startswith("BRA") and target and places.get(target[0], i) < i:
            body = steps[places[target[0]] : i + 1]
            loops.append(Loop(tuple(step for step in body if step[0] != "label")))
    most = max(loop.count(heaviest) for loop in loops)
    return min(
        (loop for loop in loops if loop.count(heaviest) == most),
        key=lambda loop: len(loop.operations),
    )
