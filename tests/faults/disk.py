"""A disk whose N-th operation is refused, or at whose N-th operation the process dies."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FAULTS", "Fault", "arm", "count", "preload"]

_SOURCE = Path(__file__).with_name("disk_faults.c")
_LIBRARY = "FASTFACE_DISK_FAULTS"


@dataclass(frozen=True)
class Fault:
    """What happens at the chosen operation."""

    name: str
    answer: int  # an errno, or -1: the process dies by SIGKILL, half of a write having been done
    lasting: bool = False  # every later operation is refused too
    removals: bool = True  # removing a file counts and may be refused


FAULTS = (
    Fault("killed", -1),
    Fault("disk full", errno.ENOSPC, lasting=True, removals=False),
    Fault("disk full once", errno.ENOSPC, removals=False),
    Fault("input/output error", errno.EIO, lasting=True),
    Fault("input/output error once", errno.EIO),
)


def preload(module: str, arguments: list[str]) -> int:
    """Run a module of this folder in a process whose disk can be made to fail."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "disk_faults.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, _SOURCE, "-ldl"], check=True
        )
        environment = {**os.environ, "LD_PRELOAD": str(library), _LIBRARY: str(library)}
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ[_LIBRARY])


def arm(folder: Path, n: int, fault: Fault) -> None:
    """Let the `n`-th operation below a folder, from 0, fail; a negative one: only count."""
    path = os.fsencode(folder.absolute())
    _library().disk_faults_arm(path, ctypes.c_long(n), fault.answer, fault.lasting, fault.removals)


def count() -> int:
    """Return how many operations there were since the last `arm`."""
    counter = _library().disk_faults_count
    counter.restype = ctypes.c_long
    return int(counter())
