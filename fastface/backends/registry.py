"""The only place where a backend, an instruction set or a number of threads is chosen."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING

from fastface.backends.protocol import Backend
from fastface.errors import BackendUnavailableError
from fastface.validation import check_device, check_integer

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "available_isas",
    "get_backend",
    "get_isa",
    "get_kernels",
    "get_num_threads",
    "resolve_threads",
    "set_isa",
    "set_num_threads",
    "tell_choice",
]

_log = logging.getLogger("fastface")
_num_threads: int | None = None


@cache
def get_kernels() -> ModuleType:
    """Return the compiled extension, imported once, honouring ``FASTFACE_ISA``.

    Raises
    ------
    BackendUnavailableError
        It is missing, or the machine lacks the instruction set.
    """
    try:
        from fastface import _kernels
    except ImportError as error:
        raise BackendUnavailableError(
            "fastface's compiled kernels are missing (running from a source tree?):"
            " pip install -e . in the source folder, or run Python from another folder"
        ) from error
    if name := os.environ.get("FASTFACE_ISA"):
        _select_isa(_kernels, name)
    _offer_to_threadpoolctl()
    return _kernels


def _select_isa(kernels: ModuleType, name: str) -> None:
    if not kernels.set_isa(name):
        raise BackendUnavailableError(
            f"instruction set {name!r} is not available;"
            f" this machine has {', '.join(kernels.available_isas())}"
        )


def _offer_to_threadpoolctl() -> None:
    """Let ``threadpoolctl.threadpool_limits`` limit these kernels as it limits BLAS and OpenMP."""
    import threadpoolctl

    class KernelsController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = "fastface"
        internal_api = "fastface"
        filename_prefixes = ("_kernels.",)
        check_symbols = ("fastface_kernels",)

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            set_num_threads(num_threads)

        def get_version(self) -> str | None:
            return None

    threadpoolctl.register(KernelsController)


def get_backend(device: str = "auto") -> Backend:
    """Return the backend that serves `device`.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        ``"auto"`` is the C++ implementation, and the log ``fastface`` says so once.  ``"cuda"`` is
        an NVIDIA GPU, through CuPy.
        ``"reference"`` is the slow NumPy definition.

    Raises
    ------
    BackendUnavailableError, MissingDependencyError
        If the device is known but cannot be served here.
    InvalidInputError
        If no such device is known.
    """
    kind, _ = check_device(device, also=("reference",))
    if kind == "reference":
        from fastface.backends.reference import ReferenceBackend

        return ReferenceBackend()
    if kind == "cuda":
        from fastface.backends.cuda.backend import CudaBackend

        return CudaBackend.open(device)
    if kind == "auto":
        tell_choice("on the CPU", "rows of the host go to a GPU with device='cuda'")
    get_kernels()
    from fastface.backends.cpu import CpuBackend

    return CpuBackend()


@cache
def tell_choice(where: str, remark: str) -> None:
    """Say in the log, once for each place, where ``device="auto"`` led."""
    _log.info("device='auto': computing %s; %s", where, remark)


def available_isas() -> tuple[str, ...]:
    """Return the instruction sets this machine can run, slowest first.

    Returns
    -------
    tuple of str
        Some of ``"baseline"``, ``"avx2"``, ``"avx512"`` and ``"avx512_vnni"``, which has tiles of
        8-bit integers beside those of ``"avx512"``.
    """
    return tuple(get_kernels().available_isas())


def get_isa() -> str:
    """Return the instruction set in use.

    Returns
    -------
    str
        One of `available_isas`.
    """
    return str(get_kernels().active_isa())


def set_isa(name: str) -> None:
    """Use one instruction set from now on, for all threads of the process.

    Results do not depend on it, only speed does.  The environment variable ``FASTFACE_ISA`` does
    the same at start.

    Parameters
    ----------
    name : str
        One of `available_isas`.

    Raises
    ------
    BackendUnavailableError
        If the machine lacks it.
    """
    _select_isa(get_kernels(), name)


def set_num_threads(n: int | None) -> None:
    """Set how many threads calls use that do not say ``n_threads``.

    Parameters
    ----------
    n : int or None
        At least 1.  None returns to the default, the number of usable cores.
    """
    global _num_threads
    _num_threads = None if n is None else check_integer(n, name="n_threads", low=1)


def get_num_threads() -> int:
    """Return how many threads calls use that do not say ``n_threads``.

    Returns
    -------
    int
        The value of `set_num_threads`, else the cores this process may run on.
    """
    if _num_threads is not None:
        return _num_threads
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def resolve_threads(n_threads: int | None) -> int:
    """Return the number of threads a call shall use."""
    if n_threads is None:
        return get_num_threads()
    return check_integer(n_threads, name="n_threads", low=1, high=1024)
