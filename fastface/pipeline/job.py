"""`run`: a folder of photos to a run folder with people.

Photos are listed once and cut into shards.  While worker processes decode, detect and align the
photos of one part of a shard, this process embeds the faces of another.  Every finished shard is on
disk as a whole, so that a job that was stopped goes on where it was and ends with the same bits:
shards and the batches inside them depend on the listing alone.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.backends import get_isa, get_num_threads
from fastface.errors import InvalidInputError, NoFacesError
from fastface.faces import FaceExtractor, PhotoListing, find_photos
from fastface.identities.estimator import METHODS
from fastface.pipeline.extraction import ExtractionPool, Extractor, PhotoResult
from fastface.pipeline.finish import collect, group_people
from fastface.pipeline.folder import RunFolder
from fastface.pipeline.shards import PHOTOS_PER_SHARD, ShardStore
from fastface.pipeline.storage import read_json, write_json
from fastface.progress import NullProgress, Progress, Step
from fastface.validation import check_integer

__all__ = ["RunResult", "run"]

_PACKAGES = ("fastface", "numpy", "onnxruntime", "openvino", "dlib-bin", "pillow", "pyarrow")


class EmbedderLike(Protocol):
    """What the job needs of `fastface.Embedder`."""

    spec: Any
    model: Any
    runtime_: str

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one vector a crop."""
        ...


