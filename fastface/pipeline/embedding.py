"""Batches of crops to vectors: the same batches wherever a shard is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from fastface.pipeline.assistants import BATCH_SIZE, EmbedderLike
from fastface.pipeline.photo_worker import PhotoResult

__all__ = ["embed_photos"]


def embed_photos(
    source: Iterator[PhotoResult],
    embedder: EmbedderLike,
    busy: Callable[[str], AbstractContextManager[None]],
) -> tuple[list[PhotoResult], NDArray[np.float32]]:
    """Embed the faces of one shard, a batch at a time, while photos are still read.

    Parameters
    ----------
    source : iterator of PhotoResult
        What came of its photos.
    embedder : EmbedderLike
        The model.
    busy : callable
        Given ``"embed"``, a context manager around each batch.

    Returns
    -------
    results : list of PhotoResult
        Without pixels.
    embeddings : ndarray of float32, shape (n_faces, n_features)
    """
    results: list[PhotoResult] = []
    crops: list[NDArray[np.uint8]] = []
    parts = [np.empty((0, embedder.spec.embedding_size), np.float32)]

    def embed_up_to(n: int) -> None:
        with busy("embed"):
            parts.append(embedder.embed(np.stack(crops[:n])))
        del crops[:n]

    for result in source:
        results.append(result.without_pixels())
        crops.extend(face.crop for face in result.faces if face.crop is not None)
        while len(crops) >= BATCH_SIZE:
            embed_up_to(BATCH_SIZE)
    if crops:
        embed_up_to(len(crops))
    return results, np.concatenate(parts)
