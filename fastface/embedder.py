"""Face crops in, vectors out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastface import models
from fastface.errors import InvalidInputError, ModelError
from fastface.runtimes import open_model
from fastface.validation import check_integer

__all__ = ["Embedder"]

_MAX_BATCH = 4096


class Embedder:
    """Turns aligned face crops into embeddings.

    Parameters
    ----------
    model : str or path
        A name (``"dlib-resnet"``), an ONNX file of your own, or an engine that
        ``fastface engines build -o`` wrote.
    spec : ModelSpec or str, optional
        For a file: what it is, or the name of a preset; see `fastface.models.load`.
    runtime : {"auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"}
        What executes the network.  ``"auto"`` is ONNX Runtime on the CPU, and on a GPU TensorRT-RTX
        where it serves the architecture, else TensorRT; a runtime asked for by name is used or
        refused, never replaced.
    device : {"auto", "cpu", "cuda", "cuda:1", …}
        Where.  ``"auto"`` is the GPU for an engine, else the CPU.
    precision : {"fp32", "int8", "fp16", "bf16"}
        Arithmetic of the network.  ``"int8"`` is about twice as fast on a processor with VNNI.
        ``"fp16"`` and ``"bf16"`` are for GPUs; on a CPU they compute in single precision and round
        as a GPU would: slower, to see what they would cost.
    calibration : ndarray of uint8, shape (n, height, width, 3), optional
        For ``"int8"`` and a model of yours: about 200 aligned crops of many people, to measure
        its values on.  The default model brings its ranges.
    batch_size : int
        Crops given to the network at once; an engine is built for 1 to so many, and the file of
        one takes no more than it was built for.  Memory grows with it: about 1.5 MB a crop for
        ``"dlib-resnet"``.
    n_threads : int, optional
        Threads of a runtime on the CPU; as many as this process has cores if None.

    Attributes
    ----------
    spec : ModelSpec
        How to read the vectors: their length, metric and suggested threshold.
    model : Model
        The ONNX file that runs, and its SHA-256.
    runtime_ : str
        Name of the runtime that was chosen.
    runtime_version_ : str
        Its version.
    n_threads_ : int
        Its number of threads.

    Raises
    ------
    ModelError, InvalidInputError, MissingDependencyError, BackendUnavailableError, StorageError
        From loading the model and opening the runtime, or if a first trial of the model does not
        give what the spec says.

    Notes
    -----
    With ``"dlib-resnet"`` a crop's vector has the same bits wherever in whatever batch it stands
    and for any number of threads: each crop is computed apart.  A network of your own may end in a
    matrix product that sums in another order for another batch size; then the bits depend on
    `batch_size` and on the crop's place, and two calls agree bit for bit if each but the last
    passes a multiple of `batch_size` crops.  Another runtime, processor or version of a runtime
    may change the last bits.

    An embedder can be pickled: the copy opens the same model with the same runtime again.  After
    a fork, make a new one; the runtime's threads do not survive it.

    Examples
    --------
    >>> embedder = fastface.Embedder()                                    # doctest: +SKIP
    >>> embedder.embed(crops).shape                                       # doctest: +SKIP
    (1000, 128)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "dlib-resnet",
        *,
        spec: models.ModelSpec | str | None = None,
        runtime: str = "auto",
        device: str = "auto",
        precision: str = "fp32",
        calibration: NDArray[np.uint8] | None = None,
        batch_size: int = 32,
        n_threads: int | None = None,
    ) -> None:
        self.batch_size = check_integer(batch_size, name="batch_size", low=1, high=_MAX_BATCH)
        self.model, self._runtime = open_model(
            model,
            spec=spec,
            runtime=runtime,
            device=device,
            precision=precision,
            calibration=calibration,
            max_batch=self.batch_size,
            n_threads=n_threads,
        )
        self.spec = self.model.spec
        if self._runtime.max_batch is not None:
            self.batch_size = min(self.batch_size, self._runtime.max_batch)
        self.runtime_ = self._runtime.name
        self.runtime_version_ = self._runtime.version
        self.n_threads_ = self._runtime.n_threads
        named = model == self.spec.name and calibration is None
        self._again = partial(
            Embedder,
            model if named else self.model.onnx_path,
            spec=None if model == self.spec.name else self.spec,
            runtime=self.runtime_,
            device=device,
            precision=precision if named else "fp32",
            batch_size=batch_size,
            n_threads=n_threads,
        )
        self._try_out()

    def __reduce__(self) -> tuple[partial[Embedder], tuple[()]]:
        return self._again, ()

    def __repr__(self) -> str:
        return (
            f"Embedder({self.spec.name!r}, runtime={self.runtime_!r}, "
            f"batch_size={self.batch_size}, n_threads={self.n_threads_})"
        )

    def embed(
        self, crops: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], *, normalize: bool = False
    ) -> NDArray[np.float32]:
        """Embed aligned crops.

        Parameters
        ----------
        crops : uint8 ndarray of shape (n, height, width, 3), or sequence of (height, width, 3)
            RGB, of the model's size, aligned by its template.  May be memory-mapped; a batch at a
            time is copied.
        normalize : bool
            Scale each vector to length 1.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Row i belongs to crop i; of shape (0, d) for no crops.

        Raises
        ------
        InvalidInputError
            If the crops are not what the model takes; nothing has been computed then.
        ModelError
            If the model gives something other than finite vectors.
        """
        self._check(crops)
        embeddings = np.empty((len(crops), self.spec.embedding_size), dtype=np.float32)
        starts = range(0, len(crops), self.batch_size)
        batches = (np.ascontiguousarray(crops[i : i + self.batch_size]) for i in starts)
        for start, rows in zip(starts, self._runtime.run_batches(batches), strict=True):
            n_crops = min(self.batch_size, len(crops) - start)
            embeddings[start : start + n_crops] = self._checked(rows, n_crops)
        if normalize:
            # A zero vector has no direction and stays what it is.
            norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings /= np.where(norms > 0, norms, 1)
        return embeddings

    def _checked(self, embeddings: NDArray[np.float32], n_crops: int) -> NDArray[np.float32]:
        expected = (n_crops, self.spec.embedding_size)
        if embeddings.shape != expected or embeddings.dtype != np.float32:
            raise ModelError(
                f"model {self.spec.name!r} gave {embeddings.dtype} of shape {embeddings.shape} "
                f"for {n_crops} crops; its spec promises float32 of shape {expected}"
            )
        if not np.isfinite(embeddings).all():
            raise ModelError(f"model {self.spec.name!r} gave values that are not finite")
        return embeddings

    def _try_out(self) -> None:
        """Run a crop or two, so that a model that cannot work fails before any work is lost."""
        shape = (min(2, self.batch_size), *self.spec.input_size, 3)
        ramp = np.arange(np.prod(shape)) % 251
        self._checked(self._runtime.run(ramp.astype(np.uint8).reshape(shape)), shape[0])

    def _check(self, crops: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> None:
        wanted = (*self.spec.input_size, 3)
        if isinstance(crops, np.ndarray):
            if crops.ndim == 3 and crops.shape == wanted:
                raise InvalidInputError(
                    f"crops has shape {crops.shape}, a single crop: pass crops[np.newaxis]"
                )
            self._check_array(crops, "crops", crops.shape[1:] if crops.ndim == 4 else None)
            return
        if not isinstance(crops, Sequence):
            raise InvalidInputError(
                f"crops must be an array or a sequence of arrays, got {type(crops).__name__}"
            )
        for position, crop in enumerate(crops):
            if not isinstance(crop, np.ndarray):
                raise InvalidInputError(
                    f"crops[{position}] must be an array, got {type(crop).__name__}"
                )
            self._check_array(crop, f"crops[{position}]", crop.shape)

    def _check_array(
        self, array: NDArray[np.generic], name: str, shape: tuple[int, ...] | None
    ) -> None:
        wanted = (*self.spec.input_size, 3)
        if array.dtype != np.uint8:
            raise InvalidInputError(
                f"{name} has dtype {array.dtype}; crops are uint8 RGB, 0 to 255"
                + ("; do not normalise them: the model does" if array.dtype.kind == "f" else "")
            )
        if shape != wanted:
            raise InvalidInputError(
                f"{name} has shape {array.shape}; model {self.spec.name!r} takes RGB crops of "
                f"shape {wanted}, aligned by the template {self.spec.template!r}"
            )
