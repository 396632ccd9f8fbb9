"""Sums that do not depend on the order of their terms.

A value v enters a sum as two integers: ``high = rint(v * scale)`` and
``low = rint((v * scale - high) * 2**bits)``, where `scale` is a power of two.  The product, the
difference and the second product are exact in float64 (powers of two; Sterbenz), so that the two
integers are a function of the value alone, and integers add to the same result in any order: over
threads, blocks, partitions, processes and instruction sets.

No sum overflows.  With n rows and ``bits = min(50, 62 - ceil(log2 n))``, the scale is chosen so
that ``|v * scale| <= 2**bits`` for every value, hence ``|sum of high| <= n * 2**bits <= 2**62``;
and ``|low| <= 2**(bits - 1)``, hence ``|sum of low| <= 2**61``.  Each value is kept to within
``2**(-2 * bits)`` of the largest of its feature, or within ``2**-1000``, whichever is more.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["FixedPoint", "grid_bits", "power_of_two_below", "to_integers"]

_MOST_BITS = 50  # beyond 51 float64 has no half left to round by
_MOST_EXPONENT = 1000  # of a scale, so that its inverse stays in float64 too


def grid_bits(n_rows: int) -> int:
    """Return how many bits a term may have, so that `n_rows` of them fit into 63."""
    return min(_MOST_BITS, 62 - max(n_rows - 1, 0).bit_length())


def power_of_two_below(largest: NDArray[np.float64] | float, bits: int) -> NDArray[np.float64]:
    """Return powers of two s with ``largest * s <= 2**bits``, one where `largest` is zero."""
    values: NDArray[np.float64] = np.asarray(largest, dtype=np.float64)
    exponents = bits - np.frexp(values)[1]
    exponents = np.clip(exponents, -_MOST_EXPONENT, _MOST_EXPONENT)
    result: NDArray[np.float64] = np.where(values > 0, np.ldexp(1.0, exponents), 1.0)
    return result


def to_integers(
    values: NDArray[np.float64], scale: NDArray[np.float64] | float, low_scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the two integers of every value."""
    scaled = values * scale
    high = np.rint(scaled)
    low = np.rint((scaled - high) * low_scale)
    return high.astype(np.int64), low.astype(np.int64)


@dataclass(frozen=True)
class FixedPoint:
    """How the rows of one data set are turned into integers.

    Attributes
    ----------
    scales : ndarray of float64, shape (n_features,)
        Powers of two, one a feature.
    mass_scale : float
        Power of two of the rows' weights.
    low_scale : float
        ``2**bits``.
    """

    scales: NDArray[np.float64]
    mass_scale: float
    low_scale: float

    @classmethod
    def for_rows(
        cls, n_rows: int, largest: NDArray[np.float64], largest_factor: float = 1.0
    ) -> FixedPoint:
        """Return the grid for `n_rows` rows whose features and factors are at most these.

        Parameters
        ----------
        n_rows : int
            Rows of all partitions together.
        largest : ndarray of float64, shape (n_features,)
            Largest magnitude of each feature.
        largest_factor : float
            Largest number that a row is multiplied with: of its weight, say.
        """
        bits = grid_bits(n_rows)
        scales = power_of_two_below(largest * largest_factor, bits)
        mass_scale = float(power_of_two_below(largest_factor, bits))
        return cls(scales, mass_scale, 2.0**bits)

    def decode(self, sums: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums, of shape (2, n_clusters, n_features), as float64."""
        joined = sums[0].astype(np.float64)
        joined += sums[1].astype(np.float64) / self.low_scale
        result: NDArray[np.float64] = joined / self.scales
        return result

    def decode_mass(self, mass: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weights of clusters, of shape (2, n_clusters), as float64."""
        joined = mass[0].astype(np.float64) + mass[1].astype(np.float64) / self.low_scale
        result: NDArray[np.float64] = joined / self.mass_scale
        return result


def exact(high: int, low: int, scale: float, low_scale: float) -> Fraction:
    """Return one sum as the rational number it is."""
    return (Fraction(high) + Fraction(low) / Fraction(low_scale)) / Fraction(scale)
