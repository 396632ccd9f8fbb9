"""What `AttributeDiscovery` accepts: embeddings as scikit-learn checks them, and its parameters."""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from fastface.attributes.splits import SearchParameters
from fastface.errors import InvalidInputError
from fastface.validation import check_integer, check_matrix, refuse_gpu

__all__ = ["check_embeddings", "check_parameters"]


def check_embeddings(estimator: Any, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
    """Return `X` as a matrix of floats, noting or comparing names and number of features.

    Raises
    ------
    InvalidInputError
        If it is no such matrix, or lies on a GPU; but for that the text is scikit-learn's, as users
        of estimators know it.
    """
    refuse_gpu(X, "X")
    try:
        x = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32, np.float16],
            order="C",
            ensure_min_samples=2 if reset else 1,
        )
    except ValueError as error:
        raise InvalidInputError(str(error)) from error
    return check_matrix(x)


def check_parameters(estimator: Any) -> SearchParameters:
    """Check the parameters of an `AttributeDiscovery`; return those of its search."""
    for name, low, high in (
        ("max_splits", 1, None),
        ("max_depth", 0, 16),
        ("min_samples", 1, None),
        ("min_photos", 4, None),
        ("n_nuisance", 0, None),
        ("n_starts", 0, None),
        ("random_state", 0, None),
    ):
        check_integer(getattr(estimator, name), name=name, low=low, high=high)
    share: Any = estimator.min_share
    if not (isinstance(share, numbers.Real) and 0 < float(share) <= 0.5):
        raise InvalidInputError(
            "min_share is the smallest side as a share of the rows, above 0 and at most 0.5;"
            f" got {share!r}"
        )
    return replace(
        SearchParameters(),
        n_starts=estimator.n_starts,
        min_share=float(share),
        n_candidates=max(SearchParameters.n_candidates, estimator.max_splits),
    )
