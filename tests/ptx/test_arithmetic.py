"""Every kind of instruction against Python's exact integers and fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx_interpreter import Unsupported
from ptx_interpreter.one_instruction import evaluate

N = 256
DTYPES = {"f32": np.float32, "f64": np.float64}


def floats(dtype: Any, seed: int) -> NDArray[Any]:
    """Return numbers of many magnitudes, near each other often enough to cancel."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(N) * 2.0 ** random.integers(-30, 30, N)
    values[: N // 2] = random.integers(-9, 9, N // 2) * (1 + 2.0 ** -random.integers(1, 23, N // 2))
    return values.astype(dtype)


def rounded(exact: Fraction, mode: str, dtype: Any) -> Any:
    """Round an exact number to `dtype` by definition: the best of the neighbours."""
    start = dtype(float(exact))
    around = [np.nextafter(start, dtype(-np.inf)), start, np.nextafter(start, dtype(np.inf))]
    if mode == "rn":
        bits = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
        return min(
            around, key=lambda v: (abs(Fraction(float(v)) - exact), int(np.array(v).view(bits)) & 1)
        )
    down = max(v for v in around if Fraction(float(v)) <= exact)
    up = min(v for v in around if Fraction(float(v)) >= exact)
    return {"rm": down, "rp": up, "rz": down if exact > 0 else up}[mode]


OPERATIONS: dict[str, tuple[int, Callable[..., Fraction]]] = {
    "add": (2, lambda a, b: a + b),
    "sub": (2, lambda a, b: a - b),
    "mul": (2, lambda a, b: a * b),
    "fma": (3, lambda a, b, c: a * b + c),
}


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_rounding(name: str, kind: str, mode: str) -> None:
    count, exact = OPERATIONS[name]
    dtype = DTYPES[kind]
    values = [floats(dtype, seed) for seed in range(count)]
    if name == "fma":  # so that the sum cancels all but the last digits of the product
        values[2][::2] = -(values[0] * values[1])[::2]
    operands = ", ".join(f"%a{i}" for i in range(count))
    got = evaluate(
        f"{name}.{mode}.{kind} %out, {operands};", [(kind, v) for v in values], (kind, dtype)
    )
    wanted = [
        rounded(exact(*(Fraction(float(v[i])) for v in values)), mode, dtype) for i in range(N)
    ]
    np.testing.assert_array_equal(got, np.array(wanted, dtype))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_quotient_of_float32(mode: str) -> None:
    a, b = floats(np.float32, 5), floats(np.float32, 6)
    b[b == 0] = 3
    got = evaluate(f"div.{mode}.f32 %out, %a0, %a1;", [("f32", a), ("f32", b)], ("f32", np.float32))
    exact = [Fraction(float(x)) / Fraction(float(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(got, [rounded(value, mode, np.float32) for value in exact])


def test_small_and_large_products_are_rounded_once() -> None:
    a = np.array([1e-30, 3.4e38, -1e-38, 1.5e-45], np.float32)
    b = np.array([1e-14, 1.5, 0.3, 0.5], np.float32)
    zero = np.zeros(4, np.float32)
    inputs = [("f32", a), ("f32", b), ("f32", zero)]
    got = evaluate("fma.rn.f32 %out, %a0, %a1, %a2;", inputs, ("f32", np.float32))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got, a * b)
    cut = evaluate("fma.rz.f32 %out, %a0, %a1, %a2;", inputs, ("f32", np.float32))
    assert cut[1] == np.finfo(np.float32).max


def integers(bits: int, signed: bool, seed: int) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    values = random.integers(0, 2**bits, N, dtype=np.uint64) >> random.integers(
        0, bits, N, dtype=np.uint64
    )
    edges = [0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1]
    values[:5] = edges
    return values.astype(f"u{bits // 8}").view(f"{'i' if signed else 'u'}{bits // 8}")


def _truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


INTEGER_OPERATIONS: dict[str, tuple[int, Callable[..., int]]] = {
    "add.{t}": (2, lambda n, a, b: a + b),
    "sub.{t}": (2, lambda n, a, b: a - b),
    "mul.lo.{t}": (2, lambda n, a, b: a * b),
    "mul.hi.{t}": (2, lambda n, a, b: (a * b) >> n),
    "mad.lo.{t}": (3, lambda n, a, b, c: a * b + c),
    "mad.hi.{t}": (3, lambda n, a, b, c: ((a * b) >> n) + c),
    "div.{t}": (2, lambda n, a, b: _truncated(a, b)),
    "rem.{t}": (2, lambda n, a, b: a - _truncated(a, b) * b),
    "min.{t}": (2, lambda n, a, b: min(a, b)),
    "max.{t}": (2, lambda n, a, b: max(a, b)),
}


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("name", sorted(INTEGER_OPERATIONS))
def test_integers(name: str, kind: str) -> None:
    count, exact = INTEGER_OPERATIONS[name]
    bits, signed = int(kind[1:]), kind[0] == "s"
    values = [integers(bits, signed, seed) for seed in range(count)]
    if name.startswith(("div", "rem")):
        values[1][values[1] == 0] = 7
    operands = ", ".join(f"%a{i}" for i in range(count))
    got = evaluate(
        f"{name.format(t=kind)} %out, {operands};",
        [(kind, v) for v in values],
        (kind, np.dtype(f"u{bits // 8}")),
    )
    wanted = [exact(bits, *(int(v[i]) for v in values)) % 2**bits for i in range(N)]
    np.testing.assert_array_equal(got, np.array(wanted, np.uint64).astype(got.dtype))


@pytest.mark.parametrize("kind", ["u32", "s32"])
def test_wide_products(kind: str) -> None:
    values = [integers(32, kind == "s32", seed) for seed in range(2)]
    got = evaluate(
        f"mul.wide.{kind} %out, %a0, %a1;",
        [(kind, v) for v in values],
        ("b64", np.int64 if kind == "s32" else np.uint64),
    )
    wanted = [int(a) * int(b) for a, b in zip(*values, strict=True)]
    np.testing.assert_array_equal(got, np.array(wanted, got.dtype))


def test_carry_makes_128_bits() -> None:
    a, b, c, d = (integers(64, False, seed) for seed in range(4))
    high = evaluate(
        ".reg .b64 %low; add.cc.u64 %low, %a0, %a1; addc.u64 %out, %a2, %a3;",
        [("u64", v) for v in (a, b, c, d)],
        ("u64", np.uint64),
    )
    wanted = [
        (int(w) + int(x) + ((int(y) + int(z)) >> 64)) % 2**64
        for y, z, w, x in zip(a, b, c, d, strict=True)
    ]
    np.testing.assert_array_equal(high, np.array(wanted, np.uint64))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("shl.b32 %out, %a0, %a1;", lambda a, b: a << b if b < 32 else 0),
        ("shr.u32 %out, %a0, %a1;", lambda a, b: a >> b if b < 32 else 0),
        (
            "shr.s32 %out, %a0, %a1;",
            lambda a, b: (a - (a >> 31 << 32)) >> min(b, 31),
        ),
        ("shf.r.wrap.b32 %out, %a0, %a1, %a1;", lambda a, b: ((b << 32) | a) >> (b & 31)),
        ("shf.l.clamp.b32 %out, %a0, %a1, 5;", lambda a, b: (((b << 32) | a) << 5) >> 32),
        ("prmt.b32 %out, %a0, %a1, 0x5410;", lambda a, b: (a & 0xFFFF) | (b << 16)),
        ("prmt.b32 %out, %a0, %a1, 0x7632;", lambda a, b: (a >> 16) | (b >> 16 << 16)),
        (
            "dp4a.u32.u32 %out, %a0, %a1, %a0;",
            lambda a, b: sum((a >> s & 255) * (b >> s & 255) for s in (0, 8, 16, 24)) + a,
        ),
        (
            "dp4a.s32.u32 %out, %a0, %a1, 7;",
            lambda a, b: (
                sum(
                    ((a >> s & 255) ^ 128) * (b >> s & 255) - 128 * (b >> s & 255)
                    for s in (0, 8, 16, 24)
                )
                + 7
            ),
        ),
        ("lop3.b32 %out, %a0, %a1, 0xff, 0x96;", lambda a, b: a ^ b ^ 0xFF),
        ("bfi.b32 %out, %a0, %a1, 8, 12;", lambda a, b: (b & ~0xFFF00) | ((a & 0xFFF) << 8)),
        ("bfe.u32 %out, %a0, 8, 12;", lambda a, b: a >> 8 & 0xFFF),
        ("popc.b32 %out, %a0;", lambda a, b: a.bit_count()),
        ("clz.b32 %out, %a0;", lambda a, b: 32 - a.bit_length()),
        ("brev.b32 %out, %a0;", lambda a, b: int(f"{a:032b}"[::-1], 2)),
        ("bfind.u32 %out, %a0;", lambda a, b: a.bit_length() - 1),
        ("bfind.shiftamt.u32 %out, %a0;", lambda a, b: 32 - a.bit_length() if a else -1),
    ],
)
def test_bits(statement: str, expected: Callable[[int, int], int]) -> None:
    a, b = integers(32, False, 0), integers(32, False, 1)
    b[::2] %= 40
    got = evaluate(statement, [("u32", a), ("u32", b)], ("u32", np.uint32))
    wanted = [expected(int(x), int(y)) % 2**32 for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(got, np.array(wanted, np.uint32))


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        ("lt", lambda a, b: a < b),
        ("ge", lambda a, b: a >= b),
        ("eq", lambda a, b: a == b),
        ("ne", lambda a, b: a != b and a == a and b == b),
        ("ltu", lambda a, b: not a >= b),
        ("neu", lambda a, b: a != b),
        ("nan", lambda a, b: a != a or b != b),
    ],
)
def test_comparisons_know_what_is_no_number(
    comparison: str, expected: Callable[[float, float], bool]
) -> None:
    specials = np.array([0.0, -0.0, 1.0, np.nan, np.inf, -np.inf], np.float32)
    a, b = (grid.ravel() for grid in np.meshgrid(specials, specials))
    got = evaluate(
        f"setp.{comparison}.f32 %out, %a0, %a1;", [("f32", a), ("f32", b)], ("pred", np.bool_)
    )
    np.testing.assert_array_equal(got, [expected(x, y) for x, y in zip(a, b, strict=True)])


def test_instructions_without_specified_bits_are_refused() -> None:
    with pytest.raises(Unsupported, match="not specified"):
        evaluate("rsqrt.approx.f32 %out, %a0;", [("f32", np.ones(1, np.float32))], ("f32", "f4"))
    with pytest.raises(Unsupported, match="PTX line"):
        evaluate("sin.approx.f32 %out, %a0;", [("f32", np.ones(1, np.float32))], ("f32", "f4"))
