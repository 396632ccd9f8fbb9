"""Atomic operations, applied lane after lane: forward, or in reverse to show that order is free."""

from __future__ import annotations

from typing import Any

import numba

__all__ = ["OPERATIONS", "apply_atomic"]

ADD, MIN, MAX, AND, OR, XOR, EXCHANGE, COMPARE, INCREMENT, DECREMENT = range(10)
OPERATIONS = {
    "add": ADD,
    "min": MIN,
    "max": MAX,
    "and": AND,
    "or": OR,
    "xor": XOR,
    "exch": EXCHANGE,
    "cas": COMPARE,
    "inc": INCREMENT,
    "dec": DECREMENT,
}


def apply_atomic(
    code: int,
    view: Any,
    offsets: Any,
    active: Any,
    size: int,
    first: Any,
    last: Any,
    reverse: bool,
    old: Any,
) -> None:
    """Apply one instruction; `old` gets what every lane found."""
    function = _on_floats if view.dtype.kind == "f" else _on_integers
    function(code, view, offsets, active, size, first, last, reverse, old)


@numba.njit(cache=True, nogil=True)
def _on_integers(
    code: int,
    view: Any,
    offsets: Any,
    active: Any,
    size: int,
    first: Any,
    last: Any,
    reverse: bool,
    old: Any,
) -> None:
    n = len(offsets)
    for position in range(n):
        lane = n - 1 - position if reverse else position
        if not active[lane]:
            continue
        place = offsets[lane] // size
        value = first[lane] if len(first) > 1 else first[0]
        other = last[lane] if len(last) > 1 else last[0]
        found = view[place]
        old[lane] = found
        if code == ADD:
            view[place] = found + value
        elif code == MIN:
            view[place] = min(found, value)
        elif code == MAX:
            view[place] = max(found, value)
        elif code == AND:
            view[place] = found & value
        elif code == OR:
            view[place] = found | value
        elif code == XOR:
            view[place] = found ^ value
        elif code == EXCHANGE:
            view[place] = value
        elif code == COMPARE:
            if found == value:
                view[place] = other
        elif code == INCREMENT:
            view[place] = 0 if found >= value else found + 1
        elif code == DECREMENT:
            view[place] = value if found == 0 or found > value else found - 1


@numba.njit(cache=True, nogil=True)
def _on_floats(
    code: int,
    view: Any,
    offsets: Any,
    active: Any,
    size: int,
    first: Any,
    last: Any,
    reverse: bool,
    old: Any,
) -> None:
    n = len(offsets)
    for position in range(n):
        lane = n - 1 - position if reverse else position
        if active[lane]:
            place = offsets[lane] // size
            old[lane] = view[place]
            value = first[lane] if len(first) > 1 else first[0]
            view[place] = view[place] + value if code == ADD else value
