"""Which element of a matrix lives in which register of which lane: the tables of the PTX manual.

For every fragment, `rows` and `columns` have the shape (32 lanes, elements of one lane), where
elements count through the lane's registers, low half first.  PTX ISA, section "Matrix multiply-
accumulate operation using mma instruction", figures of m16n8k8 (.tf32) and m16n8k16 (.f16, .bf16).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shape", "shape_of"]

_LANE = np.arange(32)[:, None]
_GROUP = _LANE >> 2  # "groupID"
_IN_GROUP = _LANE & 3  # "threadID_in_group"


@dataclass(frozen=True)
class Fragment:
    """Rows and columns of the elements of every lane."""

    rows: NDArray[Any]
    columns: NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """The three fragments of one form of mma; `k` is the extent that is summed over."""

    k: int
    per_register: int
    a: Fragment
    b: Fragment
    c: Fragment


def _element(count: int) -> NDArray[Any]:
    return np.arange(count)[None, :]


def _accumulator() -> Fragment:
    """c0, c1 in row groupID, c2, c3 eight rows below; columns are neighbours."""
    i = _element(4)
    return Fragment(_GROUP + np.where(i < 2, 0, 8), _IN_GROUP * 2 + (i & 1))


def _halves_k16() -> Shape:
    """Form m16n8k16 of 16-bit elements: two to a register."""
    i = _element(8)
    below = ((i >= 2) & (i < 4)) | (i >= 6)
    a = Fragment(_GROUP + np.where(below, 8, 0), _IN_GROUP * 2 + (i & 1) + np.where(i >= 4, 8, 0))
    j = _element(4)
    b = Fragment(_IN_GROUP * 2 + (j & 1) + np.where(j >= 2, 8, 0), _GROUP + 0 * j)
    return Shape(16, 2, a, b, _accumulator())


def _halves_k8() -> Shape:
    """Form m16n8k8 of 16-bit elements."""
    i = _element(4)
    a = Fragment(_GROUP + np.where(i >= 2, 8, 0), _IN_GROUP * 2 + (i & 1))
    j = _element(2)
    b = Fragment(_IN_GROUP * 2 + (j & 1), _GROUP + 0 * j)
    return Shape(8, 2, a, b, _accumulator())


def _words_k8() -> Shape:
    """Form m16n8k8 of TF32: one to a register."""
    i = _element(4)
    a = Fragment(_GROUP + np.where(i & 1, 8, 0), _IN_GROUP + np.where(i >= 2, 4, 0))
    j = _element(2)
    b = Fragment(_IN_GROUP + np.where(j >= 1, 4, 0), _GROUP + 0 * j)
    return Shape(8, 1, a, b, _accumulator())


def _words_k4() -> Shape:
    """Form m16n8k4 of TF32."""
    i = _element(2)
    a = Fragment(_GROUP + np.where(i, 8, 0), _IN_GROUP + 0 * i)
    b = Fragment(_IN_GROUP, _GROUP)
    return Shape(4, 1, a, b, _accumulator())


_SHAPES = {
    ("m16n8k16", "bf16"): _halves_k16(),
    ("m16n8k16", "f16"): _halves_k16(),
    ("m16n8k8", "bf16"): _halves_k8(),
    ("m16n8k8", "f16"): _halves_k8(),
    ("m16n8k8", "tf32"): _words_k8(),
    ("m16n8k4", "tf32"): _words_k4(),
}


def shape_of(form: str, element: str) -> Shape | None:
    """Return the fragments of a form such as ("m16n8k16", "bf16")."""
    return _SHAPES.get((form, element))
