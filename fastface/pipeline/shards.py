"""Shards: finished pieces of an unfinished job, each a folder that appears whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastface.errors import CorruptFileError, EncryptionError
from fastface.pipeline.photo_worker import PhotoResult
from fastface.pipeline.schema import SHARD_FACES, SKIPPED
from fastface.pipeline.storage import (
    file_sha256,
    read_json,
    read_table,
    replacing,
    storage_errors,
    sync_folder,
    write_json,
    write_table,
)
from fastface.private import make_folder
from fastface.vault import load_array, reading, writing

__all__ = ["PHOTOS_PER_SHARD", "DamagedShardError", "ShardStore", "shards_of"]

_FILES = ("faces.parquet", "skipped.parquet", "embeddings.npy")
_CHECKSUMS = "checksums.json"

# Part of what makes results the same however often a job was stopped: never depends on the machine.
PHOTOS_PER_SHARD = 256


def shards_of(photos: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut a listing of photos into shards of `size`, the last maybe smaller."""
    return [photos[start : start + size] for start in range(0, len(photos), size)]


class DamagedShardError(CorruptFileError):
    """A shard that is on disk is not the one that was written there."""


class ShardStore:
    """The shards of one run folder.

    Parameters
    ----------
    folder : Path
        Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, index: int) -> Path:
        """Return the folder of one shard."""
        return self.folder / f"{index:08d}"

    def has(self, index: int) -> bool:
        """Whether a shard is finished."""
        return self.path(index).is_dir()

    def write(
        self,
        index: int,
        first_photo: int,
        photos: Sequence[str],
        results: Sequence[PhotoResult],
        embeddings: NDArray[np.float32],
    ) -> None:
        """Write one shard, whole or not at all.

        Parameters
        ----------
        index : int
            Its place.
        first_photo : int
            Place of its first photo in the listing.
        photos, results : sequence
            Its photos and what came of each.
        embeddings : ndarray of float32, shape (n_faces, d)
            One row a face, in order.
        """
        faces = [
            {
                "face_id": 0,  # counted when all shards are together
                "photo": photo,
                "photo_id": first_photo + offset,
                **dict(zip(("left", "top", "right", "bottom"), map(int, face.box), strict=True)),
                "landmarks": face.landmarks,
                "detector_score": face.detector_score,
                "size": face.size,
                "sharpness": face.sharpness,
                "quality": face.quality,
                "jpeg": face.jpeg,
            }
            for offset, (photo, result) in enumerate(zip(photos, results, strict=True))
            for face in result.faces
        ]
        skipped = [
            {"file": photo, "reason": result.reason, "message": result.message}
            for photo, result in zip(photos, results, strict=True)
            if not result.faces
        ]
        target = self.path(index)
        temporary = self.folder / f".{index:08d}.part"
        with storage_errors(target):
            if temporary.exists():
                shutil.rmtree(temporary)
            make_folder(temporary)
            write_table(temporary / "faces.parquet", pa.Table.from_pylist(faces, SHARD_FACES))
            write_table(temporary / "skipped.parquet", pa.Table.from_pylist(skipped, SKIPPED))
            with replacing(temporary / "embeddings.npy") as part, writing(part) as file:
                np.save(file, embeddings, allow_pickle=False)
            digests = {name: file_sha256(temporary / name) for name in _FILES}
            write_json(temporary / _CHECKSUMS, digests)
            sync_folder(temporary)
            os.replace(temporary, target)
            sync_folder(self.folder)

    def count_faces(self, index: int) -> int:
        """Return how many faces one shard holds, without reading them.

        Raises
        ------
        DamagedShardError
            If it is damaged.
        """
        try:
            with reading(self.path(index) / "faces.parquet") as source:
                rows: int = pq.read_metadata(source).num_rows
        except EncryptionError:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._damaged(index, error) from error
        return rows

    def read(self, index: int) -> tuple[pa.Table, pa.Table, NDArray[Any]]:
        """Return faces, skipped and embeddings of one shard.

        Raises
        ------
        DamagedShardError
            If any byte of it is not what was written.
        """
        folder = self.path(index)
        try:
            self._compare_checksums(index)
            faces = read_table(folder / "faces.parquet")
            skipped = read_table(folder / "skipped.parquet")
            embeddings = load_array(folder / "embeddings.npy")
        except EncryptionError:
            raise
        except (CorruptFileError, OSError, ValueError) as error:
            raise self._damaged(index, error) from error
        if len(embeddings) != faces.num_rows or not faces.schema.equals(SHARD_FACES):
            raise self._damaged(index, "its files do not fit together")
        return faces, skipped, embeddings

    def read_all(self, count: int) -> Iterator[tuple[pa.Table, pa.Table, NDArray[Any]]]:
        """Yield every shard in order, one in memory at a time."""
        for index in range(count):
            yield self.read(index)

    def discard_damaged(self, count: int) -> list[int]:
        """Remove the shards that are not what was written, and return which they were."""
        damaged = [index for index in range(count) if not self._is_whole(index)]
        with storage_errors(self.folder):
            for index in damaged:
                self._discard(index)
        return damaged

    def _is_whole(self, index: int) -> bool:
        try:
            self._compare_checksums(index)
        except (CorruptFileError, OSError):
            return False
        return True

    def _discard(self, index: int) -> None:
        """Remove a shard, which is at one moment there and at the next not."""
        temporary = self.folder / f".{index:08d}.part"
        if temporary.exists():
            shutil.rmtree(temporary)
        os.replace(self.path(index), temporary)
        shutil.rmtree(temporary)

    def _compare_checksums(self, index: int) -> None:
        folder = self.path(index)
        digests = read_json(folder / _CHECKSUMS)
        for name in _FILES:
            if digests.get(name) != file_sha256(folder / name):
                raise CorruptFileError(f"{folder / name} is not what was written")

    def _damaged(self, index: int, why: object) -> DamagedShardError:
        return DamagedShardError(f"a finished shard is damaged, {self.path(index)}: {why}")
