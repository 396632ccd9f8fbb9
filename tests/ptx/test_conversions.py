"""cvt between integers and floating point, also of the small kinds, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx_interpreter.halves import from_bfloat16, to_bfloat16, to_tf32
from ptx_interpreter.one_instruction import evaluate


def numbers() -> NDArray[np.float32]:
    """Return every exponent that float16 has and more, ties of bfloat16 and TF32, specials."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 1 << 32, 700, dtype=np.uint32)
    bits[:200] &= np.uint32(0xFFFF0000)
    bits[:100] |= np.uint32(0x8000)  # halfway between two bfloat16
    bits[200:300] = (bits[200:300] & np.uint32(0xFFFFE000)) | np.uint32(0x1000)
    bits[300:500] = (bits[300:500] & np.uint32(0x807FFFFF)) | (
        random.integers(100, 145, 200, dtype=np.uint32) << np.uint32(23)
    )
    values = bits.view(np.float32)
    values[500:505] = [0.0, -0.0, np.inf, -np.inf, 65519.99]
    return values[np.isfinite(values)]


@np.errstate(over="ignore", invalid="ignore")
def nearest_of(values: NDArray[np.float32], keep: int, away: bool) -> NDArray[np.float32]:
    """Round to numbers with `keep` low bits cut, by comparing with both neighbours."""
    mask = np.uint32(0xFFFFFFFF << keep & 0xFFFFFFFF)
    low = (values.view(np.uint32) & mask).view(np.float32)
    high = ((values.view(np.uint32) & mask) + np.uint32(1 << keep)).view(np.float32)
    wide = values.astype(np.float64)
    # What lies beyond the largest number counts as the next power of two.
    top = np.where(np.isfinite(high), high, np.copysign(2.0**128, values)).astype(np.float64)
    to_low, to_high = np.abs(wide - low), np.abs(top - wide)
    is_even = (low.view(np.uint32) >> np.uint32(keep) & 1) == 0
    return np.where((to_low < to_high) | ((to_low == to_high) & is_even & (not away)), low, high)


def test_bfloat16() -> None:
    values = numbers()
    got = from_bfloat16(to_bfloat16(values))
    np.testing.assert_array_equal(got, nearest_of(values, 16, away=False))
    assert to_bfloat16(np.array([np.nan], np.float32))[0] == 0x7FFF


def test_tf32() -> None:
    values = numbers()
    np.testing.assert_array_equal(to_tf32(values), nearest_of(values, 13, away=True))


@pytest.mark.parametrize("kind", ["bf16x2", "f16x2"])
def test_pairs_have_the_first_operand_on_top(kind: str) -> None:
    a, b = numbers()[:256], numbers()[256:512]
    got = evaluate(
        f"cvt.rn.{kind}.f32 %out, %a0, %a1;", [("f32", a), ("f32", b)], ("b32", np.uint32)
    )
    halves = got.view(np.uint16).reshape(-1, 2)
    for column, values in ((1, a), (0, b)):
        with np.errstate(over="ignore"):
            wanted = (
                to_bfloat16(values)
                if kind == "bf16x2"
                else values.astype(np.float16).view(np.uint16)
            )
        np.testing.assert_array_equal(halves[:, column], wanted)


def test_float16_both_ways() -> None:
    bits = np.arange(0, 1024, dtype=np.uint16) * 61
    bits = bits[np.isfinite(bits.view(np.float16))]
    wide = evaluate("cvt.f32.f16 %out, %a0;", [("f16", bits)], ("f32", np.float32))
    np.testing.assert_array_equal(wide, bits.view(np.float16).astype(np.float32))
    back = evaluate("cvt.rn.f16.f32 %out, %a0;", [("f32", wide)], ("b16", np.uint16))
    np.testing.assert_array_equal(back, bits)


@pytest.mark.parametrize(
    ("mode", "expected"), [("rni", [2, -2, 0]), ("rzi", [1, -1, 0]), ("rmi", [1, -2, 0])]
)
def test_to_integers(mode: str, expected: list[int]) -> None:
    a = np.array([1.5, -1.5, 0.5], np.float32)
    got = evaluate(f"cvt.{mode}.s32.f32 %out, %a0;", [("f32", a)], ("b32", np.int32))
    np.testing.assert_array_equal(got, expected)


def test_integers_are_clamped() -> None:
    a = np.array([1e30, -1e30, np.nan, np.inf, 2147483647.0, -2147483648.0])
    got = evaluate("cvt.rzi.s32.f64 %out, %a0;", [("f64", a)], ("b32", np.int32))
    big, small = 2**31 - 1, -(2**31)
    np.testing.assert_array_equal(got, [big, small, small, big, big, small])
    wide = evaluate("cvt.rni.s64.f64 %out, %a0;", [("f64", a)], ("b64", np.int64))
    np.testing.assert_array_equal(
        wide, [2**63 - 1, -(2**63), -(2**63), 2**63 - 1, 2**31 - 1, -(2**31)]
    )
    exact = np.array([2.0**62, -(2.0**62) - 1024, 4503599627370497.0, 0.0, 0.5, 2.5])
    wide = evaluate("cvt.rni.s64.f64 %out, %a0;", [("f64", exact)], ("b64", np.int64))
    np.testing.assert_array_equal(wide, np.rint(exact).astype(np.int64))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_float64_to_float32_in_a_direction(mode: str) -> None:
    random = np.random.default_rng(1)
    a = random.standard_normal(200) * 10.0 ** random.integers(-30, 30, 200)
    got = evaluate(f"cvt.{mode}.f32.f64 %out, %a0;", [("f64", a)], ("f32", np.float32))
    nearest = a.astype(np.float32)
    if mode == "rn":
        np.testing.assert_array_equal(got, nearest)
        return
    away = {"rm": got <= a, "rp": got >= a, "rz": np.abs(got) <= np.abs(a)}[mode]
    assert away.all()
    towards = np.where(got.astype(np.float64) < a, np.inf, -np.inf).astype(np.float32)
    neighbour = np.nextafter(got, towards)
    between = (neighbour.astype(np.float64) - a) * (got.astype(np.float64) - a)
    assert (between <= 0).all()
