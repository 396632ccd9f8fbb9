"""wgmma: matrices and sums laid out by the tables of the PTX manual, against plain products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx_interpreter import (
    BadShuffle,
    DeviceMemory,
    EarlyRead,
    Misaligned,
    Module,
    OutOfBounds,
    RaceFound,
    Uninitialised,
)
from ptx_interpreter.halves import to_bfloat16

# D = A B + C of (64, k) by (k, 16); A and B lie in memory as their descriptors say.  What a test
# changes stands between bars.
PTX = """
.version 8.0
.target sm_90a
.address_size 64
.visible .entry product(.param .u64 image, .param .u64 sums, .param .u64 a, .param .u64 b,
                        .param .u32 adds)
{
  .reg .b32 %r<20>; .reg .b64 %rd<9>; .reg .f32 %f<8>; .reg .pred %p<4>;
  .shared .align 1024 .b8 matrices[16384];
  ld.param.u64 %rd0, [image]; ld.param.u64 %rd1, [sums];
  ld.param.u64 %rd2, [a]; ld.param.u64 %rd3, [b]; ld.param.u32 %r9, [adds];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, 0;
FILL:
  shl.b32 %r2, %r0, 2;
  add.u32 %r2, %r2, %r1;
  cvt.u64.u32 %rd4, %r2;
  add.u64 %rd4, %rd4, %rd0;
  ld.global.b32 %r3, [%rd4];
  st.shared.b32 [%r2], %r3;
  add.u32 %r1, %r1, 512;
  setp.lt.u32 %p0, %r1, 16384;
  @%p0 bra FILL;
  |fence.proxy.async.shared::cta;|
  |bar.sync 0;|
  shl.b32 %r4, %r0, 5;
  cvt.u64.u32 %rd5, %r4;
  add.u64 %rd5, %rd5, %rd1;
  |ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd5];
  ld.global.v4.f32 {%f4, %f5, %f6, %f7}, [%rd5+16];|
  setp.ne.u32 %p1, %r9, 0;
  |wgmma.fence.sync.aligned;|
  |wgmma.mma_async.sync.aligned.SHAPE {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}, %rd2, %rd3,
      %p1, 1, 1MORE;|
  wgmma.commit_group.sync.aligned;
  |wgmma.wait_group.sync.aligned 0;|
  st.global.v4.f32 [%rd5], {%f0, %f1, %f2, %f3};
  st.global.v4.f32 [%rd5+16], {%f4, %f5, %f6, %f7};
