"""Small kernels with one fault each: the interpreter names it, and accepts the mended kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ptx_interpreter import (
    BadArgument,
    BadShuffle,
    DeviceMemory,
    DivergentBarrier,
    EarlyRead,
    LaunchError,
    Misaligned,
    Module,
    OutOfBounds,
    OutOfDeviceMemory,
    RaceFound,
    Trap,
    Uninitialised,
    Unsupported,
)

pytestmark = pytest.mark.usefixtures("nvrtc")

HEAD = 'extern "C" __global__ void k(int* in, int* out, int n) { const int t = threadIdx.x; '
SHARED = HEAD + "__shared__ int s[64]; "
COPY = """
__device__ void copy(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
               ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}
__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int n> __device__ void wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}
"""

# Fault, what is wrong about it, the kernel, and what to replace to mend it.
FAULTS: dict[str, tuple[type[LaunchError], str, tuple[str, str]]] = {
    "read behind the end": (
        OutOfBounds,
        HEAD + "out[t] = in[t + 1]; }",
        ("in[t + 1]", "in[t]"),
    ),
    "write before the start": (
        OutOfBounds,
        HEAD + "out[t - 1] = in[t]; }",
        ("out[t - 1]", "out[t]"),
    ),
    "shared memory too short": (
        OutOfBounds,
        HEAD + "__shared__ int s[63]; s[t] = in[t]; __syncthreads(); out[t] = s[t ^ 1]; }",
        ("s[63]", "s[64]"),
    ),
    "misaligned": (
        Misaligned,
        HEAD + "if (t < 8) ((int2*)out)[t] = *(int2*)(in + 2 * t + 1); }",
        ("2 * t + 1", "2 * t"),
    ),
    "missing barrier": (
        RaceFound,
        SHARED + "s[t] = in[t]; /**/ out[t] = s[63 - t]; }",
        ("/**/", "__syncthreads();"),
    ),
    "missing barrier before the next round": (
        RaceFound,
        SHARED + "int a = 0; for (int i = 0; i < 3; ++i) { s[t] = in[t] + i; __syncthreads(); "
        "a += s[63 - t]; /**/ } out[t] = a; }",
        ("/**/", "__syncthreads();"),
    ),
    "missing __syncwarp": (
        RaceFound,
        SHARED + "s[t] = in[t]; /**/ out[t] = s[t ^ 1]; }",
        ("/**/", "__syncwarp();"),
    ),
    "two threads, one place": (
        RaceFound,
        HEAD + "out[t / 2] = in[t]; }",
        ("t / 2", "t"),
    ),
    "two blocks, one place": (
        RaceFound,
        HEAD + "atomicAdd(in, 0); if (t == 0) /**/ out[0] = blockIdx.x; }",
        ("/**/", "if (blockIdx.x == 0)"),
    ),
    "atomic and plain": (
        RaceFound,
        HEAD + "atomicAdd(out, 1); if (t == 5) in[0] = out[0]; }",
        ("= out[0]", "= atomicAdd(out, 0)"),
    ),
    "sum without atomics": (
        RaceFound,
        SHARED + "if (t < 2) s[t] = 0; __syncthreads(); s[t & 1] += in[t]; }",
        ("s[t & 1] += in[t]", "atomicAdd(s + (t & 1), in[t])"),
    ),
    "constant data written": (
        RaceFound,
        HEAD + "out[t] = __ldg(out + t) + __ldg(in + t); out[t] = __ldg(out + t); }",
        ("out[t] = __ldg(out + t); }", "}"),
    ),
    "unwritten shared memory": (
        Uninitialised,
        SHARED + "if (t < 63) s[t] = in[t]; __syncthreads(); out[t] = s[63 - t]; }",
        ("t < 63", "t < 64"),
    ),
    "barrier in a branch": (
        DivergentBarrier,
        SHARED + "s[t] = in[t]; if (in[t] < n) __syncthreads(); out[t] = s[t]; }",
        ("in[t] < n", "n < 1000"),
    ),
    "exit before a barrier": (
        DivergentBarrier,
        SHARED + "if (in[t] == n) return; s[t] = in[t]; __syncthreads(); out[t] = s[t]; }",
        ("if (in[t] == n) return;", ""),
    ),
    "shuffle from a lane that left": (
        BadShuffle,
        HEAD + "if (in[t] < n) out[t] = __shfl_sync(0xffffffffu, in[t], 63 - t); }",
        ("if (in[t] < n)", ""),
    ),
    "shuffle in half a warp": (
        BadShuffle,
        HEAD + "if (t % 32 < 16) out[t] = __shfl_down_sync(0xffffu, in[t], 8); }",
        ("0xffffu, in[t], 8", "0xffffu, in[t], 8, 16"),
    ),
    "no wait for the copy": (
        EarlyRead,
        COPY
        + SHARED
        + "copy(s + t, in + t); commit(); /**/ __syncthreads(); out[t] = s[63 - t]; }",
        ("/**/", "wait<0>();"),
    ),
    "one group too few": (
        EarlyRead,
        COPY + SHARED + "copy(s + t, in + t); commit(); wait<1>(); __syncthreads(); "
        "out[t] = s[63 - t]; }",
        ("wait<1>", "wait<0>"),
    ),
    "copy without a barrier": (
        RaceFound,
        COPY + SHARED + "copy(s + t, in + t); commit(); wait<0>(); /**/ out[t] = s[63 - t]; }",
        ("/**/", "__syncthreads();"),
    ),
    "copy over what is read": (
        RaceFound,
        COPY + SHARED + "s[t] = 0; __syncthreads(); int a = s[63 - t]; /**/ copy(s + t, in + t); "
        "commit(); wait<0>(); __syncthreads(); out[t] = a + s[63 - t]; }",
        ("/**/", "__syncthreads();"),
    ),
    "trap": (Trap, HEAD + "if (in[t] == n) __trap(); out[t] = 1; }", ("in[t] == n", "in[t] < 0")),
}


def blocks_of(name: str) -> tuple[int, int]:
    return (2, 32) if "two blocks" in name else (1, 64)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_and_the_mended_kernel_passes(name: str) -> None:
    error, source, (wrong, right) = FAULTS[name]
    grid, block = blocks_of(name)

    def launch(text: str, order: str) -> None:
        memory = DeviceMemory(1 << 20)
        given = memory.put(np.arange(64, dtype=np.int32))
        out = memory.put(np.zeros(64, np.int32))
        module = Module.from_source(text)
        module.launch("k", grid, block, [given, out, np.int32(40)], memory=memory, order=order)

    assert wrong in source
    for order in ("forward", "reverse"):
        with pytest.raises(error, match=r"kernel k, PTX line \d+ .*block \(\d, 0, 0\) thread \(\d"):
            launch(source, order)
        launch(source.replace(wrong, right), order)


def test_unwritten_device_memory() -> None:
    memory = DeviceMemory(1 << 20)
    source = HEAD + "if (t < n) out[t] = in[t]; }"
    given, out = memory.empty(64, np.int32), memory.empty(64, np.int32)
    module = Module.from_source(source)
    with pytest.raises(Uninitialised):
        module.launch("k", 1, 64, [given, out, np.int32(64)], memory=memory)
    given.set(np.arange(64, dtype=np.int32))
    module.launch("k", 1, 64, [given, out, np.int32(60)], memory=memory)
    assert out.written.sum() == 60


def test_freed_memory_is_out_of_bounds() -> None:
    memory = DeviceMemory(1 << 20)
    given, out = memory.zeros(64, np.int32), memory.zeros(64, np.int32)
    given.free()
    module = Module.from_source(HEAD + "out[t] = in[t]; }")
    with pytest.raises(OutOfBounds):
        module.launch("k", 1, 64, [given, out, np.int32(0)], memory=memory)
    with pytest.raises(LaunchError, match="no live allocation"):
        given.free()


def test_capacity() -> None:
    memory = DeviceMemory(1000)
    first = memory.zeros(150, np.int32)
    with pytest.raises(OutOfDeviceMemory, match="500 bytes asked, 400 of 1000 are free"):
        memory.allocate(500)
    first.free()
    memory.allocate(500)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([np.int32(1)], "takes 3 arguments, 1 given"),
        ([0, 0, np.int64(1)], "int64 given"),
        ([0, 0, np.float32(1)], "float32 given"),
        ([0, 0, 5], "uint64 given"),
        ([0, np.int32(4), np.int32(1)], "int32 given"),
        ([0, np.zeros(3), np.int32(1)], "ndarray given"),
    ],
)
def test_arguments_that_the_driver_would_misread(arguments: list[Any], message: str) -> None:
    module = Module.from_source(HEAD + "out[t] = in[t]; }")
    with pytest.raises(BadArgument, match=message):
        module.launch("k", 1, 1, arguments, memory=DeviceMemory(1 << 20))


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ({"grid": 0, "block": 32}, "a grid of"),
        ({"grid": (1, 70000), "block": 32}, "a grid of"),
        ({"grid": 1, "block": 1025}, "at most 1024 threads"),
        ({"grid": 1, "block": 32, "shared_bytes": 60000}, "max_dynamic_shared"),
    ],
)
def test_limits_of_the_hardware(launch: dict[str, Any], message: str) -> None:
    module = Module.from_source(HEAD + "out[t] = in[t]; }")
    memory = DeviceMemory(1 << 20)
    with pytest.raises(BadArgument, match=message):
        module.launch("k", args=[0, 0, np.int32(0)], memory=memory, **launch)


def test_launch_bounds() -> None:
    source = HEAD.replace("void k", "void __launch_bounds__(128) k") + "out[t] = in[t]; }"
    with pytest.raises(BadArgument, match="at most 128 threads"):
        Module.from_source(source).launch(
            "k", 1, 256, [0, 0, np.int32(0)], memory=DeviceMemory(1 << 20)
        )


def test_unknown_instructions_are_named() -> None:
    clock = Module.from_source(HEAD + "out[t] = clock(); }")
    memory = DeviceMemory(1 << 20)
    with pytest.raises(Unsupported, match=r"PTX line \d+ `mov.u\d+ %rd?\d+, %clock"):
        clock.launch("k", 1, 32, [0, 0, np.int32(0)], memory=memory)
    other = Module.from_source(HEAD + 'asm volatile("isspacep.global p, q;"); }')
    with pytest.raises(Unsupported, match=r"isspacep.global.*not known"):
        other.launch("k", 1, 32, [0, 0, np.int32(0)], memory=memory)


# A register that only some threads write; %x is 1 where they have.
EARLY_REGISTER = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
  .reg .b32 %t; .reg .b32 %x; .reg .b32 %y; .reg .b64 %p; .reg .pred %q;
  ld.param.u64 %p, [out];
  mov.u32 %t, %tid.x;
  mad.wide.u32 %p, %t, 4, %p;
  setp.lt.u32 %q, %t, LIMIT;
  HOW
  USE
  st.global.u32 [%p], %y;
  ret;
}
"""


