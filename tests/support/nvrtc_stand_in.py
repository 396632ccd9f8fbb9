"""CuPy's module for NVRTC, and where CuPy keeps what was compiled."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import Any

from ptx_interpreter.nvrtc import CompileFailed, compile_ptx

__all__ = ["Nvrtc", "get_cache_dir"]

_cache_folder: list[str] = []


class Nvrtc:
    """CuPy's module for NVRTC; what it makes is PTX, whatever is asked for."""

    class NVRTCError(RuntimeError):
        """CuPy's own."""

    def __init__(self) -> None:
        self._programs: dict[int, Any] = {}
        self.compiled: list[tuple[str, ...]] = []

    getVersion = staticmethod(lambda: (13, 0))  # noqa: N815
    getSupportedArchs = staticmethod(lambda: [80, 86, 89, 90, 100, 120])  # noqa: N815

    def createProgram(self, source: str, name: str, headers: Any, names: Any) -> int:  # noqa: N802
        self._programs[len(self._programs) + 1] = source
        return len(self._programs)

    def compileProgram(self, program: int, options: tuple[str, ...]) -> None:  # noqa: N802
        (target,) = (o for o in options if o.startswith("--gpu-architecture="))
        arch = target.partition("=")[2].replace("sm_", "compute_")
        rest = [o for o in options if o != target]
        self.compiled.append(options)
        try:
            self._programs[program] = compile_ptx(self._programs[program], arch=arch, options=rest)
        except CompileFailed as error:
            self._programs[program] = str(error)
            raise Nvrtc.NVRTCError("NVRTC_ERROR_COMPILATION (6)") from None

    def getCUBIN(self, program: int) -> bytes:  # noqa: N802
        return self._programs[program].encode()

    def getPTX(self, program: int) -> str:  # noqa: N802
        return self._programs[program]

    getProgramLog = getPTX  # noqa: N815

    def destroyProgram(self, program: int) -> None:  # noqa: N802
        self._programs[program] = None


def get_cache_dir() -> str:
    if not _cache_folder:
        _cache_folder.append(tempfile.mkdtemp(prefix="cupy-stand-in-"))
        atexit.register(shutil.rmtree, _cache_folder[0])
    return _cache_folder[0]
