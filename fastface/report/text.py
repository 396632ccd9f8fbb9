"""Numbers and names as a reader wants to see them."""

from __future__ import annotations

import math
import unicodedata

# Marks that reverse or isolate the direction of text: a file name can use them to pretend to be
# another one, so they are shown instead of obeyed.
_DIRECTION_MARKS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_INVISIBLE_CATEGORIES = frozenset(("Cc", "Cs", "Zl", "Zp"))


def visible(text: object) -> str:
    r"""Replace control characters and direction marks by their escapes, ``\n`` or ``\u202e``."""
    return "".join(
        character.encode("unicode_escape", "surrogatepass").decode("ascii")
        if character in _DIRECTION_MARKS or unicodedata.category(character) in _INVISIBLE_CATEGORIES
        else character
        for character in str(text)
    )


def given_name(value: object) -> str | None:
    """Return the name a user gave to a person; None for null, NaN and blank text."""
    if value is None or value != value:
        return None
    return str(value).strip() or None


def count(number: int) -> str:
    """Write 12345 as ``12,345``."""
    return f"{number:,}"


def plural(number: int, singular: str, plural_form: str | None = None) -> str:
    """Write ``1 face``, ``2,000 faces``."""
    return f"{number:,} {singular if number == 1 else plural_form or singular + 's'}"


def decimal(number: float) -> str:
    """Write a score with two digits, and a dash where there is none."""
    return f"{number:.2f}" if math.isfinite(number) else "–"


def unit_interval(number: float) -> str:
    """Write a score as the value of a meter: inside [0, 1], and 0 where there is none."""
    return f"{min(max(number, 0.0), 1.0):.3f}" if math.isfinite(number) else "0"


def duration(seconds: float) -> str:
    """Write 0.25 as ``0.25 s``, 75 as ``1 min 15 s``, 7300 as ``2 h 1 min``."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
