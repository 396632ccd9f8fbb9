"""mma and ldmatrix: fragments indexed by the formulas of the PTX manual, against plain products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx_interpreter import BadShuffle, DeviceMemory, Misaligned, Module
from ptx_interpreter.halves import from_bfloat16, to_bfloat16, to_tf32
from ptx_interpreter.matrix import MMA_MODES

pytestmark = pytest.mark.usefixtures("nvrtc")

# One warp multiplies A (16, k) by B (k, 8) and adds C; rows and columns as the manual writes them.
SIXTEEN_BITS = """
extern "C" __global__ void product(const unsigned short* A, const unsigned short* B,
                                   const float* C, float* D) {
  const int lane = threadIdx.x, groupID = lane >> 2, threadID_in_group = lane % 4;
  unsigned a[4] = {}, b[2] = {};
  for (int i = 0; i < 8; ++i) {
    const int row = (i < 2 || (4 <= i && i < 6)) ? groupID : groupID + 8;
    const int col = threadID_in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    a[i / 2] |= unsigned(A[row * 16 + col]) << (i % 2 * 16);
  }
  for (int i = 0; i < 4; ++i) {
    const int row = threadID_in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
    b[i / 2] |= unsigned(B[row * 8 + groupID]) << (i % 2 * 16);
  }
  float c[4];
  for (int i = 0; i < 4; ++i)
    c[i] = C[(groupID + (i < 2 ? 0 : 8)) * 8 + threadID_in_group * 2 + (i & 1)];
  asm("mma.sync.aligned.m16n8k16.row.col.f32.TYPE.TYPE.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  for (int i = 0; i < 4; ++i)
    D[(groupID + (i < 2 ? 0 : 8)) * 8 + threadID_in_group * 2 + (i & 1)] = c[i];
}
"""
TF32 = """
extern "C" __global__ void product(const float* A, const float* B, const float* C, float* D) {
  const int lane = threadIdx.x, groupID = lane >> 2, threadID_in_group = lane % 4;
  unsigned a[4], b[2];
  for (int i = 0; i < 4; ++i) {
    const int row = (i == 0 || i == 2) ? groupID : groupID + 8;
    const int col = i < 2 ? threadID_in_group : threadID_in_group + 4;
    a[i] = __float_as_uint(A[row * 8 + col]);
  }
  for (int i = 0; i < 2; ++i)
    b[i] = __float_as_uint(B[(threadID_in_group + (i == 0 ? 0 : 4)) * 8 + groupID]);
  float c[4];
  for (int i = 0; i < 4; ++i)
    c[i] = C[(groupID + (i < 2 ? 0 : 8)) * 8 + threadID_in_group * 2 + (i & 1)];
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  for (int i = 0; i < 4; ++i)
    D[(groupID + (i < 2 ? 0 : 8)) * 8 + threadID_in_group * 2 + (i & 1)] = c[i];
}
"""


def product(
    kind: str, A: NDArray[np.float32], B: NDArray[np.float32], C: NDArray[np.float32], **launch: Any
) -> NDArray[np.float32]:
    memory = DeviceMemory(1 << 20)
    source = TF32 if kind == "tf32" else SIXTEEN_BITS.replace("TYPE", kind)
    narrow = {
        "bf16": to_bfloat16,
        "f16": lambda values: values.astype(np.float16).view(np.uint16),
        "tf32": lambda values: values,
    }[kind]
    out = memory.empty((16, 8), np.float32)
    arguments = [*(memory.put(M) for M in (narrow(A), narrow(B), C)), out]
    Module.from_source(source).launch("product", 1, 32, arguments, memory=memory, **launch)
    return out.get()


@pytest.mark.parametrize("mode", MMA_MODES)
@pytest.mark.parametrize("kind", ["bf16", "f16", "tf32"])
def test_products_of_small_integers_are_exact(kind: str, mode: str) -> None:
    k = 8 if kind == "tf32" else 16
    random = np.random.default_rng(0)
    A, B, C = (
        random.integers(-8, 9, shape).astype(np.float32) for shape in ((16, k), (k, 8), (16, 8))
    )
    np.testing.assert_array_equal(product(kind, A, B, C, mma=mode), A @ B + C)


@pytest.mark.parametrize("kind", ["bf16", "tf32"])
def test_modes_differ_only_in_rounding(kind: str) -> None:
    k = 8 if kind == "tf32" else 16
    random = np.random.default_rng(1)
    A, B, C = (
        random.standard_normal(shape).astype(np.float32) for shape in ((16, k), (k, 8), (16, 8))
    )
    a, b = (from_bfloat16(to_bfloat16(M)) if kind == "bf16" else to_tf32(M, "rz") for M in (A, B))
    exact = a.astype(np.float64) @ b + C
    size = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(C)
    results = [product(kind, A, B, C, mma=mode) for mode in MMA_MODES]
    np.testing.assert_array_equal(results[0], exact.astype(np.float32))
    for result in results:
        assert (np.abs(result - exact) <= 2.0**-22 * k * size).all()
    assert (results[0] != results[1]).any()
    assert (results[0] != results[2]).any()
    # Truncation never leads away from zero by more than the parts that were cut.
    assert (np.abs(results[2] - exact) > 0).mean() > 0.5


LDMATRIX = """
extern "C" __global__ void load(const unsigned short* M, unsigned* out, int skew) {
  __shared__ __align__(16) unsigned short tile[32 * 8 + 8];
  for (int i = threadIdx.x; i < 32 * 8 + 8; i += 32) tile[i] = i < 256 ? M[i] : 0;
  __syncthreads();
  unsigned address = __cvta_generic_to_shared(tile + threadIdx.x * 8) + skew, r[4];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4TRANS.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = r[i];
}
"""


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix(transposed: bool) -> None:
    memory = DeviceMemory(1 << 20)
    M = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    out = memory.empty((32, 4), np.uint32)
    module = Module.from_source(LDMATRIX.replace("TRANS", ".trans" if transposed else ""))
    module.launch("load", 1, 32, [memory.put(M), out, np.int32(0)], memory=memory)
    halves = out.get().view(np.uint16).reshape(32, 4, 2)
    seen = M.swapaxes(1, 2) if transposed else M
    for lane in range(32):
        for matrix in range(4):
            row, column = lane // 4, lane % 4 * 2
            np.testing.assert_array_equal(
                halves[lane, matrix], seen[matrix, row, column : column + 2]
            )
    with pytest.raises(Misaligned):
        module.launch("load", 1, 32, [memory.put(M), out, np.int32(2)], memory=memory)


def test_half_a_warp_cannot_multiply() -> None:
    source = SIXTEEN_BITS.replace("TYPE", "bf16").replace(
        'asm("mma', 'if (C[0] == 1.0f && lane < 16) return;\n  asm volatile("mma'
    )
    memory = DeviceMemory(1 << 20)
    arguments = [memory.zeros((16, 16), np.uint16), memory.zeros((16, 8), np.uint16)]
    arguments += [memory.full((16, 8), 1.0, np.float32), memory.empty((16, 8), np.float32)]
    with pytest.raises(BadShuffle, match=r"waits for lanes|not all lanes"):
        Module.from_source(source).launch("product", 1, 32, arguments, memory=memory)
