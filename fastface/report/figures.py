"""The numbers behind the report's bar charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .text import count, duration


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart; `length` is a share of the longest row, 0 to 100."""

    label: str
    value: str
    length: float
    href: str | None = None


def bars(rows: Iterable[tuple[str, float, str]]) -> list[Bar]:
    """Scale rows of (label, number, number as text) to the longest."""
    rows = list(rows)
    longest = max((number for _, number, _ in rows), default=0) or 1
    return [Bar(label, text, round(100 * number / longest, 2)) for label, number, text in rows]


def size_histogram(sizes: Iterable[int]) -> list[Bar]:
    """Count people by number of faces in classes that double: 1, 2, 3–4, 5–8, and so on."""
    people: dict[int, int] = {}
    for size in sizes:
        power = (size - 1).bit_length()
        people[power] = people.get(power, 0) + 1
    return bars(
        (_class_name(power), people.get(power, 0), count(people.get(power, 0)))
        for power in range(max(people, default=-1) + 1)
    )


def _class_name(power: int) -> str:
    high = 2**power
    low = high // 2 + 1
    return count(high) if low >= high else f"{low:,}–{high:,}"


def timing_bars(timings: Mapping[str, float]) -> list[Bar]:
    """Chart seconds per stage, in the order in which the stages ran."""
    return bars(
        (stage.replace("_", " "), seconds, duration(seconds)) for stage, seconds in timings.items()
    )


def stage_bars(stages: Mapping[str, Any]) -> list[Bar]:
    """Chart how busy stages were that ran side by side, each out of its own time; 0 to 100 %."""
    return [
        Bar(stage, f"{share:.0%}", round(100 * min(max(share, 0.0), 1.0), 2))
        for stage, values in stages.items()
        if isinstance(values, Mapping)
        and isinstance(share := values.get("utilization"), (int, float))
    ]