@dataclass(frozen=True)
class RunResult:
    """What a job found.

    Attributes
    ----------
    folder : Path
        The run folder.
    n_photos, n_faces, n_people, n_skipped : int
        Counts; a skipped file gave no face.
    report : Path or None
        The page to look at.
    reused : bool
        The folder was finished already, and nothing was done.
    """

    folder: Path
    n_photos: int
    n_faces: int
    n_people: int
    n_skipped: int
    report: Path | None
    reused: bool = False


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    cpu_start: float = field(default_factory=lambda: _cpu_seconds())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def summary(self) -> dict[str, Any]:
        wall = time.perf_counter() - self.start
        busy = (_cpu_seconds() - self.cpu_start) / max(wall, 1e-9) / max(1, os.cpu_count() or 1)
        return {
            "timings": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
            "wall_seconds": round(wall, 3),
            "share_of_cores_busy": round(min(1.0, busy), 3),
        }


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] = "dlib-resnet",
    spec: str | None = None,
    detector: str = "dlib-hog",
    upsample: int = 0,
    runtime: str = "auto",
    method: str = "auto",
    group: bool = True,
    report: bool = True,
    force: bool = False,
    workers: int | None = None,
    n_threads: int | None = None,
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
        The run folder: new, empty, or of an earlier call with the same parameters, which goes on
        where it was.
    model : str or path-like
        A registered model or an ONNX file.
    spec : str, optional
        For a file: the preset that says how it wants its crops.
    detector : str
        Which detector finds faces.
    upsample : int
        How often photos are doubled before the search.
    runtime : {"auto", "onnxruntime", "openvino"}
        What executes the model.
    method : str
        See `fastface.IdentityClustering`.
    group : bool
        Group faces into people; if not, stop after the embeddings.
    report : bool
        Write the pages.
    force : bool
        Replace a run folder that was made with other parameters or photos.
    workers : int, optional
        Processes that decode, detect and align; by default the number of cores.
    n_threads : int, optional
        Threads of the model's runtime and of the kernels.
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
    """
    if method not in ("auto", *METHODS):
        raise InvalidInputError(
            f"unknown method {method!r}; choose 'auto' or one of {', '.join(METHODS)}"
        )
    n_workers = (
        get_num_threads() if workers is None else check_integer(workers, name="workers", low=1)
    )
    progress = progress or NullProgress()
    clock = _Clock()
    with clock.stage("prepare"):
        embedder = make_embedder() if make_embedder else _embedder(model, spec, runtime, n_threads)
        listing = find_photos(photos, exclude=[out])
        if not listing.photos:
            raise NoFacesError(
                f"no photos in {photos}: JPEG, PNG, WebP, BMP, TIFF, GIF and HEIC are looked for,"
                f" in subfolders too"
            )
        template = embedder.spec.template
        make = make_extractor or partial(FaceExtractor, template, detector, upsample)
        make()  # a wrong detector or template is better known now than in a worker
        parameters = {
            "model": embedder.spec.name,
            "model_sha256": embedder.model.sha256,
            "runtime": embedder.runtime_,
            "detector": detector,
            "upsample": upsample,
            "template": template,
            "method": method if group else None,
        }
        job = {
            "parameters": parameters,
            "photos": [_fingerprint(listing.root, photo) for photo in listing.photos],
        }

    folder = RunFolder(Path(out))
    with folder.open(job, force=force):
        reused = folder.finished
        if not reused:
            store = ShardStore(folder.shards)
            n_shards = _make_shards(store, listing, embedder, make, n_workers, progress, clock)
            with clock.stage("collect"):
                listed = [skipped._asdict() for skipped in listing.skipped]
                faces = collect(store, n_shards, folder.path, listed, embedder.spec.embedding_size)
            with clock.stage("group"):
                used = group_people(
                    folder.path,
                    faces,
                    method=method if group else None,
                    cutoff=embedder.spec.linkage_cutoff / embedder.spec.typical_norm,
                    n_threads=n_threads,
                )
            _write_summary(folder, listing, parameters | {"method": used}, embedder, clock)
        if folder.shards.is_dir():
            shutil.rmtree(folder.shards)
        result = _finished(folder, reused)
        if report and result.n_people and result.report is None:
            _write_report(folder, progress)
            result = _finished(folder, reused)
    if result.n_faces == 0:
        raise NoFacesError(
            f"no face in {result.n_photos} photos: {folder / 'skipped.parquet'} says why for each;"
            " small faces may need --upsample 1"
        )
    return result


def _make_shards(
    store: ShardStore,
    listing: PhotoListing,
    embedder: EmbedderLike,
    make: Callable[[], Extractor],
    n_workers: int,
    progress: Progress,
    clock: _Clock,
) -> int:
    """Make every shard that is not there yet; return how many there are."""
    n_shards = -(-len(listing.photos) // PHOTOS_PER_SHARD)
    with (
        progress.step("faces", len(listing.photos), "photos") as step,
        ExtractionPool(make, n_workers) as pool,
    ):
        for index in range(n_shards):
            first = index * PHOTOS_PER_SHARD
            names = listing.photos[first : first + PHOTOS_PER_SHARD]
            if store.has(index):
                step.advance(len(names))
                continue
            results, embeddings = _shard(pool, embedder, listing.root, names, step, clock)
            with clock.stage("write shards"):
                store.write(index, first, names, results, embeddings)
    return n_shards


def _embedder(
    model: str | os.PathLike[str], spec: str | None, runtime: str, n_threads: int | None
) -> EmbedderLike:
    from fastface.embedder import Embedder

    return Embedder(model, spec=spec, runtime=runtime, n_threads=n_threads)


def _fingerprint(root: Path, photo: str) -> list[Any]:
    """Return name, size and time of a photo; one that vanished meanwhile has neither."""
    try:
        status = os.stat(root / photo)
    except OSError:
        return [photo, None, None]
    return [photo, status.st_size, status.st_mtime_ns]


def _shard(
    pool: ExtractionPool,
    embedder: EmbedderLike,
    root: Path,
    names: list[str],
    step: Step,
    clock: _Clock,
) -> tuple[list[PhotoResult], NDArray[np.float32]]:
    """Extract and embed one shard: crops are embedded 32 at a time while workers go on."""
    batch_size = 32
    results: list[PhotoResult] = []
    crops: list[NDArray[np.uint8]] = []
    parts: list[NDArray[np.float32]] = [np.empty((0, embedder.spec.embedding_size), np.float32)]

    def embed(n: int) -> None:
        with clock.stage("embed"):
            parts.append(embedder.embed(np.stack(crops[:n])))
        del crops[:n]

    source = pool.extract(root, names)
    while True:
        with clock.stage("wait for faces"):
            result = next(source, None)
        if result is None:
            break
        results.append(result)
        crops.extend(face.crop for face in result.faces)
        step.advance()
        while len(crops) >= batch_size:
            embed(batch_size)
    if crops:
        embed(len(crops))
    return results, np.concatenate(parts)


def _write_summary(
    folder: RunFolder,
    listing: PhotoListing,
    parameters: dict[str, Any],
    embedder: EmbedderLike,
    clock: _Clock,
) -> None:
    import pyarrow.parquet as pq

    counts = {
        name: pq.read_metadata(folder / f"{name}.parquet").num_rows
        for name in ("faces", "people", "skipped")
    }
    spec = embedder.spec
    write_json(
        folder / "run.json",
        {
            "versions": _versions(),
            "model": {
                "name": spec.name,
                "sha256": embedder.model.sha256,
                "licence": spec.licence,
                "licence_url": spec.licence_url,
            },
            "parameters": {**parameters, "instruction_set": get_isa()},
            "photo_root": str(listing.root.resolve()),
            "counts": {"photos": len(listing.photos), **counts},
            **clock.summary(),
        },
    )


def _versions() -> dict[str, str]:
    installed = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **{k: v for k, v in installed.items() if v}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write_report(folder: RunFolder, progress: Progress) -> None:
    from fastface.report import write_report

    write_report(folder.path, progress=progress)


def _finished(folder: RunFolder, reused: bool) -> RunResult:
    counts = read_json(folder / "run.json")["counts"]
    page = folder / "report" / "index.html"
    return RunResult(
        folder.path,
        counts["photos"],
        counts["faces"],
        counts["people"],
        counts["skipped"],
        page if page.is_file() else None,
        reused,
    )
