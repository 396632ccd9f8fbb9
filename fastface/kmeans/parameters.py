"""What an estimator was told, checked before any work is done."""

from __future__ import annotations

import numbers
import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight

from fastface.backends.places import on_host
from fastface.errors import InvalidInputError
from fastface.validation import check_integer

__all__ = [
    "ALGORITHMS",
    "INITS",
    "METRICS",
    "check_choice",
    "check_init",
    "check_real",
    "check_weights",
    "is_array_like",
    "warn_of_few_clusters",
]

INITS: Final = ("k-means++", "k-means||", "random", "hierarchical")
METRICS: Final = ("sqeuclidean", "cosine")
ALGORITHMS: Final = ("auto", "lloyd", "pruned", "elkan")


def is_array_like(value: object) -> bool:
    """Return whether `value` holds centers, rather than naming a way to find them."""
    return not isinstance(value, str) and (hasattr(value, "__len__") or hasattr(value, "shape"))


def check_choice(value: object, name: str, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of the names allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInputError(f"unknown {name} {value!r}; choose one of {', '.join(allowed)}")
    return value


def check_real(value: object, name: str, *, low: float = 0.0) -> float:
    """Return `value` as a float of at least `low`."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, numbers.Real)
        or not float(value) >= low
    ):
        raise InvalidInputError(f"{name} must be a number of at least {low:g}, got {value!r}")
    return float(value)


def check_init(init: object) -> None:
    """Refuse what is neither a name, nor callable, nor centers."""
    if callable(init) or is_array_like(init):
        return
    check_choice(init, "init", INITS)


def check_n_init(n_init: object, init: object, default: int) -> int:
    """Return how many times to start."""
    if isinstance(n_init, str) and n_init == "auto":
        single = is_array_like(init) or init in ("k-means++", "k-means||", "hierarchical")
        return 1 if single else default
    return check_integer(n_init, name="n_init", low=1)


def warn_of_few_clusters(n_distinct: int, n_clusters: int, stacklevel: int) -> None:
    """Warn as scikit-learn does where fewer clusters have rows than were asked for."""
    if n_distinct < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({n_distinct}) found smaller than n_clusters"
            f" ({n_clusters}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


def check_weights(sample_weight: Any, X: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return sample weights as float64, None where all are one.

    Raises
    ------
    InvalidInputError
        If one is negative, NaN or infinite, or if all are zero.
    """
    if sample_weight is None:
        return None
    weights: NDArray[np.float64] = _check_sample_weight(on_host(sample_weight), X, dtype=np.float64)
    if (weights < 0.0).any():
        raise InvalidInputError(
            f"sample_weight holds negative values, the smallest is {weights.min():g}: weights"
            " count how often a row is there"
        )
    if not (weights > 0.0).any():
        raise InvalidInputError("sample_weight is zero for every row: there is nothing to cluster")
    if float(weights.max()) > 1e150:
        raise InvalidInputError(
            f"sample_weight holds {weights.max():g}; at most 1e150 is allowed: divide all weights"
        )
    return None if (weights == 1.0).all() else weights
