"""Graph work on a GPU, with the answers of the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fastface.errors import BackendUnavailableError, InvalidInputError
from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.validation import check_device

__all__ = ["GraphOnGpu", "open_graph"]

_BLOCK = 128
_WARP = 32
_NEIGHBOR_BLOCK = 64
_REMEDY = "use device='cpu', which gives the same results"


def open_graph(device: str, graph: NeighborGraph) -> GraphOnGpu | None:
    """Return what works on a graph on the GPU that `device` names; None for the CPU.

    Raises
    ------
    BackendUnavailableError
        If Numba cannot use that GPU.
    """
    kind, number = check_device(device, also=("reference",))
    return GraphOnGpu(graph, number or 0, device) if kind == "cuda" else None


class GraphOnGpu:
    """A neighbour graph on a GPU.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours.
    number : int
        Which GPU.
    device : str
        What the caller said, for messages.
    """

    def __init__(self, graph: NeighborGraph, number: int = 0, device: str = "cuda") -> None:
        # Not at the top: it takes a third of a second.
        cuda: Any = import_module("numba.cuda")
        self._cuda, self._number, self._device = cuda, number, device
        if not cuda.is_available():
            raise BackendUnavailableError(
                f"device={device!r}: Numba finds no GPU, or not the compiler of CUDA (pip install"
                f" 'fastface[cuda]'); {_REMEDY}"
            )
        self._n, self._k = graph.n_samples, graph.n_neighbors
        self._indices = np.ascontiguousarray(graph.indices, np.int32)
        self._distances = np.ascontiguousarray(graph.distances, np.float32)

    def symmetric(self, below: float) -> csr_matrix:
        """Return `NeighborGraph.symmetric` of distances below a threshold."""
        from fastface.identities import cuda_kernels as kernels

        with self._active("linking faces") as put:
            there = put(self._indices), put(self._distances), float(below)
            counts = put(np.zeros(self._n, np.int64))
            self._run(kernels.count_links, self._n, *there, counts)
            offsets = _offsets(counts.copy_to_host())
            columns = put(np.zeros(max(1, offsets[-1]), np.int32))
            values = put(np.zeros(max(1, offsets[-1]), np.float32))
            self._run(
                kernels.fill_links, self._n, *there, put(offsets[:-1].copy()), columns, values
            )
            self._run(kernels.sort_rows, self._n, put(offsets), columns, values)
            return self._sparse(offsets, columns, values)

    def probable_links(self, k: int, sigma: float, farthest: float, theta: float) -> csr_matrix:
        """Return the directed links of FC-ES: see `fastface.identities.map_equation`."""
        from fastface.identities import cuda_kernels as kernels
        from fastface.identities.link_weights import neighbor_weights

        if k > kernels.MOST_NEIGHBORS:
            raise InvalidInputError(
                f"k={k}: on a GPU lists of at most {kernels.MOST_NEIGHBORS} are compared; use"
                " device='cpu'"
            )
        weights = neighbor_weights(self._distances, k, sigma, farthest)
        with self._active("comparing neighbourhoods") as put:
            indices, probabilities = put(self._indices), put(np.zeros((self._n, max(1, k))))
            counts = put(np.zeros(self._n, np.int64))
            self._launch(
                kernels.edge_probabilities,
                self._n,
                _NEIGHBOR_BLOCK,
                *(indices, put(weights), k, float(theta), probabilities, counts),
            )
            offsets = _offsets(counts.copy_to_host())
            columns = put(np.zeros(max(1, offsets[-1]), np.int32))
            values = put(np.zeros(max(1, offsets[-1]), np.float32))
            self._run(
                kernels.compact_prefixes,
                self._n,
                *(indices, probabilities, counts, put(offsets), columns, values),
            )
            return self._sparse(offsets, columns, values)

    def components(self, threshold: float, constraints: Constraints) -> NDArray[np.int32]:
        """Return a label for every face: that of its connected component, items being one face.

        Exclusions are for `Constraints.join`: the order in which links come decides then.
        """
        from fastface.identities import cuda_kernels as kernels

        with self._active("joining faces") as put:
            parent = put(np.arange(constraints.n_items, dtype=np.int32))
            items = put(np.ascontiguousarray(constraints.items, np.int32))
            there = put(self._indices), put(self._distances)
            self._run(kernels.hook, self._n, *there, float(threshold), items, parent)
            self._run(kernels.flatten, constraints.n_items, parent)
            labels: NDArray[np.int32] = parent.copy_to_host()
        return labels[constraints.items]

    def chinese_whispers(
        self,
        links: csr_matrix,
        exclusions: csr_matrix,
        order: NDArray[np.int64],
        max_sweeps: int,
    ) -> NDArray[np.int32]:
        """Return the labels of nodes that whisper, visited as if in the order given.

        Parameters
        ----------
        links : scipy.sparse.csr_matrix, shape (n, n)
            Symmetric weights.
        exclusions : scipy.sparse.csr_matrix, shape (n, n_exclusions)
            Which exclusions every node takes part in.
        order : ndarray of int64, shape (n,)
            Of the visits.
        max_sweeps : int
            Most passes over all nodes.
        """
        from fastface.identities import cuda_kernels as kernels

        n, mates = links.shape[0], exclusions.T.tocsr()
        position = np.empty(n, np.int64)
        position[order] = np.arange(n)
        with self._active("Chinese whispers") as put:
            network = put(links.indptr.astype(np.int64)), put(_some(links.indices, np.int32))
            apart = (
                put(exclusions.indptr.astype(np.int64)),
                put(_some(exclusions.indices, np.int32)),
                put(mates.indptr.astype(np.int64)),
                put(_some(mates.indices, np.int32)),
            )
            levels, waiting = put(np.full(n, -1, np.int32)), np.ones(1, np.int32)
            there = put(position)
            while waiting[0]:
                still = put(np.zeros(1, np.int32))
                self._run(kernels.find_levels, n, *network, *apart, there, levels, still)
                waiting = still.copy_to_host()
            found = levels.copy_to_host()
            nodes = np.argsort(found, kind="stable")
            ends = np.cumsum(np.bincount(found))
            together = [put(part.astype(np.int32)) for part in np.split(nodes, ends[:-1])]
            labels = put(np.arange(n, dtype=np.int32))
            values = put(_some(links.data, np.float32))
            for _ in range(max_sweeps):
                changed = put(np.zeros(1, np.int32))
                for part in together:
                    self._run(
                        kernels.whisper, len(part), part, *network, values, *apart, labels, changed
                    )
                if not changed.copy_to_host()[0]:
                    break
            result: NDArray[np.int32] = labels.copy_to_host()
        return result

    @contextmanager
    def _active(self, what: str) -> Iterator[Any]:
        """Make this GPU current; yield what copies arrays there; put errors into words."""
        from numba.core.errors import NumbaPerformanceWarning

        cuda = self._cuda
        try:
            with warnings.catch_warnings(), cuda.gpus[self._number]:
                # Small graphs do not fill a GPU, and nothing is to be done about it.
                warnings.simplefilter("ignore", NumbaPerformanceWarning)
                yield cuda.to_device
        except IndexError:
            raise BackendUnavailableError(
                f"device={self._device!r}: this machine has {len(cuda.gpus)} GPUs, numbered from"
                f" 0; {_REMEDY}"
            ) from None
        except Exception as error:
            # The simulator has no driver whose errors there could be.
            if type(error).__name__ not in ("CudaAPIError", "CudaDriverError", "NvvmError"):
                raise
            raise BackendUnavailableError(
                f"device={self._device!r}, {what} of a graph of shape ({self._n}, {self._k}):"
                f" {error}; {_REMEDY}"
            ) from error

    def _run(self, kernel: Any, n: int, *args: Any) -> None:
        threads = min(_BLOCK, -(-max(1, n) // _WARP) * _WARP)
        self._launch(kernel, -(-max(1, n) // threads), threads, *args)

    def _launch(self, kernel: Any, blocks: int, threads: int, *args: Any) -> None:
        kernel[blocks, threads](*args)

    def _sparse(self, offsets: NDArray[np.int64], columns: Any, values: Any) -> csr_matrix:
        size = int(offsets[-1])
        data, places = values.copy_to_host()[:size], columns.copy_to_host()[:size]
        return csr_matrix((data, places, offsets), shape=(self._n, self._n))


def _offsets(counts: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _some(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return values in a dtype, and one if there are none: arrays on a GPU cannot be empty."""
    return values.astype(dtype) if len(values) else np.zeros(1, dtype)
