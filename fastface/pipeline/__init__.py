"""The main job: photos in, a run folder with people out."""

from __future__ import annotations

from fastface.pipeline.job import RunResult, run

__all__ = ["RunResult", "run"]
