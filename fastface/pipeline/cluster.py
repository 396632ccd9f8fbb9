"""Shards made on the workers of a Dask cluster: photos found and embedded there, written here.

A shard is what it would be here, since its batches depend on the listing alone.  A worker loads
detector and model once; a photo that ends the process that reads it costs only itself there too.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.distributed.cluster import connect, gather, submit
from fastface.errors import InvalidInputError, StorageError
from fastface.pipeline.assistants import EmbedderLike
from fastface.pipeline.embedding import embed_photos
from fastface.pipeline.extraction import ExtractionPool
from fastface.pipeline.forgotten import Box, hide
from fastface.pipeline.photo_worker import Extractor, PhotoResult
from fastface.pipeline.shards import PHOTOS_PER_SHARD, ShardStore, shards_of
from fastface.pipeline.versions import deciding_versions
from fastface.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

    from fastface.faces import PhotoListing

__all__ = ["Recipe", "embed_shards_on_cluster", "make_shards_on_cluster"]

_SHARDS_PER_THREAD = 2  # at work or waiting on a worker: results are held by this process

Finished = tuple[int, list[PhotoResult], NDArray[np.float32]]


class Recipe:
    """How photos become vectors.

    Parameters
    ----------
    root : Path
        What paths of photos are relative to; workers see it under the same name.
    make_extractor, make_embedder : callable
        Picklable; each called once in a worker.
    model_sha256 : str
        Of the model that workers must load too.
    hidden : mapping of str to boxes
        Faces of photos that shall not come back; see `fastface.pipeline.forgotten`.
    """

    def __init__(
        self,
        root: Path,
        make_extractor: Callable[[], Extractor],
        make_embedder: Callable[[], EmbedderLike],
        model_sha256: str,
        hidden: Mapping[str, tuple[Box, ...]],
    ) -> None:
        self.key = uuid.uuid4().hex
        self.root = root
        self.make_extractor = make_extractor
        self.make_embedder = make_embedder
        self.model_sha256 = model_sha256
        self.hidden = dict(hidden)


def make_shards_on_cluster(
    scheduler: Any, store: ShardStore, listing: PhotoListing, recipe: Recipe, progress: Progress
) -> int:
    """Let a cluster make every shard that is not there yet; return how many there are.

    Parameters
    ----------
    scheduler : str or distributed.Client
        See `embed_shards_on_cluster`, which also says what is raised.
    store : ShardStore
        Where to.
    listing : PhotoListing
        Photos.
    recipe : Recipe
        How.
    progress : Progress
        Where to report.
    """
    shards = shards_of(listing.photos, PHOTOS_PER_SHARD)
    missing = {index: names for index, names in enumerate(shards) if not store.has(index)}
    n_photos = len(listing.photos)
    done = n_photos - sum(map(len, missing.values()))
    if missing:
        with (
            progress.step("faces", n_photos, "photos", done=done) as step,
            closing(embed_shards_on_cluster(scheduler, recipe, missing)) as finished,
        ):
            for number, results, embeddings in finished:
                names = missing[number]
                store.write(number, number * PHOTOS_PER_SHARD, names, results, embeddings)
                step.advance(len(names))
    return len(shards)


def embed_shards_on_cluster(
    scheduler: Any, recipe: Recipe, shards: Mapping[int, Sequence[str]]
) -> Generator[Finished, None, None]:
    """Find and embed the faces of shards on workers, in any order.

    Parameters
    ----------
    scheduler : str or distributed.Client
        Address of the scheduler, such as ``"tcp://host:8786"``, or a client.
    recipe : Recipe
        How.
    shards : mapping of int to sequence of str
        Photos of each shard.

    Yields
    ------
    tuple
        Number of a shard, what came of its photos, and the vectors of its faces.

    Raises
    ------
    InvalidInputError
        If workers have other versions of what results depend on.
    StorageError
        If a worker does not see the photos.
    BackendUnavailableError
        If there is no scheduler, there are no workers, or they die again and again.
    """
    with connect(scheduler) as client:
        _check_versions(client)
        waiting = deque(shards.items())
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                at_once = _SHARDS_PER_THREAD * sum(client.nthreads().values())
                while waiting and len(running) < max(1, at_once):
                    number, names = waiting.popleft()
                    running[submit(client, _make_shard, recipe, list(names))] = number
                done = _first_done(list(running))
                number = running.pop(done)
                ((results, embeddings),) = gather(client, [done])
                del done  # workers let go of it
                yield number, results, embeddings
        finally:
            with suppress(Exception):  # it would replace the error that says why this ended
                client.cancel(list(running))
                client.run(_forget, recipe.key, on_error="ignore")


def _first_done(futures: list[Any]) -> Any:
    from distributed import wait

    return next(iter(wait(futures, return_when="FIRST_COMPLETED").done))


def _check_versions(client: Client) -> None:
    ours = deciding_versions()
    for worker, theirs in client.run(deciding_versions).items():
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                raise InvalidInputError(
                    f"worker {worker} has {name} {theirs.get(name)}, this process has"
                    f" {ours.get(name)}: faces and vectors depend on it; install the same there"
                )


class _Tools:
    """What a worker process has loaded for one job."""

    def __init__(self, recipe: Recipe) -> None:
        self.embedder = recipe.make_embedder()
        found = self.embedder.model.sha256
        if found != recipe.model_sha256:
            raise InvalidInputError(
                f"a worker has another model by this name (SHA-256 {found[:12]}…, not"
                f" {recipe.model_sha256[:12]}…): give all workers the same file"
            )
        self.lock = threading.Lock()
        self.pool = ExtractionPool(recipe.make_extractor, _threads_of_worker())


_tools: dict[str, _Tools] = {}
_lock = threading.Lock()


def _threads_of_worker() -> int:
    from distributed import get_worker

    try:
        return max(1, int(get_worker().state.nthreads))
    except ValueError:  # not on a worker
        return 1


def _make_shard(recipe: Recipe, names: list[str]) -> tuple[list[PhotoResult], NDArray[np.float32]]:
    if not recipe.root.is_dir():
        raise StorageError(
            f"a worker does not see the folder {recipe.root}: photos must lie under the same path"
            " on every worker"
        )
    with _lock:
        if recipe.key not in _tools:
            _tools[recipe.key] = _Tools(recipe)
        tools = _tools[recipe.key]
    found = hide(tools.pool.extract(recipe.root, names), names, recipe.hidden)
    return embed_photos(found, tools.embedder, _unclocked)


@contextmanager
def _unclocked(_: str) -> Iterator[None]:
    yield


def _forget(key: str) -> None:
    with _lock:
        tools = _tools.pop(key, None)
    if tools is not None:
        tools.pool.__exit__()
