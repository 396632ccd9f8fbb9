"""The main job: photos in, a run folder with people out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastface.pipeline.forgetting import Removal, forget
    from fastface.pipeline.job import RunResult, run
    from fastface.pipeline.people import People
    from fastface.pipeline.regrouping import regroup

__all__ = ["People", "Removal", "RunResult", "forget", "regroup", "run"]

_HOMES = {
    "People": "people",
    "Removal": "forgetting",
    "RunResult": "job",
    "forget": "forgetting",
    "regroup": "regrouping",
    "run": "job",
}


def __getattr__(name: str) -> object:
    # Worker processes import `fastface.pipeline.photo_worker` alone; the job would cost each of
    # them a second of imports.
    if name not in __all__:
        raise AttributeError(f"module 'fastface.pipeline' has no attribute {name!r}")
    try:
        home = importlib.import_module(f"fastface.pipeline.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces,report", purpose="Working on photos"
        ) from error
    return getattr(home, name)
