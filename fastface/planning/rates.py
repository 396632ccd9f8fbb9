"""Rates of a machine, kept as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fastface.errors import CorruptFileError, StorageError

__all__ = ["Growth", "Rates", "Work", "load_rates", "save_rates"]

_FORMAT = "fastface-rates"
_VERSION = 2
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Growth:
    """Processor seconds of a stage: ``fixed + per_row * rows``."""

    fixed: float
    per_row: float

    @classmethod
    def through(cls, sizes: tuple[float, float], seconds: tuple[float, float]) -> Growth:
        """Return the line through two measurements; nothing is negative."""
        per_row = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
        per_row = min(max(per_row, 0.0), seconds[1] / sizes[1])
        # What is fixed cannot be more than the small run; noise may say so.
        fixed = min(max(0.0, seconds[1] - per_row * sizes[1]), *seconds)
        return cls(fixed, per_row)

    def seconds(self, rows: float) -> float:
        """Return the processor seconds for so many rows."""
        return self.fixed + self.per_row * rows


@dataclass(frozen=True)
class Work:
    """Who takes the processor seconds of a stage on a cluster.

    Attributes
    ----------
    workers : Growth
        All workers together: more of them, less time.
    caller : Growth
        The process that asks, with the scheduler where that runs in it: workers wait for it.
    """

    workers: Growth
    caller: Growth


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Attributes
    ----------
    machine : str
        Processor and instruction set.
    dim, n_neighbors, region_rows : int
        Features, neighbours and rows of a region that graph and people were measured with.
    find_per_megapixel : float or None
        Processor seconds to decode a photo and look for faces; None where that is not installed.
    embed_per_face : float or None
        Processor seconds of the default model; None where it is not installed.
    assign_per_flop : float
        Processor seconds for a row, a center and a feature: what k-means and cells are made of.
    visits : float
        Regions that a row is sent to.
    search_fixed, search_per_row : float
        Processor seconds of a row that is searched exactly among m: ``fixed + per_row * m``.
    search_approximate : float
        Processor seconds of a row in an approximate graph of `approximate_rows` rows.
    approximate_rows : int
        See there.
    start : float
        Processor seconds of a new worker until it has loaded and compiled what it runs.
    graph : Work
        What a graph on a cluster costs beside the searches, by the rows that regions get.
    people, attributes : Work
        Of these stages on a cluster, by rows.
    memory_base : int
        Bytes of a worker that has loaded what it runs, and holds no rows.
    write_bytes, read_bytes : float
        Of the disk, a second.
    """

    machine: str
    dim: int
    n_neighbors: int
    region_rows: int
    find_per_megapixel: float | None
    embed_per_face: float | None
    assign_per_flop: float
    visits: float
    search_fixed: float
    search_per_row: float
    search_approximate: float
    approximate_rows: int
    start: float
    graph: Work
    people: Work
    attributes: Work
    memory_base: int
    write_bytes: float
    read_bytes: float


def save_rates(rates: Rates, path: str | os.PathLike[str]) -> None:
    """Write rates as JSON, whole or not at all.

    Parameters
    ----------
    rates : Rates
        What was measured.
    path : path-like
        The file, replaced if it is there.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.part")
    content = {"format": _FORMAT, "version": _VERSION, **asdict(rates)}
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def load_rates(path: str | os.PathLike[str]) -> Rates:
    """Read what `save_rates` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Rates

    Raises
    ------
    StorageError
        If the file cannot be read.
    CorruptFileError
        If it holds something else.
    """
    source = Path(path)
    try:
        if source.stat().st_size > _LARGEST_FILE:
            raise CorruptFileError(f"{source} is too large to hold rates of `fastface bench`")
        content = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {source}: {error}") from error
    except ValueError as error:
        raise CorruptFileError(f"{source} is no JSON: {error}") from error
    try:
        if (content.pop("format"), content.pop("version")) != (_FORMAT, _VERSION):
            raise ValueError("another format or version")
        for name in ("graph", "people", "attributes"):
            who = {one: Growth(**growth) for one, growth in content[name].items()}
            content[name] = Work(**who)
        return Rates(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{source} does not hold rates of this version ({error}): run `fastface bench` again"
        ) from error
