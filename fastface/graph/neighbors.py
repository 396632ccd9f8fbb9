"""`NeighborGraph`: the k nearest neighbours of every row, built once and read by many methods."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from fastface.distances import nearest_neighbors
from fastface.errors import CorruptFileError, InvalidInputError, StorageError
from fastface.validation import check_integer, check_matrix

__all__ = ["NeighborGraph"]

_FORMAT = "fastface-neighbor-graph"
_VERSION = 1


def _fingerprint(X: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{X.shape} {X.dtype}".encode())
    digest.update(memoryview(X).cast("B"))
    return digest.hexdigest()


@dataclass(frozen=True)
class NeighborGraph:
    """Exact k nearest neighbours of every row, a row never its own neighbour.

    Attributes
    ----------
    indices : ndarray of int32, shape (n_samples, n_neighbors)
        Neighbours in order of (distance, index).
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        Distances in `metric`.
    metric : str
        Metric of the distances.
    fingerprint : str
        SHA-256 of the rows the graph was built from.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    metric: str
    fingerprint: str

    @classmethod
    def build(
        cls,
        X: ArrayLike,
        *,
        n_neighbors: int = 80,
        metric: str = "euclidean",
        device: str = "auto",
        n_threads: int | None = None,
    ) -> NeighborGraph:
        """Find the neighbours of every row among the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        n_neighbors : int
            How many; where there are fewer other rows, all of them.
        metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
            Distance.
        device : str
            Where to compute.
        n_threads : int, optional
            Threads.

        Returns
        -------
        NeighborGraph
            Duplicates of a row are neighbours like any other.

        Raises
        ------
        InvalidInputError
            If `X` is not a finite matrix.
        """
        x = check_matrix(X)
        k = min(check_integer(n_neighbors, name="n_neighbors", low=1), len(x) - 1)
        if k == 0:
            distances, indices = np.empty((1, 0), np.float32), np.empty((1, 0), np.int32)
        else:
            distances, indices = nearest_neighbors(
                x,
                n_neighbors=k,
                metric=metric,
                exclude_self=True,
                device=device,
                n_threads=n_threads,
            )
        return cls(indices, distances, metric, _fingerprint(x))

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.indices.shape[0]

    @property
    def n_neighbors(self) -> int:
        """Number of neighbours of each row."""
        return self.indices.shape[1]

    def to_csr(self) -> csr_matrix:
        """Return the directed graph as a sparse matrix of distances, zeros stored.

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape (n_samples, n_samples)
        """
        offsets = np.arange(self.n_samples + 1, dtype=np.int64) * self.n_neighbors
        shape = (self.n_samples, self.n_samples)
        return csr_matrix((self.distances.ravel(), self.indices.ravel(), offsets), shape=shape)

    def edges(self, *, below: float) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return undirected edges shorter than `below`, each once.

        Parameters
        ----------
        below : float
            Exclusive limit on the distance.

        Returns
        -------
        first, second : ndarray of int32, shape (n_edges,)
            ``first < second``, in increasing order.
        """
        near = self.distances < below
        rows = np.repeat(np.arange(self.n_samples, dtype=np.int64), near.sum(axis=1))
        columns = self.indices[near].astype(np.int64)
        low, high = np.minimum(rows, columns), np.maximum(rows, columns)
        keys = np.unique(low * self.n_samples + high)
        first, second = np.divmod(keys, self.n_samples)
        return first.astype(np.int32), second.astype(np.int32)

    def check_matches(self, X: NDArray[Any]) -> None:
        """Refuse rows that the graph was not built from.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, as given to `build` after validation.

        Raises
        ------
        InvalidInputError
            Shape, type or any value differs.
        """
        if _fingerprint(X) != self.fingerprint:
            raise InvalidInputError(
                f"the graph ({self.n_samples} rows) was not built from this matrix of shape"
                f" {X.shape}: build it again"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to one ``.npz`` file, whole or not at all.

        Parameters
        ----------
        path : path-like
            The file, replaced if it is there.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        target = Path(path)
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "metric": self.metric,
            "fingerprint": self.fingerprint,
        }
        try:
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(
                        file,
                        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
                        indices=self.indices,
                        distances=self.distances,
                    )
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StorageError(f"cannot write the graph to {target}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NeighborGraph:
        """Read a graph written by `save`.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        NeighborGraph

        Raises
        ------
        StorageError
            If there is no such file.
        CorruptFileError
            If it is damaged, of another kind or of another version.
        """
        target = Path(path)
        try:
            with target.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                header = json.loads(bytes(file["header"]))
                indices, distances = file["indices"], file["distances"]
        except FileNotFoundError:
            raise StorageError(f"there is no graph at {target}") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFileError(
                f"{target} is not a whole neighbour graph ({error}): build it again"
            ) from error
        if header.get("format") != _FORMAT or header.get("version") != _VERSION:
            raise CorruptFileError(
                f"{target} has format {header.get('format')!r} version {header.get('version')!r};"
                f" this fastface reads {_FORMAT!r} version {_VERSION}: build it again"
            )
        n = len(indices)
        if indices.shape != distances.shape or (
            indices.size and not (indices.min() >= 0 and indices.max() < n)
        ):
            raise CorruptFileError(f"{target} holds impossible neighbours: build it again")
        return cls(indices, distances, header["metric"], header["fingerprint"])
