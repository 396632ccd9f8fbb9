"""Sums without an order: exact enough, and never out of range."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastface.backends.cpu_kmeans import CpuKMeans
from fastface.kmeans import KMeans
from fastface.kmeans.fixed_point import FixedPoint, grid_bits, power_of_two_below, to_integers


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 4096, 4097, 10**6, 2**40, 2**53])
def test_no_sum_overflows(n: int) -> None:
    """The proof, in numbers: n terms as large as they can be."""
    bits = grid_bits(n)
    assert bits >= 9
    for largest in (1e-300, 1e-30, 0.3, 1.0, 1.5, 2.0**40, 1e150):
        scale = float(power_of_two_below(largest, bits))
        high, low = to_integers(np.array([largest, -largest]), scale, 2.0**bits)
        assert n * int(np.abs(high).max()) <= 2**62
        assert n * int(np.abs(low).max()) <= 2**61
        assert np.log2(scale) == int(np.log2(scale))


finite = st.floats(-1e140, 1e140, allow_nan=False, width=64)


@settings(max_examples=200, deadline=None)
@given(values=arrays(np.float64, st.integers(1, 30), elements=finite), seed=st.integers(0, 9))
def test_sums_are_exact_to_the_grid_and_have_no_order(values: np.ndarray, seed: int) -> None:
    n, largest = len(values), np.abs(values).max(keepdims=True)
    grid = FixedPoint.for_rows(n, largest)
    order = np.random.default_rng(seed).permutation(n)
    sums = []
    for rows in (values, values[order], values[::-1]):
        totals, mass = np.zeros((2, 1, 1), np.int64), np.zeros((2, 1), np.int64)
        CpuKMeans().accumulate(
            np.ascontiguousarray(rows[:, None]),
            np.zeros(n, np.int32),
            None,
            None,
            None,
            grid.scales,
            grid.mass_scale,
            grid.low_scale,
            totals,
            mass,
        )
        sums.append(totals.tobytes())
        assert grid.decode_mass(mass)[0] == n
    assert len(set(sums)) == 1
    found = (
        Fraction(int(totals[0, 0, 0])) + Fraction(int(totals[1, 0, 0])) / Fraction(grid.low_scale)
    ) / Fraction(float(grid.scales[0]))
    true = sum(Fraction(float(v)) for v in values)
    step = max(Fraction(float(largest[0])) / 2 ** (2 * grid_bits(n) - 1), Fraction(2) ** -1000)
    assert abs(found - true) <= n * step


def test_features_of_any_magnitude() -> None:
    """One outlier of 1e12, features from 1e-30 to 1e30: means keep their digits."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 6)) * 10.0 ** np.array([-30, -10, 0, 3, 10, 30])
    x[0] *= 1e12
    model = KMeans(2, init=x[[0, 1]], n_init=1, max_iter=5).fit(x)
    np.testing.assert_allclose(model.cluster_centers_[1], x[1:].mean(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(model.cluster_centers_[0], x[0])
