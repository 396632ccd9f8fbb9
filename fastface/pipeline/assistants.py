"""What a job asks for help: the embedder and the writer of pages, imported when they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastface.models import Model, ModelSpec

__all__ = ["BATCH_SIZE", "EmbedderLike", "open_embedder", "report_writer"]

# Part of what makes results the same however often a job was stopped: never depends on the machine.
BATCH_SIZE = 32


class EmbedderLike(Protocol):
    """What the job needs of `fastface.Embedder`."""

    spec: ModelSpec
    model: Model
    runtime_: str

    def embed(self, crops: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return one vector a crop."""
        ...


def open_embedder(
    model: str | os.PathLike[str],
    spec: ModelSpec | str | None,
    runtime: str,
    precision: str,
    n_threads: int | None,
) -> EmbedderLike:
    """Open the model a job embeds by; see `fastface.Embedder`."""
    from fastface.embedder import Embedder

    return Embedder(
        model,
        spec=spec,
        runtime=runtime,
        precision=precision,
        n_threads=n_threads,
        batch_size=BATCH_SIZE,
    )


def report_writer() -> Callable[..., Path]:
    """Return `fastface.report.write_report`, or raise `MissingDependencyError`."""
    try:
        from fastface.report import write_report
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="report", purpose="The report (--no-report omits it)"
        ) from error
    return write_report
