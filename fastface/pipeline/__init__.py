"""The main job: photos in, a run folder with people out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastface.pipeline.forgetting import Removal, forget
    from fastface.pipeline.job import RunResult, run

__all__ = ["Removal", "RunResult", "forget", "run"]


def __getattr__(name: str) -> object:
    # Worker processes import `fastface.pipeline.photo_worker` alone; the job would cost each of
    # them a second of imports.
    if name not in __all__:
        raise AttributeError(f"module 'fastface.pipeline' has no attribute {name!r}")
    try:
        from fastface.pipeline import forgetting, job
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces,report", purpose="Working on photos"
        ) from error
    return getattr(forgetting if name in ("Removal", "forget") else job, name)