END:
  ret;
}
"""
# How descriptors name them: bytes of a row that are swizzled together, code.
SWIZZLES = {0: 0, 128: 1, 64: 2, 32: 3}
B_STARTS = 8192


def place(matrix: NDArray[Any], swizzle: int, skip: int) -> tuple[NDArray[np.uint8], int]:
    """Return rows of 32 bytes as they lie in shared memory, and the descriptor for address 0.

    `skip` is how far into its rows of `swizzle` bytes the matrix begins.  Sixteen bytes stay
    together: the manual's table of canonical layouts counts in such units.
    """
    rows = matrix.view(np.uint8).reshape(len(matrix), 2, 16)
    image = np.zeros(B_STARTS, np.uint8)
    leading, stride = 128, 256
    if swizzle:
        leading, stride = 16, 8 * swizzle
    for row in range(len(rows)):
        for piece in range(2):
            group, inner = divmod(row, 8)
            if swizzle:
                chunks = swizzle // 16
                # The pattern repeats after 8 rows; a line of 128 bytes holds 128 / swizzle rows.
                line = inner * swizzle // 128
                chunk = (skip // 16 + piece) ^ (line % chunks)
                at = group * stride + inner * swizzle + chunk * 16
            else:
                at = group * stride + piece * leading + inner * 16
            image[at : at + 16] = rows[row, piece]
    descriptor = skip >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | SWIZZLES[swizzle] << 62
    return image, descriptor


def product(
    A: NDArray[np.float32],
    B: NDArray[np.float32],
    C: NDArray[np.float32],
    kind: str = "bf16",
    swizzle: int = 64,
    skip: int = 0,
    adds: int = 1,
    block: int = 128,
    change: tuple[str, str] = ("", ""),
    **launch: Any,
) -> NDArray[np.float32]:
    """Return what the instruction makes of them; C counts as nothing with `adds` = 0."""
    narrow = to_bfloat16 if kind == "bf16" else (lambda values: values)
    image_a, descriptor_a = place(narrow(A), swizzle, skip)
    image_b, descriptor_b = place(narrow(np.ascontiguousarray(B.T)), swizzle, skip)
    shape = f"m64n16k{16 if kind == 'bf16' else 8}.f32.{kind}.{kind}"
    ptx = PTX.replace("SHAPE", shape).replace("MORE", ", 0, 0" if kind == "bf16" else "")
    if change[0]:
        assert f"|{change[0]}" in ptx
        ptx = ptx.replace(f"|{change[0]}", f"|{change[1]}")
    memory = DeviceMemory(1 << 20)
    # Thread t keeps in sum 4 c + 2 h + i: row t / 32 * 16 + t % 32 / 4 + 8 h, column
    # 8 c + t % 4 * 2 + i (figure of the D fragment of m64nNk16).
    t, number = np.arange(128)[:, None], np.arange(8)[None, :]
    row = t // 32 * 16 + t % 32 // 4 + 8 * (number // 2 % 2)
    column = number // 4 * 8 + t % 4 * 2 + number % 2
    sums = memory.put(np.ascontiguousarray(C[row, column]))
    image = memory.put(np.concatenate([image_a, image_b]))
    second = np.uint64(descriptor_b + (B_STARTS >> 4))
    Module.from_ptx(ptx.replace("|", "")).launch(
        "product", 1, block, [image, sums, np.uint64(descriptor_a), second, np.int32(adds)],
        memory=memory, **launch,
    )  # fmt: skip
    out = np.empty((64, 16), np.float32)
    out[row, column] = sums.get()
    return out


def matrices(k: int) -> tuple[NDArray[np.float32], ...]:
    random = np.random.default_rng(0)
    shapes = ((64, k), (k, 16), (64, 16))
    A, B, C = (random.integers(-8, 9, shape).astype(np.float32) for shape in shapes)
    return A, B, C


@pytest.mark.parametrize("kind", ["bf16", "tf32"])
@pytest.mark.parametrize(
    ("swizzle", "skip"), [(0, 0), (32, 0), (64, 0), (64, 32), (128, 0), (128, 96)]
)
def test_products_of_small_integers_are_exact(kind: str, swizzle: int, skip: int) -> None:
    A, B, C = matrices(16 if kind == "bf16" else 8)
    for order in ("forward", "reverse"):
        np.testing.assert_array_equal(product(A, B, C, kind, swizzle, skip, order=order), A @ B + C)
    np.testing.assert_array_equal(product(A, B, C, kind, swizzle, skip, adds=0), A @ B)


FAULTS: dict[str, tuple[type[Exception], str, tuple[str, str]]] = {
    "not published": (EarlyRead, "without fence.proxy.async", ("fence.proxy", "//")),
    "no barrier": (RaceFound, "written by", ("bar.sync 0;", "")),
    "not waited for": (EarlyRead, "have not been waited for", ("wgmma.wait_group", "//")),
    "one group too few": (
        EarlyRead,
        "have not been waited for",
        ("wgmma.wait_group.sync.aligned 0", "wgmma.wait_group.sync.aligned 1"),
    ),
    "no wgmma.fence": (EarlyRead, "no wgmma.fence", ("wgmma.fence.sync.aligned;", "")),
    "written under way": (
        RaceFound,
        "products were under way",
        ("wgmma.wait_group", "bar.sync 0; shl.b32 %r2, %r0, 2; st.shared.b32 [%r2], %r3; "
         "wgmma.wait_group"),
    ),
    "half a warpgroup": (
        BadShuffle,
        "never come",
        ("wgmma.mma_async", "setp.lt.u32 %p2, %r0, 64; @%p2 bra END; wgmma.mma_async"),
    ),
    "two matrices": (
        BadShuffle,
        "name two matrices",
        ("wgmma.mma_async", "cvt.u64.u32 %rd6, %r0; and.b64 %rd6, %rd6, 2; "
         "add.u64 %rd2, %rd2, %rd6; wgmma.mma_async"),
    ),
    "in the middle of a pattern": (
        Misaligned,
        "begin at 64, not at 512 n",
        ("wgmma.mma_async", "add.u64 %rd2, %rd2, 4; wgmma.mma_async"),
    ),
    "behind the end": (
        OutOfBounds,
        "out of bounds",
        ("wgmma.mma_async", "add.u64 %rd3, %rd3, 480; wgmma.mma_async"),
    ),
    "adds to nothing": (EarlyRead, "which holds nothing", ("ld.global.v4.f32 {%f0", "// {%f0")),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(name: str) -> None:
    error, message, change = FAULTS[name]
    with pytest.raises(error, match=message):
        product(*matrices(16), change=change)


def test_sums_that_nobody_wrote_are_found() -> None:
    with pytest.raises(Uninitialised):
        product(*matrices(16), change=("ld.global.v4.f32 {%f0", "add.f32 %f1, %f0, %f0; //"))


def test_a_block_of_no_whole_warpgroups_is_refused() -> None:
    with pytest.raises(BadShuffle, match="no whole warpgroups"):
        product(*matrices(16), block=96)
