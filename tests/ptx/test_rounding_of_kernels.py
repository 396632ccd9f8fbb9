"""Every rounding of the kernels is one that their sources ask for: none is contracted or flushed.

A product and a sum that the compiler joins are rounded once instead of twice, and bits differ from
the definition's.  The interpreter would execute either; so the text is looked at.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cuda_variants import Variant, compile_variant, disassemble, operations
from kernel_engines import sources
from ptx_interpreter.nvrtc import compile_ptx

from fastface.backends.cuda.sources import COMPILE_OPTIONS

pytestmark = pytest.mark.usefixtures("nvrtc")

ROWS = {"X_TYPE": 1, "Y_TYPE": 1}
SWEEP = {"WARPS_M": 2, "STAGES": 3, "RESIDENT": 0}
BF16 = SWEEP | {"PRECISION": 1, "WARPS_N": 2}
FLOAT32 = SWEEP | {"PRECISION": 0, "WARPS_N": 4}
# 8 x 8 sums of a thread, 16 features of a step, the way that is not taken at its end included.
FUSED = 8 * 8 * 16
# File, macros, and fused multiply-adds that the source asks for: those of the plain cores.
FILES = {
    "operands": (ROWS | {"OPERAND": 1}, 0),
    "assign": (BF16, 0),
    "assign float32": (FLOAT32, FUSED),
    "assign wgmma": (
        BF16 | {"WARPS_M": 8, "WARPS_N": 1, "STAGES": 4, "WARPGROUP_COLUMNS": 128},
        0,
    ),
    "assign_decide": (ROWS, 0),
    "topk": (BF16 | {"CAPACITY": 512}, 0),
    "topk_decide": (ROWS | {"CAPACITY": 512}, 0),
    "radius": (BF16, 0),
    "radius_decide": (ROWS, 0),
    "pairwise": (FLOAT32, FUSED),
    "pairwise_decide": (ROWS, 0),
    "lloyd": (ROWS, 0),
    "rows": (ROWS, 0),
    "seeding": (ROWS, 0),
    "warp": ({"LAYOUT": 1}, 0),
}
# Arithmetic that names no rounding may be contracted later; approximations are not specified.
LOOSE = re.compile(
    r"\b(?:(?:add|sub|mul|mad|div|sqrt|rcp)\.f(?:32|64)|\w+(?:\.\w+)*\.(?:ftz|approx|full)\b[.\w]*)"
)
FUSED_OPERATION = re.compile(r"\b(?:fma|mad)\.(?:rn|rz|rm|rp)\.f(?:32|64)\b")


def text_of(name: str, defines: dict[str, int], options: tuple[str, ...] = COMPILE_OPTIONS) -> str:
    files = sources()
    return compile_ptx(
        files[f"{name.split()[0]}.cu"],
        arch="compute_90a" if "WARPGROUP_COLUMNS" in defines else "compute_80",
        options=[*options, *(f"-D{key}={value}" for key, value in defines.items())],
        headers={n: text for n, text in files.items() if n.endswith(".cuh")},
    )


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_contracted_flushed_or_approximated(name: str) -> None:
    defines, fused = FILES[name]
    ptx = text_of(name, defines)
    assert not LOOSE.findall(ptx)
    found = FUSED_OPERATION.findall(ptx)
    assert not [operation for operation in found if "f64" in operation]
    assert (len(found) > 0) == (fused > 0)
    assert len(found) % (fused or 1) == 0, "fused multiply-adds beside those of the plain cores"


@pytest.mark.parametrize(
    ("option", "instead", "pattern"),
    [
        ("--fmad=false", "--fmad=true", FUSED_OPERATION),
        ("--ftz=false", "--ftz=true", LOOSE),
        ("--fmad=false", "--use_fast_math", LOOSE),
    ],
)
def test_other_options_would_be_seen(option: str, instead: str, pattern: re.Pattern[str]) -> None:
    options = tuple(instead if given == option else given for given in COMPILE_OPTIONS)
    assert pattern.search(text_of("operands", FILES["operands"][0], options))


def test_machine_code_of_the_sums_has_no_fused_operation(tmp_path: Path) -> None:
    compiled = compile_variant(Variant("lloyd", "float32", 90, (("X_TYPE", 1),)))
    names = [operation for operation, _ in operations(disassemble(compiled, tmp_path))]
    assert [name for name in names if name.startswith("DMUL")]
    assert not [name for name in names if name.startswith(("DFMA", "FFMA"))]
