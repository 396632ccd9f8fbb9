"""The CUDA sources to machine code, by the NVRTC that CuPy brings.

CuPy's own way would append ``-ftz=true`` to the options, which flushes the smallest float32 numbers
to zero and so changes bits, and it cannot name architectures such as ``sm_90a``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastface.backends.cuda.programs import Program
from fastface.backends.cuda.sources import COMPILE_OPTIONS, architecture

__all__ = ["CompilationError", "machine_code"]


class CompilationError(Exception):
    """NVRTC refused a source; its log is part of the message."""


def machine_code(cupy: Any, program: Program, capability: int, defines: Mapping[str, int]) -> Path:
    """Return the file of a program's machine code, compiled unless it is in CuPy's cache.

    Parameters
    ----------
    cupy : module
        CuPy.
    program : Program
        What to compile.
    capability : int
        Compute capability of the GPU, such as 89.
    defines : mapping of str to int
        Macros.

    Raises
    ------
    CompilationError
        With NVRTC's log.
    """
    nvrtc = cupy.cuda.nvrtc
    target = architecture(capability, defines)
    known = [int(number) for number in nvrtc.getSupportedArchs()]
    if capability not in known:
        # Of a GPU newer than this NVRTC; its driver compiles what is left to compile.
        target = f"compute_{max((n for n in known if n < capability), default=80)}"
    options = (
        *COMPILE_OPTIONS,
        f"--gpu-architecture={target}",
        *(f"-D{name}={value}" for name, value in sorted(defines.items())),
    )
    key = repr((program.source, options, nvrtc.getVersion())).encode()
    digest = hashlib.sha256(key).hexdigest()[:32]
    folder = _cache_folder(cupy)
    file = folder / f"fastface-{program.name}-{digest}.cubin"
    if not file.is_file():
        code = _compile(nvrtc, program, f"{program.name}-{digest}.cu", options, target)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as unfinished:
            unfinished.write(code)
        os.replace(unfinished.name, file)  # in one step: other processes compile as well
    return file


def _cache_folder(cupy: Any) -> Path:
    folder = Path(cupy.cuda.compiler.get_cache_dir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass
    else:
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="fastface-kernels-"))


def _compile(
    nvrtc: Any, program: Program, name: str, options: tuple[str, ...], target: str
) -> bytes:
    handle = nvrtc.createProgram(program.source, name, (), ())
    try:
        nvrtc.compileProgram(handle, options)
        code = nvrtc.getCUBIN(handle) if target.startswith("sm_") else nvrtc.getPTX(handle)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(handle)
        raise CompilationError(
            f"{program.name}.cu does not compile for {target}: {error}; NVRTC says {log!r}"
        ) from error
    finally:
        nvrtc.destroyProgram(handle)
    return code.encode() if isinstance(code, str) else bytes(code)
