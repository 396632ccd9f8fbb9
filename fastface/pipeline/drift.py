"""What another precision, runtime or file costs, in vectors, verification and grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError
from fastface.graph import unit_rows
from fastface.identities import IdentityClustering
from fastface.metrics import bcubed_scores
from fastface.models import ModelSpec
from fastface.pipeline.finish import choose_cutoff

__all__ = ["FALSE_ACCEPT_RATES", "Drift", "measure_drift"]

FALSE_ACCEPT_RATES = (1e-2, 1e-3)
# Every pair of so many faces is compared: 12.5 million distances.
_MAX_FACES = 5000


@dataclass(frozen=True)
class Drift:
    """How vectors differ from reference vectors of the same faces.

    Attributes
    ----------
    n_faces, n_people : int
    mean, percentile_1, worst : float
        Of the cosine between each vector and its reference.
    accept_rates, reference_accept_rates : mapping of float to float
        For each false accept rate, the share of pairs of one person that are accepted (TAR at
        FAR).
    f, reference_f : float
        BCubed F of the faces grouped into people.
    """

    n_faces: int
    n_people: int
    mean: float
    percentile_1: float
    worst: float
    accept_rates: Mapping[float, float]
    reference_accept_rates: Mapping[float, float]
    f: float
    reference_f: float


def measure_drift(
    reference: NDArray[np.float32],
    embeddings: NDArray[np.float32],
    people: Sequence[str],
    spec: ModelSpec,
) -> Drift:
    """Compare vectors with reference vectors of the same faces.

    Parameters
    ----------
    reference, embeddings : ndarray of float32, shape (n_faces, d)
        The same face in the same row.
    people : sequence of str
        Who each face is; at least two people, one of them with two faces.
    spec : ModelSpec
        Of the reference model; says how vectors are compared.

    Returns
    -------
    Drift

    Raises
    ------
    InvalidInputError
        If the shapes do not agree or no pair of faces is of one person or of two.
    """
    if reference.shape != embeddings.shape or len(people) != len(reference):
        raise InvalidInputError(
            f"{reference.shape} reference vectors, {embeddings.shape} vectors and {len(people)} "
            "people do not belong together"
        )
    codes = np.unique(np.asarray(people), return_inverse=True)[1]
    sizes = np.bincount(codes) if len(codes) else np.zeros(0, dtype=np.int64)
    if len(sizes) < 2 or sizes.max() < 2:
        raise InvalidInputError(
            "faces of at least two people are needed, and two or more of one of them"
        )
    cosines = (unit_rows(reference) * unit_rows(embeddings)).sum(axis=1, dtype=np.float64)
    return Drift(
        n_faces=len(codes),
        n_people=len(sizes),
        mean=float(cosines.mean()),
        percentile_1=float(np.percentile(cosines, 1)),
        worst=float(cosines.min()),
        accept_rates=_accept_rates(embeddings, codes, spec),
        reference_accept_rates=_accept_rates(reference, codes, spec),
        f=_grouping_f(embeddings, codes, spec),
        reference_f=_grouping_f(reference, codes, spec),
    )


def _accept_rates(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], spec: ModelSpec
) -> dict[float, float]:
    if len(vectors) > _MAX_FACES:
        kept = np.sort(np.random.default_rng(0).permutation(len(vectors))[:_MAX_FACES])
        vectors, codes = vectors[kept], codes[kept]
    rows = unit_rows(vectors) if spec.metric == "cosine" else vectors
    squares = (rows.astype(np.float64) ** 2).sum(axis=1)
    first, second = np.triu_indices(len(rows), k=1)
    likeness = 2 * (rows @ rows.T)[first, second] - squares[first] - squares[second]
    same = codes[first] == codes[second]
    others = likeness[~same]
    return {
        rate: float((likeness[same] > np.quantile(others, 1 - rate, method="higher")).mean())
        for rate in FALSE_ACCEPT_RATES
    }


def _grouping_f(vectors: NDArray[np.float32], codes: NDArray[np.int64], spec: ModelSpec) -> float:
    grouping = IdentityClustering(cutoff=choose_cutoff(spec, vectors)).fit(vectors)
    return bcubed_scores(codes, grouping.labels_).f
