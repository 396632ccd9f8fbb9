"""CUDA C++ to PTX with NVRTC from wheels; no driver and no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptx_interpreter.errors import LaunchError

__all__ = ["CompileFailed", "compile_ptx"]


class CompileFailed(LaunchError):
    """The compiler refused the source; its log is the message."""


def compile_ptx(
    source: str,
    *,
    arch: str = "compute_80",
    options: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return the PTX of CUDA C++ source.

    `headers` are found by their names in ``#include``; `options` are those of NVRTC.
    """
    from cuda.bindings import nvrtc

    contents = dict(headers or {})
    result, program = nvrtc.nvrtcCreateProgram(
        source.encode(),
        b"kernels.cu",
        len(contents),
        [text.encode() for text in contents.values()],
        [name.encode() for name in contents],
    )
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise CompileFailed(str(result))
    given = [f"--gpu-architecture={arch}", "-std=c++17", *options]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(given), [o.encode() for o in given])
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        raise CompileFailed(log.decode().rstrip("\0 \n"))
    _, size = nvrtc.nvrtcGetPTXSize(program)
    text = b" " * size
    nvrtc.nvrtcGetPTX(program, text)
    nvrtc.nvrtcDestroyProgram(program)
    return text.decode().rstrip("\0")
