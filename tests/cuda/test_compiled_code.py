"""Every CUDA kernel compiles for every architecture, and its machine code is what it should be."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_variants import (
    ARCHITECTURES,
    compile_variant,
    disassemble,
    main_loop,
    operations,
    variants,
)

from fastface.backends.cuda.tiles import Operand, Precision, choose_tile, shared_limits

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = set(
    re.findall(
        r'extern "C" __global__ void(?: __launch_bounds__\([^)]*\))?\s+(\w+)\(',
        "".join(p.read_text(encoding="utf-8") for p in (ROOT / "csrc" / "cuda").glob("*.cu")),
    )
)


@pytest.mark.slow
@pytest.mark.parametrize("capability", ARCHITECTURES)
def test_kernels_compile_without_spills_stack_or_too_much_shared_memory(capability: int) -> None:
    most, _ = shared_limits(capability)
    seen = set()
    every = list(variants(capability))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(compile_variant, every))
    for variant, compiled in zip(every, results, strict=True):
        assert not compiled.remarks, (variant, compiled.remarks)
        assert compiled.usages, f"no kernel found in the log of {variant}"
        for usage in compiled.usages:
            seen.add(usage.entry)
            assert (usage.stack, usage.spill_stores, usage.spill_loads) == (0, 0, 0), usage
            dynamic = variant.tile.shared_bytes(_longest(variant)) if variant.tile else 0
            assert usage.shared + dynamic <= most, (variant, usage)
            threads = variant.tile.threads if variant.tile else 256
            assert usage.registers * threads <= 65536, usage
    assert seen == ENTRIES


def _longest(variant: object) -> int:
    """Return the most steps of a row for which this very tile is chosen."""
    tile = variant.tile  # type: ignore[attr-defined]
    capability = variant.capability  # type: ignore[attr-defined]
    fitting = [s for s in range(1, 65) if choose_tile(tile.precision, capability, s) == tile]
    return max(fitting)


@pytest.mark.parametrize("capability", [80, 90, 120])
def test_main_loop_of_tensor_core_kernels_is_made_of_products(
    capability: int, tmp_path: Path
) -> None:
    for variant in variants(capability):
        if variant.family != "assign":
            continue
        assert variant.tile is not None
        code = disassemble(compile_variant(variant), tmp_path)
        names = [op for op, _ in operations(code)]
        assert not [n for n in names if n.startswith(("LDL", "STL"))], variant
        if variant.tile.precision is Precision.FLOAT32:
            loop = main_loop(code, "FFMA")
            assert loop.count("FFMA") == 1024  # 8 x 8 sums, 16 features
            assert loop.count("FFMA") / len(loop.operations) > 0.75
            continue
        if variant.tile.warpgroup_columns:
            continue  # test_warpgroup_code.py
        loop = main_loop(code, "HMMA")
        kind = {
            Precision.BF16: "HMMA.16816.F32.BF16",
            Precision.TF32: "HMMA.1688.F32.TF32",
            Precision.TF32X3: "HMMA.1688.F32.TF32",
        }[variant.tile.precision]
        # 16-row tiles x 8-column tiles x halves of a step x products a value.
        expected = {Precision.TF32X3: 4 * 4 * 2 * 3}.get(variant.tile.precision, 4 * 8 * 2)
        assert loop.count(kind) == expected
        least = 0.2 if variant.tile.precision is Precision.TF32X3 else 0.3
        assert loop.count("HMMA") / len(loop.operations) > least
        assert loop.count("LDGSTS") > 0, "operands do not arrive by cp.async"
        assert loop.count("LDSM") > 0, "operands are not read by ldmatrix"


def test_what_the_compilers_remark_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import cuda_variants

    source = 'extern "C" __global__ void early(float* x) {\n  float a;\n  x[threadIdx.x] = a;\n}\n'
    monkeypatch.setattr(cuda_variants, "source_of", lambda family: source)
    compiled = compile_variant(cuda_variants.Variant("seeded", "unwritten", 80, ()))
    assert "used before its value is set" in compiled.remarks[0]


def test_a_spill_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cuda_variants

    source = (
        'extern "C" __global__ void spills(float* x, int n) {\n'
        "  float kept[64];\n"
        "  for (int i = 0; i < 64; ++i) kept[(i * n) % 64] = x[i];\n"
        "  x[threadIdx.x] = kept[(n + threadIdx.x) % 64];\n"
        "}\n"
    )
    monkeypatch.setattr(cuda_variants, "source_of", lambda family: source)
    variant = cuda_variants.Variant("seeded", "fault", 80, ())
    compiled = compile_variant(variant)
    assert compiled.usages[0].stack > 0
    names = [op for op, _ in operations(disassemble(compiled, tmp_path))]
    assert [n for n in names if n.startswith(("LDL", "STL"))]


def test_tiles_fit_every_architecture_and_length() -> None:
    for capability in ARCHITECTURES:
        most, total = shared_limits(capability)
        for precision in Precision:
            for dim in (1, 16, 97, 128, 256, 512, 1024, 4096):
                n_steps = precision.operand.n_steps(dim)
                tile = choose_tile(precision, capability, n_steps)
                needed = tile.shared_bytes(n_steps)
                assert needed <= most
                assert tile.blocks_per_sm * (needed + 1536) <= total
                assert tile.rows <= tile.threads  # a thread lists a row in radius_screen
                joined = tile.warps_n * tile.rows * 20  # what assign_scores joins in there
                assert joined <= needed


def test_operands_are_padded_to_whole_steps() -> None:
    assert [Operand.BF16.padded_dim(d) for d in (1, 32, 33)] == [32, 32, 64]
    assert [Operand.TF32.padded_dim(d) for d in (1, 16, 17)] == [16, 16, 32]
    assert Operand.FLOAT32.n_steps(128) == 8


def test_two_thirds_of_the_peak_are_in_reach() -> None:
    page = ROOT / "docs" / "gpu.md"
    if not page.is_file():
        pytest.skip("not a checkout")
    found = re.findall(
        r"^\| ([\w ]+) \(\d+\) \| \d+ \| \d+ \| \d+ \| (\d+)% \|",
        page.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert {name for name, _ in found} == {"A100", "L4", "RTX 4090", "H100", "H200", "B200"}
    # B200 wants tcgen05, which is not written.
    assert all(int(share) >= 65 for name, share in found if name != "B200")


@pytest.mark.slow
def test_tables_of_the_page_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "gpu.md"
    script = ROOT / "scripts" / "gpu_tables.py"
    if not script.is_file():
        pytest.skip("not a checkout")
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    from gpu_tables import replaced, tables

    text = page.read_text(encoding="utf-8")
    assert replaced(text, tables()) == text, "run python scripts/gpu_tables.py"
