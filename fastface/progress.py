"""Progress of long work: a bar on a terminal, plain lines in a pipe, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, Protocol, TextIO

__all__ = ["NullProgress", "Progress", "Step", "TerminalProgress"]

_SECONDS_BETWEEN_LINES = 5.0


class Step(Protocol):
    """One counted piece of work."""

    def advance(self, n: int = 1) -> None:
        """Count `n` more units as done."""
        ...


class Progress(Protocol):
    """What long work reports to."""

    def step(
        self, title: str, total: int, unit: str, *, done: int = 0
    ) -> AbstractContextManager[Step]:
        """Return a context manager that gives a `Step`.

        Parameters
        ----------
        title : str
            What is being done.
        total : int
            How many units there are.
        unit : str
            What they are called, in the plural.
        done : int
            How many were done before; they do not count for the rate.
        """
        ...


class _Silent:
    def advance(self, n: int = 1) -> None:
        """Do nothing."""


class NullProgress:
    """Says nothing."""

    @contextmanager
    def step(self, title: str, total: int, unit: str, *, done: int = 0) -> Iterator[Step]:
        """Give a step that is counted in silence."""
        yield _Silent()


class _Lines:
    """Plain lines with rate and time left, at most one every few seconds."""

    def __init__(self, title: str, total: int, unit: str, done: int, stream: TextIO) -> None:
        self.title, self.total, self.unit, self.stream = title, total, unit, stream
        self.done = self.before = done
        self.start = self.last = time.monotonic()

    def advance(self, n: int = 1) -> None:
        """Count, and say so now and then."""
        self.done += n
        now = time.monotonic()
        if self.done >= self.total or now - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = now
            rate = (self.done - self.before) / max(now - self.start, 1e-9)
            left = (self.total - self.done) / rate if rate else 0.0
            text = f"{self.title}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s"
            if self.done < self.total:
                text += f", {left:.0f} s left"
            print(text, file=self.stream, flush=True)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, n: int = 1) -> None:
        """Move the bar."""
        self._bar.update(n)


class TerminalProgress:
    """Writes to a stream: bars where it is a terminal and tqdm is installed, else lines.

    Parameters
    ----------
    stream : text stream, optional
        stderr by default, so that results on stdout stay clean.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream

    @contextmanager
    def step(self, title: str, total: int, unit: str, *, done: int = 0) -> Iterator[Step]:
        """Show one step while it is worked on."""
        tqdm = _tqdm() if self._stream.isatty() else None
        if tqdm is None:
            yield _Lines(title, total, unit, done, self._stream)
        else:
            with tqdm(
                total=total, initial=done, desc=title, unit=f" {unit}", file=self._stream
            ) as bar:
                yield _Bar(bar)


def _tqdm() -> Any:
    """Return tqdm's bar where it is installed."""
    try:
        return import_module("tqdm").tqdm
    except ImportError:
        return None
