"""`NeighborGraph`: the k nearest neighbours of every row, built once and read by many methods."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.backends.places import bring_rows
from fastface.backends.registry import resolve_threads
from fastface.distances import nearest_neighbors
from fastface.errors import CorruptFileError, InvalidInputError
from fastface.graph.approximate import Recall, approximate_neighbors, choose_method
from fastface.graph.growth import grown_neighbors
from fastface.graph.join import join_exactly, worth_joining
from fastface.graph.rows import fingerprint, unit_rows
from fastface.storage import read_arrays, write_arrays
from fastface.validation import METRICS, check_integer, check_metric

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["NeighborGraph"]

_FORMAT = "fastface-neighbor-graph"
_VERSION = 2
_LARGEST_HALF = float(np.finfo(np.float16).max)
_EXACT = Recall(1.0, 1.0, 1.0, 0)


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """The k nearest neighbours of every row, a row never its own neighbour.

    Attributes
    ----------
    indices : ndarray of int32, shape (n_samples, n_neighbors)
        Neighbours in order of (distance, index).
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        Distances in `metric`.
    metric : str
        Metric of the distances.
    normalized : bool
        Whether rows were scaled to length one before they were compared.
    n_features : int
        Width of the rows.
    fingerprint : str
        SHA-256 of the rows the graph was built from, as they were given.
    method : str
        ``"exact"`` or ``"approximate"``.
    recall : Recall
        Share of the true neighbours that are here: `estimate`, the 95 % interval `low` to `high`,
        and the `n_rows` drawn by chance that were searched exactly to measure it.  One where the
        graph is exact.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    metric: str
    normalized: bool
    n_features: int
    fingerprint: str
    method: str = "exact"
    recall: Recall = _EXACT

    @classmethod
    def build(
        cls,
        X: ArrayLike,
        *,
        n_neighbors: int = 80,
        metric: str = "euclidean",
        normalize: bool = False,
        method: str = "auto",
        recall: float = 0.98,
        random_state: int = 0,
        device: str = "auto",
        n_threads: int | None = None,
        memory_limit: int | str | None = None,
    ) -> NeighborGraph:
        """Find the neighbours of every row among the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; those on a GPU are copied to the host too, where the graph is.
        n_neighbors : int
            How many; where there are fewer other rows, all of them.
        metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
            Distance.
        normalize : bool
            Scale rows to length one before they are compared.
        method : {"auto", "exact", "approximate"}
            ``"approximate"`` finds most neighbours, in time that grows little faster than the
            number of rows: rows are compared with groups of near ones, then with the neighbours of
            their neighbours (`fastface.graph.approximate`).  ``"auto"`` is exact up to 200,000
            rows, with the inner product, and where `device` is not the CPU.
        recall : float
            What an approximate graph aims at; `recall` of the graph tells what was reached.
        random_state : int
            Draws the rows that the recall of an approximate graph is measured on.
        device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
            Where to search; see `fastface.nearest_neighbors`.
        n_threads : int, optional
            Threads; by default `fastface.get_num_threads`.  The graph does not depend on it.
        memory_limit : int or str, optional
            See `fastface.nearest_neighbors`.  Codes and lists of an approximate graph come on
            top; an exact one is then built without those that make it faster.

        Returns
        -------
        NeighborGraph
            Duplicates of a row are neighbours like any other.

        Raises
        ------
        InvalidInputError
            If `X` is not a finite matrix, `normalize` meets a row of zeros, or an approximate graph
            is asked for where there is none: with the inner product, or not on the CPU.
        """
        x, device = bring_rows(X, device)
        check_metric(metric)
        k = min(check_integer(n_neighbors, name="n_neighbors", low=1), len(x) - 1)
        chosen = choose_method(method, len(x), metric, device)
        seed = check_integer(random_state, name="random_state", low=0)
        if not 0 < recall <= 1:
            raise InvalidInputError(f"recall must be above 0 and at most 1, got {recall!r}")
        compared = unit_rows(x) if normalize else x
        reached = _EXACT
        if k == 0:
            distances, indices = np.empty((1, 0), np.float32), np.empty((1, 0), np.int32)
        elif chosen == "approximate":
            distances, indices, reached = approximate_neighbors(
                compared,
                k,
                metric,
                recall=recall,
                seed=seed,
                n_threads=n_threads,
                memory_limit=memory_limit,
            )
        elif worth_joining(compared, k, metric, device) and memory_limit is None:
            distances, indices = join_exactly(compared, k, metric, resolve_threads(n_threads))
        else:
            distances, indices = nearest_neighbors(
                compared,
                n_neighbors=k,
                metric=metric,
                exclude_self=True,
                device=device,
                n_threads=n_threads,
                memory_limit=memory_limit,
            )
        return cls(
            indices,
            distances,
            metric,
            bool(normalize),
            x.shape[1],
            fingerprint(x),
            chosen,
            reached,
        )

    def extend(
        self,
        X: ArrayLike,
        *,
        check: bool = True,
        device: str = "auto",
        n_threads: int | None = None,
        memory_limit: int | str | None = None,
    ) -> NeighborGraph:
        """Return the graph of more rows, without building it again.

        New rows are searched against all rows exactly, and enter the lists of old ones where they
        are nearer.  From an exact graph this makes the graph that `build` would, but that rows at
        distances equal in float32 stand in order of index.

        Parameters
        ----------
        X : array-like of shape (n_more, n_features)
            The rows of this graph, in order, then new ones.
        check : bool
            Compare the first rows with those the graph was built from, which reads all of them.
        device, n_threads, memory_limit
            See `build`.

        Returns
        -------
        NeighborGraph
            With as many neighbours as this one; its recall counts for the old rows.

        Raises
        ------
        InvalidInputError
            If `X` does not begin with the rows of this graph, or new rows cannot be used.
        """
        x, device = bring_rows(X, device)
        if check or x.shape[1] != self.n_features or len(x) < self.n_samples:
            self.check_matches(x[: self.n_samples])
        if len(x) == self.n_samples:
            return self
        if self.n_neighbors == 0:
            raise InvalidInputError("a graph of one row has no neighbours to extend: build it")
        distances, indices = grown_neighbors(
            unit_rows(x) if self.normalized else x,
            self.indices,
            self.distances,
            self.metric,
            device=device,
            n_threads=n_threads,
            memory_limit=memory_limit,
        )
        return replace(self, indices=indices, distances=distances, fingerprint=fingerprint(x))

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.indices.shape[0])

    @property
    def n_neighbors(self) -> int:
        """Number of neighbours of each row."""
        return int(self.indices.shape[1])

    def to_csr(self) -> csr_matrix:
        """Return the directed graph as a sparse matrix of distances, zeros stored.

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape (n_samples, n_samples)
        """
        from scipy.sparse import csr_matrix

        offsets = np.arange(self.n_samples + 1, dtype=np.int64) * self.n_neighbors
        shape = (self.n_samples, self.n_samples)
        return csr_matrix((self.distances.ravel(), self.indices.ravel(), offsets), shape=shape)

    def symmetric(self, *, mutual: bool = False, below: float = np.inf) -> csr_matrix:
        """Return the graph without directions, as a sparse matrix of distances, zeros stored.

        Parameters
        ----------
        mutual : bool
            Keep a pair only where each is a neighbour of the other; otherwise one way is enough.
        below : float
            Keep only distances smaller than this.

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape (n_samples, n_samples)
            Columns increase along a row.
        """
        from scipy.sparse import coo_matrix

        from fastface import _kernels

        indices = np.ascontiguousarray(self.indices)
        distances = np.ascontiguousarray(self.distances)
        kinds = _kernels.edge_directions(indices, distances, below, resolve_threads(None))
        rows, places = np.nonzero(kinds == _kernels.MUTUAL)
        columns, lengths = indices[rows, places], distances[rows, places]
        if not mutual:
            low, places = np.nonzero(kinds == _kernels.ONE_WAY)
            high, between = indices[low, places], distances[low, places]
            rows = np.concatenate([rows, low, high])
            columns = np.concatenate([columns, high, low])
            lengths = np.concatenate([lengths, between, between])
        shape = (self.n_samples, self.n_samples)
        matrix = coo_matrix((lengths, (rows, columns)), shape=shape).tocsr()
        matrix.sort_indices()
        return matrix

    def check_matches(self, X: NDArray[Any]) -> None:
        """Refuse rows that the graph was not built from.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows as they were given to `build`, of any floating type.

        Raises
        ------
        InvalidInputError
            If the shape or any value, as float32, differs.
        """
        if X.shape != (self.n_samples, self.n_features) or fingerprint(X) != self.fingerprint:
            raise InvalidInputError(
                f"the graph of {self.n_samples} rows and {self.n_features} features was not built"
                f" from this matrix of shape {X.shape}: build it again"
            )

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Write the graph to one ``.npz`` file, whole or not at all.

        Parameters
        ----------
        path : path-like
            The file, replaced if it is there.
        half : bool
            Store distances as float16: six bytes a neighbour in place of eight, three digits.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "metric": self.metric,
            "normalized": self.normalized,
            "n_samples": self.n_samples,
            "n_features": self.n_features,
            "fingerprint": self.fingerprint,
            "method": self.method,
            "recall": list(self.recall),
        }
        if half and not np.all(np.abs(self.distances) <= _LARGEST_HALF):
            raise InvalidInputError(
                f"distances beyond {_LARGEST_HALF:.0f} do not fit float16: save without half"
            )
        distances = self.distances.astype(np.float16) if half else self.distances
        write_arrays(Path(path), header, {"indices": self.indices, "distances": distances})

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False) -> NeighborGraph:
        """Read a graph written by `save`.

        Parameters
        ----------
        path : path-like
            The file.
        mmap : bool
            Map the arrays from disk instead of reading them: for graphs larger than memory.  What
            they hold is then checked for plausibility, not against its checksum.  Distances that
            were saved as float16 are read and widened all the same.

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
        header, arrays = read_arrays(target, mmap=mmap)
        found = (header.get("format"), header.get("version"))
        if found != (_FORMAT, _VERSION):
            raise CorruptFileError(
                f"{target} has format {found[0]!r} version {found[1]!r}; this fastface reads"
                f" {_FORMAT!r} version {_VERSION}: build the graph again"
            )
        try:
            graph = cls(
                arrays["indices"],
                _widened(arrays["distances"]),
                str(header["metric"]),
                bool(header["normalized"]),
                int(header["n_features"]),
                str(header["fingerprint"]),
                str(header["method"]),
                Recall(*header["recall"]),
            )
            plausible = graph._is_plausible(int(header["n_samples"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{target} lacks a part ({error!r}): build it again") from error
        if not plausible:
            raise CorruptFileError(f"{target} holds impossible neighbours: build it again")
        return graph

    def _is_plausible(self, n_samples: int) -> bool:
        """Whether methods can walk the graph without leaving it."""
        return (
            self.metric in METRICS
            and self.method in ("exact", "approximate")
            and self.indices.ndim == 2
            and self.indices.shape == self.distances.shape
            and self.indices.dtype == np.int32
            and self.distances.dtype == np.float32
            and self.n_samples == n_samples >= 1
            and (
                self.indices.size == 0
                or (int(self.indices.min()) >= 0 and int(self.indices.max()) < n_samples)
            )
        )


def _widened(distances: NDArray[Any]) -> NDArray[np.float32]:
    return distances.astype(np.float32) if distances.dtype == np.float16 else distances
