"""`regroup`: the faces of a finished run folder grouped anew, without looking at a photo."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastface.errors import StorageError
from fastface.pipeline.finish import choose_cutoff, group_people
from fastface.pipeline.folder import RunFolder
from fastface.pipeline.names import known_faces, nobody, who_they_were
from fastface.pipeline.storage import read_json, read_table, write_json
from fastface.pipeline.summary import RunResult, read_result

__all__ = ["regroup"]


def regroup(
    folder: str | os.PathLike[str],
    *,
    method: str = "auto",
    n_threads: int | None = None,
    callback: Callable[[str], object] | None = None,
) -> RunResult:
    """Group the faces of a run folder anew, around what a user corrected.

    People keep their ids and names; what became of them is added to the history.

    Parameters
    ----------
    folder : path-like
        A finished run folder.
    method : str
        See `fastface.IdentityClustering`; later runs in this folder must ask for the same.
    n_threads : int, optional
        Threads.
    callback : callable, optional
        Told the name of each step as it begins.

    Returns
    -------
    RunResult

    Raises
    ------
    InvalidInputError
        If there is no such method.
    StorageError, RunLockedError, CorruptFileError
        If the folder cannot be used.
    """
    run = RunFolder(Path(folder))
    if not run.finished:
        raise StorageError(
            f"{run.path} is not a finished run folder: give one that `fastface run PHOTOS --out"
            " FOLDER` made, or a file of embeddings"
        )
    with run.hold():
        known = known_faces(run.path)
        faces = read_table(run / "faces.parquet").drop_columns(["person_id", "confidence"])
        earlier = nobody(faces.num_rows) if known is None else who_they_were(known, faces)
        summary, job = read_json(run / "run.json"), read_json(run / "job.json")
        used = group_people(
            run.path,
            faces,
            method=method,
            cutoff=summary["parameters"].get("cutoff", partial(_cutoff, summary["model"]["name"])),
            n_threads=n_threads,
            earlier=earlier,
            callback=callback,
        )
        job["parameters"]["method"] = method
        summary["parameters"] |= used
        summary["counts"]["people"] = read_table(run / "people.parquet").num_rows
        write_json(run / "job.json", job)
        write_json(run / "run.json", summary)
        return read_result(run, reused=False)


def _cutoff(model: str, embeddings: NDArray[np.float32]) -> float:
    from fastface.models import get_spec

    return choose_cutoff(get_spec(model), embeddings)
