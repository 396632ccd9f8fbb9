"""The sources of the CUDA kernels, built by g++ with threads as fibers, under its sanitizers.

A second opinion: another compiler, another implementation of every built-in function and tensor
instruction, and an order of threads that can be turned round.
"""

from __future__ import annotations

from pathlib import Path

import cuda_drivers as drivers
import numpy as np
import pytest
from cuda_drivers import METRICS, Tiles
from kernel_cases import same_bits, tricky_rows
from kernel_engines import FiberEngine, FiberFault

from fastface.backends.reference import ReferenceBackend

REFERENCE = ReferenceBackend()


@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize("precision", ["bf16", "tf32x3"])
def test_assign(programs: Path, precision: str, order: str) -> None:
    X, Y = tricky_rows(40, 150, 37, "float32")
    for metric in METRICS:
        engine = FiberEngine(programs, order=order)
        labels, distances, _ = drivers.assign(engine, X, Y, metric, Tiles(precision))
        wanted = REFERENCE.assign(X, Y, metric)
        same_bits(labels, wanted.indices[:, 0])
        same_bits(distances, wanted.distances[:, 0])


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_assign_in_warpgroups(programs: Path, order: str) -> None:
    X, Y = tricky_rows(70, 150, 37, "float32")
    engine = FiberEngine(programs, order=order)
    tiles = Tiles("bf16", 4, True, 1, 128)
    labels, _, _ = drivers.assign(engine, X, Y, "sqeuclidean", tiles)
    same_bits(labels, REFERENCE.assign(X, Y, "sqeuclidean").indices[:, 0])


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_searches(programs: Path, order: str) -> None:
    X, Y = tricky_rows(19, 150, 30, "float32")
    engine = FiberEngine(programs, order=order)
    distances, indices = drivers.topk(engine, X, Y, 7, "cosine", Tiles("bf16"))
    wanted = REFERENCE.topk(X, Y, 7, "cosine")
    same_bits(indices, wanted.indices)
    same_bits(distances, wanted.distances)
    within = float(wanted.distances[9, 5])
    got = drivers.radius(engine, X, Y, within, "cosine", Tiles("bf16"))
    for mine, theirs in zip(got, REFERENCE.radius(X, Y, within, "cosine"), strict=True):
        same_bits(mine, theirs)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_pairwise(programs: Path, order: str) -> None:
    X, Y = tricky_rows(19, 20, 37, "float32")
    wanted = np.empty((len(X), len(Y)), np.float32)
    REFERENCE.pairwise(X, Y, "euclidean", out=wanted)
    same_bits(drivers.pairwise(FiberEngine(programs, order=order), X, Y, "euclidean"), wanted)


SMALL = """
extern "C" __global__ void k(const int* in, int* out, int n) {
  __shared__ int s[64];
  const int t = threadIdx.x;
  BODY
}
"""


COPY = "if (t % 4 == 0) cp_async_16(s + t, in + t); cp_async_commit(); "
PRODUCTS = (
    "float sums[64]; wgmma_forget(sums); unsigned char* const d = dynamic_shared(); "
    "const auto m = swizzled_matrix(d + (0u - shared_address(d)) % 512); "
    "wgmma_bf16(sums, m, m, 0); wgmma_commit(); "
)


@pytest.mark.parametrize(
    ("body", "report"),
    [
        ("out[t] = in[t];", ""),
        ("out[t] = in[t + 1];", "heap-buffer-overflow"),
        ("s[t] = in[t]; __syncthreads(); out[t] = s[t + 1];", "out of bounds"),
        (
            "int* p = s; p[t] = in[t]; __syncthreads(); out[t] = p[t + n - 63];",
            "insufficient space",
        ),
        ("((int*)dynamic_shared())[t] = in[t]; out[t] = 0;", "heap-buffer-overflow"),
        ("out[t] = in[t] + 2147483647;", "signed integer overflow"),
        ("out[t] = *(const int*)((const char*)in + (t < 63 ? 4 * t + 1 : 0));", "misaligned"),
        ("if (t < 9) __syncthreads(); out[t] = in[t];", "left before a barrier"),
        ("out[t] = t < 9 ? __shfl_sync(~0u, in[t], 0) : 0;", ""),
        ("out[t] = t % 32 < 9 ? __shfl_sync(0xffu, in[t], 0) : 0;", "not in its own member mask"),
        (COPY + "cp_async_wait<0>(); __syncwarp(); out[t] = s[t];", ""),
        (COPY + "cp_async_wait<1>(); __syncwarp(); out[t] = s[t];", "use-after-poison"),
        (COPY + COPY, "use-after-poison"),
        (PRODUCTS + "wgmma_wait<0>(); out[t] = sums[9] != sums[9];", ""),
        (PRODUCTS + "wgmma_wait<1>(); out[t] = sums[9] != sums[9];", "use-after-poison"),
        (PRODUCTS + "sums[9] = 0.0f; wgmma_wait<0>();", "use-after-poison"),
        ("if (t % 2) __syncwarp(); else out[t] = __shfl_sync(~0u, in[t], 0);", "different things"),
    ],
)
def test_the_sanitizers_and_the_scheduler_see_faults(
    programs: Path, body: str, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"small.cu": '#include "fibers_ptx.hpp"\n' + SMALL.replace("BODY", body)}
    engine = FiberEngine(programs, texts)
    given, out = engine.put(np.arange(64, dtype=np.int32)), engine.empty(64, np.int32)
    arguments = [given, out, 64]
    shared = 128 * 64 + 512 if body.startswith(PRODUCTS) else 128
    if not report:
        engine.launch("small", {}, "k", 1, 64, arguments, shared)
        return
    with pytest.raises(FiberFault, match=report):
        engine.launch("small", {}, "k", 1, 64, arguments, shared)