@pytest.mark.parametrize(
    "how",
    [
        "@%q mov.u32 %x, 1;",
        "@!%q bra SKIP;\n  mov.u32 %x, 1;\nSKIP:",
        "@%q mov.u32 %y, 1; @%q mov.u32 %x, %y;",
    ],
)
@pytest.mark.parametrize("use", ["add.u32 %y, %x, %x;", "mov.u32 %y, %x;"])
def test_registers_that_nobody_wrote(how: str, use: str) -> None:
    text = EARLY_REGISTER.replace("HOW", how).replace("USE", use)
    for limit in (64, 63):
        memory = DeviceMemory(1 << 20)
        out = memory.empty(64, np.int32)
        module = Module.from_ptx(text.replace("LIMIT", str(limit)))
        if limit == 64:
            module.launch("k", 1, 64, [out], memory=memory)
            assert (out.get() == (1 if "mov" in use else 2)).all()
            continue
        with pytest.raises(Uninitialised, match=r"thread \(63, 0, 0\): nobody has written %[xy]"):
            module.launch("k", 1, 64, [out], memory=memory)


def test_a_guard_that_nobody_wrote() -> None:
    text = EARLY_REGISTER.replace("HOW", ".reg .pred %r; @%q setp.eq.u32 %r, %t, 0;")
    text = text.replace("USE", "mov.u32 %y, 3; @%r mov.u32 %y, 4;")
    memory = DeviceMemory(1 << 20)
    out = memory.empty(64, np.int32)
    Module.from_ptx(text.replace("LIMIT", "64")).launch("k", 1, 64, [out], memory=memory)
    assert out.get().tolist() == [4] + [3] * 63
    with pytest.raises(Uninitialised, match="nobody has written %r"):
        Module.from_ptx(text.replace("LIMIT", "9")).launch("k", 1, 64, [out], memory=memory)
