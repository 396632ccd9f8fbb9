"""Labels as yes-or-no questions: what a split in two can be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.attributes.people import missing_rows, name_rows
from fastface.errors import InvalidInputError

__all__ = ["MISSING", "BinaryAttribute", "binary_attributes", "majority"]

MISSING = -1
_MOST_CLASSES = 16


@dataclass(frozen=True)
class BinaryAttribute:
    """One yes-or-no question with an answer for some rows.

    Attributes
    ----------
    name : str
        The column, with the value asked for where it has more than two.
    column : str
        The column.
    classes : tuple of str
        What 0 and 1 mean.
    values : ndarray of int8, shape (n_samples,)
        0, 1, or −1 where nothing is known.
    """

    name: str
    column: str
    classes: tuple[str, str]
    values: NDArray[np.int8]


def binary_attributes(
    labels: ArrayLike | Mapping[str, ArrayLike],
    n_rows: int,
    *,
    missing: Iterable[object] = (),
    cuts: Mapping[str, tuple[float, float]] | None = None,
    skipped: dict[str, str] | None = None,
) -> list[BinaryAttribute]:
    """Turn label columns into yes-or-no questions.

    A column of two values is one question; of three to sixteen, one for each value against the
    rest; a column of more different numbers asks for its highest third against its lowest.

    Parameters
    ----------
    labels : array-like of shape (n_samples,), or mapping of str to such
        One column, or several by name.  NaN, None and empty text mean that nothing is known.
    n_rows : int
        Rows there must be.
    missing : iterable
        More values that mean so, such as ``-1``; compared as text.
    cuts : mapping of str to (low, high), optional
        For a column of numbers: ask for ``≥ high`` against ``≤ low``.
    skipped : dict, optional
        Where columns that cannot be asked for are noted with the reason; without it they raise.

    Returns
    -------
    list of BinaryAttribute
        In the order of the columns.

    Raises
    ------
    InvalidInputError
        If a column has another length, one class only, or too many that are no numbers.
    """
    columns = labels if isinstance(labels, Mapping) else {"label": labels}
    blank = {str(value) for value in missing}
    unknown = sorted(set(cuts or {}) - set(columns))
    if unknown:
        raise InvalidInputError(
            f"there is no column {', '.join(unknown)} to cut; columns: {', '.join(columns)}"
        )
    found: list[BinaryAttribute] = []
    for name, given in columns.items():
        values: NDArray[Any] = np.asarray(given)
        if values.shape != (n_rows,):
            raise InvalidInputError(
                f"labels column {name!r} must hold one value for each of the {n_rows} rows,"
                f" got shape {values.shape}"
            )
        try:
            found.extend(_questions(str(name), values, blank, (cuts or {}).get(name)))
        except InvalidInputError as error:
            if skipped is None:
                raise
            skipped[str(name)] = str(error)
    return found


def _questions(
    name: str, values: NDArray[Any], blank: set[str], cut: tuple[float, float] | None
) -> list[BinaryAttribute]:
    known = np.ones(len(values), np.bool_)
    known[missing_rows(values)] = False
    text = np.array([_text(value) for value in values.tolist()], dtype=object)
    if blank:
        known &= np.array([t not in blank for t in text], np.bool_)
    classes = sorted(set(text[known].tolist()), key=_order)
    if len(classes) < 2:
        held = f"only {classes[0]!r}" if classes else "nothing"
        raise InvalidInputError(
            f"labels column {name!r} holds {held}: there must be two classes or more to tell"
            f" apart ({int(known.sum())} of {len(values)} rows have a value)"
        )
    if cut is None and len(classes) <= _MOST_CLASSES:
        if len(classes) == 2:
            return [_question(name, name, (classes[0], classes[1]), text == classes[1], known)]
        return [
            _question(f"{name} = {value}", name, (f"not {value}", value), text == value, known)
            for value in classes
        ]
    numbers = _numbers(name, text, known, len(classes))
    low, high = cut or _thirds(numbers[known])
    if not low < high:
        raise InvalidInputError(
            f"the cut of column {name!r} must leave something between its two numbers,"
            f" got {low:g} and {high:g}"
        )
    outside = known & ((numbers <= low) | (numbers >= high))
    sides = numbers[outside] >= high
    if not (sides.any() and (~sides).any()):
        raise InvalidInputError(
            f"the cut {low:g}, {high:g} of column {name!r} leaves one class only: its values go"
            f" from {numbers[known].min():g} to {numbers[known].max():g}"
        )
    sides_named = (f"≤ {low:g}", f"≥ {high:g}")
    return [_question(f"{name} ≥ {high:g}", name, sides_named, numbers >= high, outside)]


def _question(
    name: str,
    column: str,
    classes: tuple[str, str],
    positive: NDArray[np.bool_],
    known: NDArray[np.bool_],
) -> BinaryAttribute:
    values = np.where(known, positive.astype(np.int8), np.int8(MISSING)).astype(np.int8)
    return BinaryAttribute(name, column, classes, values)


def _text(value: object) -> str:
    """Write 1, 1.0, True and "1" alike: label files differ in how they write one thing."""
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _order(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _numbers(
    name: str, text: NDArray[Any], known: NDArray[np.bool_], n_classes: int
) -> NDArray[np.float64]:
    keys = np.array([_order(value) for value in text[known].tolist()])[:, :2].astype(np.float64)
    numbers = np.full(len(text), np.nan)
    numbers[known] = keys[:, 1]
    bad = np.flatnonzero(known)[keys[:, 0] > 0]
    if len(bad):
        raise InvalidInputError(
            f"labels column {name!r} has {n_classes} different values that are no numbers"
            f" ({name_rows(bad)}): at most {_MOST_CLASSES} classes can be told apart"
        )
    return numbers


def _thirds(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [1 / 3, 2 / 3], method="nearest")
    return float(low), float(high)


def majority(values: NDArray[np.int8], codes: NDArray[np.int64], n_people: int) -> NDArray[np.int8]:
    """Return each person's commonest answer; −1 where there is none, or a tie."""
    ones = np.bincount(codes[values == 1], minlength=n_people)
    zeros = np.bincount(codes[values == 0], minlength=n_people)
    answer = np.where(ones > zeros, 1, 0)
    answer[ones == zeros] = MISSING
    return answer.astype(np.int8)
