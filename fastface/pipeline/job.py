"""`run`: a folder of photos to a run folder with people.

Photos are listed once and cut into shards.  While worker processes decode, detect and align photos,
one thread of this process embeds the faces of earlier ones, and another writes shards before
those.  Every finished shard is on disk as a whole, so that a job that was stopped goes on where it
was and ends with the same bits: shards and the batches inside them depend on the listing alone.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastface.backends import get_num_threads
from fastface.errors import InvalidInputError, NoFacesError
from fastface.faces import DEFAULT_MAX_SIDE, FaceExtractor, PhotoListing, find_photos
from fastface.pipeline.assistants import BATCH_SIZE, EmbedderLike, open_embedder, report_writer
from fastface.pipeline.clock import Clock
from fastface.pipeline.crops import CropReader
from fastface.pipeline.embedding import embed_photos
from fastface.pipeline.extraction import ExtractionPool
from fastface.pipeline.finish import choose_cutoff, collect, group_people
from fastface.pipeline.folder import Job, RunFolder
from fastface.pipeline.forgotten import FORGOTTEN_FILE, Box, Forgotten, hide
from fastface.pipeline.listing import photos_table
from fastface.pipeline.overlap import run_ahead
from fastface.pipeline.photo_worker import WORKER_PARTS, Extractor, PhotoResult
from fastface.pipeline.shards import (
    PHOTOS_PER_SHARD,
    DamagedShardError,
    ShardStore,
    shards_of,
)
from fastface.pipeline.summary import (
    RunResult,
    explain_no_faces,
    explain_no_photos,
    read_result,
    write_summary,
)
from fastface.pipeline.versions import deciding_versions, describe_detector
from fastface.pipeline.wholeness import check_finished
from fastface.progress import NullProgress, Progress, Step
from fastface.validation import check_integer

if TYPE_CHECKING:
    from fastface.models import ModelSpec

__all__ = ["RunResult", "run"]

_GROUPING_STEPS = 3
# Photos whose faces may wait to be embedded: enough that workers go on during one batch.
_PHOTOS_AHEAD = 2 * BATCH_SIZE
_OVERLAPPED = "find and embed"


class _Shard(NamedTuple):
    """One shard, ready to be written."""

    number: int
    photos: Sequence[str]
    results: list[PhotoResult]
    embeddings: NDArray[np.float32]


def run(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] = "dlib-resnet",
    spec: ModelSpec | str | None = None,
    detector: str = "dlib-hog",
    upsample: int = 0,
    max_side: int = DEFAULT_MAX_SIDE,
    crops: bool = False,
    runtime: str = "auto",
    precision: str = "fp32",
    method: str = "auto",
    group: bool = True,
    report: bool | None = None,
    force: bool = False,
    include_forgotten: bool = False,
    encrypt: bool = False,
    workers: int | None = None,
    n_threads: int | None = None,
    scheduler: Any = None,
    progress: Progress | None = None,
    make_extractor: Callable[[], Extractor] | None = None,
    make_embedder: Callable[[], EmbedderLike] | None = None,
) -> RunResult:
    """Find, embed and group the faces of a folder of photos.

    Parameters
    ----------
    photos : path-like
        A folder, searched recursively, or one photo.
    out : path-like
        The run folder: new, empty, or of an earlier call with the same parameters and photos,
        which is continued where it was.
    model : str or path-like
        A registered model or an ONNX file.
    spec : ModelSpec or str, optional
        For a file: how it wants its crops, or the name of a preset that says so.
    detector : str
        Which detector finds faces.
    upsample : int
        How often photos are doubled before the search.
    max_side : int
        Longest side, in pixels, of the copy of a photo that is searched.
    crops : bool
        The photos are crops already, aligned by the model's template, one face each.
    runtime : {"auto", "onnxruntime", "openvino"}
        What executes the model.
    precision : {"fp32", "int8", "fp16", "bf16"}
        Arithmetic of the model; see `fastface.Embedder`.
    method : str
        See `fastface.IdentityClustering`.
    group : bool
        Group faces into people; if not, stop after the embeddings.
    report : bool, optional
        Write the pages; by default where the folder is not encrypted, for they are not.
    force : bool
        Start anew in a run folder, whatever an earlier job left there.
    include_forgotten : bool
        Take in again what `fastface.pipeline.forget` removed.
    encrypt : bool
        Encrypt a new run folder, by a key from the environment; see ``docs/privacy.md``.
    workers : int, optional
        Processes that decode, detect and align; by default the number of cores.
    n_threads : int, optional
        Threads of the model's runtime and of the kernels.
    scheduler : str or distributed.Client, optional
        Find and embed faces on the workers of this Dask cluster, which see photos and model under
        the same paths; `workers` is then theirs to say.  The folder gets the same bytes.
    progress : Progress, optional
        Where to report; nowhere by default.
    make_extractor, make_embedder : callable, optional
        Replace the extractor (called in every worker, so it must be picklable) or the embedder.

    Returns
    -------
    RunResult

    Raises
    ------
    InvalidInputError
        If a parameter cannot be used.
    NoFacesError
        If there is no photo, or no face in any of them (the tables say why).
    StorageError, RunLockedError, RunMismatchError, CorruptFileError
        If the run folder cannot be used.
    EncryptionError
        If the folder is or shall be encrypted, and the environment gives no key or another one.
    MissingDependencyError
        If a package is not installed; said before any photo is read.

    Notes
    -----
    Memory does not grow with the number of photos but for the listing itself, the columns of
    ``faces.parquet`` and, while people are grouped, the embeddings and their neighbour graph.
    """
    n_workers = _check(method, workers)
    progress = progress or NullProgress()
    clock = Clock()
    with clock.stage("prepare"):
        if report is not False and group:
            report_writer()
        make_embedder = make_embedder or partial(
            open_embedder, model, spec, runtime, precision, n_threads
        )
        embedder = make_embedder()
        listing = find_photos(photos, exclude=[out])
        listing, hidden = Forgotten.of(out, unless=include_forgotten).leave_out(listing)
        if not listing.photos:
            raise NoFacesError(explain_no_photos(photos, listing))
        template = embedder.spec.template
        make = make_extractor or (
            partial(CropReader, template)
            if crops
            else partial(FaceExtractor, template, detector, upsample, max_side=max_side)
        )
        # A wrong detector or template is better known now than in a worker.
        extractor = make()
        if prepare := getattr(extractor, "prepare", None):
            prepare()
        if make_extractor is None:
            make = partial(copy, extractor)  # workers need not load again what it has loaded
        job = Job(
            {
                "model": embedder.spec.name,
                "model_sha256": embedder.model.sha256,
                "runtime": embedder.runtime_,
                "precision": precision,
                "detector": None if crops else detector,
                **({} if crops else describe_detector(detector)),
                "upsample": upsample,
                "max_side": max_side,
                "template": template,
                "method": method if group else None,
            },
            deciding_versions(),
            photos_table(listing),
        )

    folder = RunFolder(Path(out))
    with folder.open(job, force=force, encrypt=encrypt):
        report = not folder.encrypted if report is None else report
        reused = folder.finished
        if reused:
            check_finished(folder.path)
        else:
            if include_forgotten:
                (folder / FORGOTTEN_FILE).unlink(missing_ok=True)
            if group:
                _import_grouping()
            store = ShardStore(folder.shards)
            listed = [skipped._asdict() for skipped in listing.skipped]
            dim = embedder.spec.embedding_size
            for last_try in (False, True):
                if scheduler is None:
                    n_shards = _make_shards(
                        store, listing, hidden, embedder, make, n_workers, progress, clock
                    )
                else:
                    from fastface.pipeline.cluster import Recipe, make_shards_on_cluster

                    root = Path(listing.root).resolve()
                    recipe = Recipe(root, make, make_embedder, embedder.model.sha256, hidden)
                    with clock.stage(_OVERLAPPED):
                        n_shards = make_shards_on_cluster(
                            scheduler, store, listing, recipe, progress
                        )
                try:
                    with clock.stage("collect"):
                        faces = collect(store, n_shards, folder.path, listed, dim)
                    break
                except DamagedShardError as error:
                    if last_try:  # a disk that damages what was just written
                        raise
                    damaged = len(store.discard_damaged(n_shards))
                    warnings.warn(f"{error}: {damaged} shards are made anew", stacklevel=2)
            with clock.stage("group"), progress.step("people", _GROUPING_STEPS, "steps") as step:
                used = group_people(
                    folder.path,
                    faces,
                    method=job.parameters["method"],
                    cutoff=partial(choose_cutoff, embedder.spec),
                    n_threads=n_threads,
                    callback=lambda _: step.advance(),
                )
            write_summary(
                folder,
                photo_root=listing.root,
                n_photos=len(listing.photos),
                model=embedder.model,
                parameters={**job.parameters, **used},
                times=clock.summary(),
            )
        folder.tidy()
        result = read_result(folder, reused=reused)
        if report and result.n_people and not folder.report_is_current:
            report_writer()(folder.path, progress=progress)
            result = read_result(folder, reused=reused)
    if result.n_faces == 0:
        raise NoFacesError(explain_no_faces(folder, result))
    return result


def _check(method: str, workers: int | None) -> int:
    if method != "auto" and method not in (methods := _methods()):
        raise InvalidInputError(
            f"unknown method {method!r}; choose 'auto' or one of {', '.join(methods)}"
        )
    if workers is None:
        return get_num_threads()
    return check_integer(workers, name="workers", low=1)


def _methods() -> list[str]:
    from fastface.identities.estimator import METHODS

    return [name for name in METHODS if name != "kmeans"]  # nobody says how many people


def _import_grouping() -> None:
    """Import what groups people while photos are read: it takes a second or two."""
    threading.Thread(target=_methods, name="fastface-import", daemon=True).start()


def _make_shards(
    store: ShardStore,
    listing: PhotoListing,
    hidden: dict[str, tuple[Box, ...]],
    embedder: EmbedderLike,
    make: Callable[[], Extractor],
    n_workers: int,
    progress: Progress,
    clock: Clock,
) -> int:
    """Make every shard that is not there yet; return how many there are."""
    shards = shards_of(listing.photos, PHOTOS_PER_SHARD)
    missing = [index for index in range(len(shards)) if not store.has(index)]
    if not missing:
        return len(shards)
    names: Sequence[str] = [name for index in missing for name in shards[index]]
    n_photos = len(listing.photos)
    lanes = {**dict.fromkeys(WORKER_PARTS, n_workers), "embed": 1, "write": 1}
    with (
        progress.step("faces", n_photos, "photos", done=n_photos - len(names)) as step,
        clock.overlapping(_OVERLAPPED, lanes),
        ExtractionPool(make, n_workers) as pool,
        # One stream over all shards: workers need not wait while a shard is embedded or written.
        closing(
            run_ahead(
                hide(pool.extract(listing.root, names), names, hidden),
                _PHOTOS_AHEAD,
                "fastface-extract",
            )
        ) as found,
        closing(
            run_ahead(
                _embed_shards(
                    {index: shards[index] for index in missing},
                    _counted(found, step, clock),
                    embedder,
                    clock,
                ),
                1,
                "fastface-embed",
            )
        ) as finished,
    ):
        for number, names, results, embeddings in finished:
            with clock.busy("write"):
                store.write(number, number * PHOTOS_PER_SHARD, names, results, embeddings)
    return len(shards)


def _counted(source: Iterator[PhotoResult], step: Step, clock: Clock) -> Iterator[PhotoResult]:
    """Pass results on, counting them and the time that went into them."""
    for result in source:
        clock.add_work(_OVERLAPPED, result.busy, result.cpu_seconds)
        step.advance()
        yield result


def _embed_shards(
    shards: Mapping[int, Sequence[str]],
    source: Iterator[PhotoResult],
    embedder: EmbedderLike,
    clock: Clock,
) -> Iterator[_Shard]:
    """Embed one shard after the other."""
    for index, names in shards.items():
        results, embeddings = embed_photos(islice(source, len(names)), embedder, clock.busy)
        yield _Shard(index, names, results, embeddings)
