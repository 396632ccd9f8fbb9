"""Two ways to run the CUDA kernels on a CPU, behind one interface.

`PtxEngine` interprets the PTX that NVRTC makes of them; `FiberEngine` builds the same sources with
g++ and its sanitizers, threads being fibers.  A driver written for one runs on the other.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray
from ptx_interpreter import DeviceArray, DeviceMemory, Module

__all__ = ["CUDA_SOURCES", "Engine", "FiberEngine", "FiberFault", "PtxEngine", "Sources"]

CUDA_SOURCES = Path(__file__).resolve().parents[2] / "csrc" / "cuda"
_FIBERS = Path(__file__).resolve().parent / "fibers"
_OPTIONS = ("--fmad=false", "--ftz=false", "-default-device")
_KERNEL = re.compile(
    r'extern "C" __global__ void\s+'
    r"(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\("
)
_INCLUDE = re.compile(r'^#include "([\w.]+)"', re.MULTILINE)

Argument = Any  # a buffer, a Python number, or None for a null pointer
Sources = dict[str, str]


class Buffer(Protocol):
    """An array that kernels see."""

    def get(self) -> NDArray[Any]:
        """Return a copy."""
        ...


class Engine(Protocol):
    """Where kernels run."""

    name: str

    def put(self, values: NDArray[Any]) -> Buffer:
        """Return a buffer with these values."""
        ...

    def empty(self, shape: Any, dtype: DTypeLike) -> Buffer:
        """Return a buffer that nobody has written."""
        ...

    def launch(
        self,
        file: str,
        defines: Mapping[str, int],
        kernel: str,
        grid: Sequence[int] | int,
        block: int,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
    ) -> None:
        """Run a kernel of csrc/cuda/`file`.cu."""
        ...


def sources() -> Sources:
    """Return the text of every file in csrc/cuda by its name."""
    return {path.name: path.read_text() for path in sorted(CUDA_SOURCES.glob("*.cu*"))}


def _reached(texts: Sources, file: str) -> Sources:
    """Return a file and what it includes: the rest may change without another compilation."""
    found: Sources = {}
    waiting = [f"{file}.cu"]
    while waiting:
        name = waiting.pop()
        if name in texts and name not in found:
            found[name] = texts[name]
            waiting += _INCLUDE.findall(texts[name])
    return dict(sorted(found.items()))


def _triple(extent: Sequence[int] | int) -> tuple[int, int, int]:
    given = (extent,) if isinstance(extent, int) else tuple(extent)
    x, y, z = (*given, 1, 1)[:3]
    return int(x), int(y), int(z)


class PtxEngine:
    """Kernels as PTX, interpreted."""

    name = "ptx"
    _modules: dict[Any, Module] = {}  # noqa: RUF012 - compiled once for all tests

    def __init__(self, texts: Sources | None = None, **launch: Any) -> None:
        self.texts = sources() if texts is None else texts
        self.memory = DeviceMemory()
        self.options = launch

    def put(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy on the device."""
        return self.memory.put(values)

    def empty(self, shape: Any, dtype: DTypeLike) -> DeviceArray:
        """Return unwritten memory."""
        return self.memory.empty(shape, dtype)

    def module(self, file: str, defines: Mapping[str, int]) -> Module:
        """Compile a file, once for each set of definitions and text."""
        texts = _reached(self.texts, file)
        key = (file, tuple(sorted(defines.items())), hash(tuple(texts.items())))
        if key not in self._modules:
            self._modules[key] = Module.from_source(
                self.texts[f"{file}.cu"],
                arch="compute_90a" if "WARPGROUP_COLUMNS" in defines else "compute_80",
                options=[*_OPTIONS, *(f"-D{name}={value}" for name, value in defines.items())],
                headers={n: text for n, text in texts.items() if n.endswith(".cuh")},
            )
        return self._modules[key]

    def launch(
        self,
        file: str,
        defines: Mapping[str, int],
        kernel: str,
        grid: Sequence[int] | int,
        block: int,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
    ) -> None:
        """Interpret a kernel."""
        module = self.module(file, defines)
        found = module.kernels[kernel]
        found.max_dynamic_shared = 227 << 10
        typed = []
        for parameter, value in zip(found.parameters, arguments, strict=True):
            if isinstance(value, DeviceArray):
                typed.append(value)
            elif parameter.ptx_type[0] == "f":
                typed.append((np.float32 if parameter.nbytes == 4 else np.float64)(value))
            else:
                kind = np.int32 if parameter.nbytes == 4 else np.int64
                typed.append(kind(0 if value is None else value))
        module.launch(
            kernel,
            grid,
            block,
            typed,
            memory=self.memory,
            shared_bytes=shared_bytes,
            **self.options,
        )


class FiberFault(Exception):  # noqa: N818
    """A sanitizer, or the scheduler of fibers, found a fault; its report is the message."""


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")


