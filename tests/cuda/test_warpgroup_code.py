"""Machine code of Hopper's warpgroups: products overlap, and what is not theirs is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")

import cuda_variants
from cuda_variants import Loop, Variant, compile_variant, disassemble, main_loop, variants

from fastface.backends.cuda.tiles import Precision, TileShape


def _sweeps() -> Iterator[Variant]:
    return (v for v in variants(90) if v.tile and v.tile.warpgroup_columns)


def _complaint(loop: Loop, tile: TileShape) -> str:
    """Say what keeps a main loop from computing two steps at a time, or nothing."""
    kind = "16.F32.BF16" if tile.precision is Precision.BF16 else "8.F32.TF32"
    product = f"HGMMA.64x{tile.columns}x{kind}"
    # Both halves of a step make one group, and the group before it alone is waited for.
    wanted = ["WARPGROUP.ARRIVE", product, f"{product} gsb0", "WARPGROUP.DEPBAR.LE gsb0, 0x1"]
    if loop.warpgroup != wanted:
        return f"products of two steps do not overlap: {loop.warpgroup}"
    if not loop.count("LDGSTS"):
        return "operands do not arrive by cp.async"
    if loop.count("LDS") != loop.idle_loads:
        return "shared memory is read"
    if loop.count("LDSM", "FADD", "FMUL", "FFMA", "LDL", "STL", "STS"):
        return "there is more than products"
    return ""


@pytest.mark.slow
def test_products_of_two_steps_overlap(tmp_path: Path) -> None:
    seen = set()
    for variant in _sweeps():
        assert variant.tile is not None
        seen.add((variant.family, variant.tile.columns))
        code = disassemble(compile_variant(variant), tmp_path)
        assert not _complaint(main_loop(code, "HGMMA"), variant.tile), variant
    assert seen == {("assign", 128), ("assign", 256), ("topk", 256), ("radius", 256)}


def _seeded(file: str, right: str, wrong: str) -> str:
    """Return assign.cu with one line of scores.cuh or tile.cuh replaced."""
    folder = cuda_variants.source_folder()
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in _NESTED}
    assert right in texts[file], "the kernel has changed: seed anew"
    texts[file] = texts[file].replace(right, wrong)
    text = cuda_variants.source_of("assign")
    for name in _NESTED:
        text = text.replace(f'#include "{name}"', texts[name].replace("#pragma once", ""))
    return text


_NESTED = ("tile.cuh", "scores.cuh")
_PRODUCT = "    wgmma_bf16(scores.sums, a, b, step + half);\n"
_WAIT = "  wgmma_wait<1>();\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "right", "wrong", "complaint", "remark"),
    [
        ("scores.cuh", _WAIT, _WAIT + "  scores.sums[0] += 1.0f;\n", "overlap", "serialized"),
        ("scores.cuh", _WAIT, "  wgmma_wait<0>();\n", "overlap", ""),
        (
            "scores.cuh",
            _PRODUCT,
            _PRODUCT + "  wgmma_commit();\n  wgmma_wait<0>();\n",
            "overlap",
            "",
        ),
        ("scores.cuh", "  wgmma_begin();\n", "", "", "arrive is injected"),
        ("scores.cuh", "    wgmma_finish(sums);\n", "", "overlap", "wait is injected"),
        (
            "tile.cuh",
            "      columns += kStageBytes;\n",
            "      columns += kStageBytes + static_cast<int>(sweep.n_steps * *shared);\n",
            "shared memory is read",
            "",
        ),
    ],
    ids=["sums touched", "waits for all", "waits between halves", "no fence", "no wait", "reads"],
)
def test_products_that_wait_for_each_other_are_seen(
    file: str,
    right: str,
    wrong: str,
    complaint: str,
    remark: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Either in the machine code or in a remark of ptxas, which does not tell of every one."""
    text = _seeded(file, right, wrong)
    tried = next(v for v in _sweeps() if v.label == "bf16 wgmma resident")
    assert tried.tile is not None
    monkeypatch.setattr(cuda_variants, "source_of", lambda family: text)
    compiled = compile_variant(Variant("seeded", f"{right} -> {wrong}", 90, tried.defines))
    found = _complaint(main_loop(disassemble(compiled, tmp_path), "HGMMA"), tried.tile)
    assert (complaint in found) if complaint else not found
    assert any(remark in line for line in compiled.remarks) if remark else not compiled.remarks


@pytest.mark.parametrize(("capability", "least"), [(80, 0), (90, 4), (120, 3)])
def test_idle_loads_come_with_every_asynchronous_copy(
    capability: int, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ptxas puts them beside a copy and its wait in a kernel that reads nothing else either."""
    fence = 'asm volatile("fence.proxy.async.shared::cta;" ::: "memory");' if least == 4 else ""
    source = (
        'extern "C" __global__ void copies(const float4* from) {\n'
        "  extern __shared__ float4 to[];\n"
        "  const unsigned at = __cvta_generic_to_shared(to + threadIdx.x);\n"
        '  asm volatile("cp.async.cg.shared.global [%0], [%1], 16; cp.async.commit_group;"\n'
        '               :: "r"(at), "l"(from + threadIdx.x) : "memory");\n'
        f'  asm volatile("cp.async.wait_group 0;" ::: "memory"); {fence}\n'
        "}\n"
    )
    monkeypatch.setattr(cuda_variants, "source_of", lambda family: source)
    compiled = compile_variant(Variant("seeded", "copies", capability, ()))
    steps = cuda_variants.operations(disassemble(compiled, tmp_path))
    assert Loop(tuple(steps)).idle_loads == Loop(tuple(steps)).count("LDS") == least