class _HostBuffer:
    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def get(self) -> NDArray[Any]:
        return self.values.copy()


class FiberEngine:
    """Kernels as programs of g++ under AddressSanitizer and UndefinedBehaviorSanitizer."""

    name = "fibers"

    def __init__(
        self,
        folder: Path,
        texts: Sources | None = None,
        *,
        order: str = "forward",
        sanitize: bool = True,
    ) -> None:
        self.folder, self.order, self.sanitize = folder, order, sanitize
        self.texts = sources() if texts is None else texts

    def put(self, values: NDArray[Any]) -> _HostBuffer:
        """Return a copy."""
        return _HostBuffer(np.ascontiguousarray(values).copy())

    def empty(self, shape: Any, dtype: DTypeLike) -> _HostBuffer:
        """Return a buffer of a pattern that is no plausible answer."""
        values = np.empty(shape, dtype)
        values.view(np.uint8).reshape(-1)[:] = 0xCD
        return _HostBuffer(values)

    def _program(self, file: str, defines: Mapping[str, int]) -> Path:
        reached = _reached(self.texts, file)
        key = hash((file, tuple(sorted(defines.items())), tuple(reached.items())))
        program = self.folder / f"{file}-{key & 0xFFFFFFFFFFFF:x}{'-s' if self.sanitize else ''}"
        if program.exists():
            return program
        texts = self.folder / f"sources-{key & 0xFFFFFFFFFFFF:x}"
        texts.mkdir(parents=True, exist_ok=True)
        for name, text in reached.items():
            (texts / name).write_text(text)
        names = _KERNEL.findall(self.texts[f"{file}.cu"])
        table = ", ".join(f'{{"{name}", fibers::bound({name})}}' for name in names)
        main = self.folder / f"{program.name}.cpp"
        main.write_text(
            '#include "fibers_ptx.hpp"\n'
            f'#include "{file}.cu"\n'
            '#include "runner.hpp"\n'
            f"int main(int, char** argv) {{ return fibers::run(argv[1], {{{table}}}); }}\n"
        )
        sanitizers = [
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-fsanitize-sections=fastface_shared",
        ]
        command = [
            os.environ.get("CXX", "g++"),
            *("-std=c++17", "-O1", "-g1", "-ffp-contract=off", "-DFASTFACE_FIBERS"),
            # What nobody has written must not look like a plausible zero.
            "-ftrivial-auto-var-init=pattern",
            *("-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-variable"),
            *(sanitizers if self.sanitize else []),
            *(f"-I{folder}" for folder in (_FIBERS, texts)),
            *(f"-D{name}={value}" for name, value in defines.items()),
        ]
        scheduler = self.folder / f"scheduler{'-s' if self.sanitize else ''}.o"
        if not scheduler.exists():
            _compile([*command, "-c", str(_FIBERS / "scheduler.cpp"), "-o", str(scheduler)])
        _compile([*command, str(main), str(scheduler), "-o", str(program)])
        return program

    def launch(
        self,
        file: str,
        defines: Mapping[str, int],
        kernel: str,
        grid: Sequence[int] | int,
        block: int,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
    ) -> None:
        """Run a kernel in a process of its own."""
        buffers: list[_HostBuffer] = []
        words: list[bytes] = [struct.pack("<q", len(arguments))]
        for value in arguments:
            if isinstance(value, _HostBuffer):
                if not any(value is buffer for buffer in buffers):
                    buffers.append(value)
                number = next(i for i, buffer in enumerate(buffers) if buffer is value)
                words.append(struct.pack("<q", number))
            elif value is None:
                words.append(struct.pack("<q", -1))
            elif isinstance(value, float | np.floating):
                words.append(struct.pack("<d", float(value)))
            else:
                words.append(struct.pack("<q", int(value)))
        numbers = (*_triple(grid), *_triple(block), shared_bytes, self.order == "reverse")
        words += [struct.pack("<q", int(number)) for number in numbers]
        job = [struct.pack("<q", len(buffers))]
        for buffer in buffers:
            raw = buffer.values.tobytes()
            job += [struct.pack("<q", len(raw)), raw]
        environment = {
            **os.environ,
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
            "UBSAN_OPTIONS": "print_stacktrace=0",
        }
        done = subprocess.run(
            [str(self._program(file, defines)), kernel],
            input=b"".join(job + words),
            capture_output=True,
            env=environment,
        )
        if done.returncode:
            report = done.stderr.decode(errors="replace")
            raise FiberFault(f"{kernel}: exit status {done.returncode}\n{report[:4000]}")
        position = 0
        for buffer in buffers:
            size = buffer.values.nbytes
            raw = np.frombuffer(done.stdout[position : position + size], np.uint8)
            buffer.values.view(np.uint8).reshape(-1)[:] = raw
            position += size
