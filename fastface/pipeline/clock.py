"""Where a job's time goes: seconds by stage, how busy each stage and the cores were."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Times the stages of one job: those that follow each other, and those side by side."""

    def __init__(self) -> None:
        self._wall: dict[str, float] = {}
        self._cpu: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._lanes: dict[str, int] = {}
        self._overlapped = 0.0
        self._cores = len(os.sched_getaffinity(0))
        self._start = time.perf_counter()
        self._cpu_start = _cpu_seconds()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as one of the stages that follow each other."""
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            _add(self._wall, name, time.perf_counter() - start)
            _add(self._cpu, name, time.process_time() - cpu_start)

    @contextmanager
    def overlapping(self, name: str, lanes: Mapping[str, int]) -> Iterator[None]:
        """Count what happens inside as a stage whose parts run side by side.

        Parameters
        ----------
        name : str
            Of the whole.
        lanes : mapping of str to int
            Each part, and how many of its kind work at once.
        """
        self._lanes.update(lanes)
        start = time.perf_counter()
        with self.stage(name):
            try:
                yield
            finally:
                self._overlapped += time.perf_counter() - start

    @contextmanager
    def busy(self, part: str) -> Iterator[None]:
        """Count what happens inside as work of a part; waiting belongs outside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            _add(self._busy, part, time.perf_counter() - start)

    def add_work(self, name: str, parts: Mapping[str, float], cpu_seconds: float) -> None:
        """Count what another process did for parts of a stage.

        Parameters
        ----------
        name : str
            Of the whole.
        parts : mapping of str to float
            Seconds each part was busy.
        cpu_seconds : float
            Processor time of all.
        """
        _add(self._cpu, name, cpu_seconds)
        for part, seconds in parts.items():
            _add(self._busy, part, seconds)

    def summary(self) -> dict[str, Any]:
        """Return what ``run.json`` says about time; call it when all workers have ended."""
        wall = max(time.perf_counter() - self._start, 1e-9)
        share = (_cpu_seconds() - self._cpu_start) / (wall * self._cores)
        return {
            "timings": {name: round(seconds, 3) for name, seconds in self._wall.items()},
            "cpu_seconds": {name: round(seconds, 3) for name, seconds in self._cpu.items()},
            "stages": self._stages(),
            "wall_seconds": round(wall, 3),
            "cores": self._cores,
            "share_of_cores_busy": round(min(1.0, share), 3),
        }

    def _stages(self) -> dict[str, dict[str, float]]:
        """Return how busy each part was while parts ran side by side."""
        whole = max(self._overlapped, 1e-9)
        return {
            part: {
                "busy_seconds": round(self._busy.get(part, 0.0), 3),
                "lanes": lanes,
                "utilization": round(min(1.0, self._busy.get(part, 0.0) / (whole * lanes)), 3),
            }
            for part, lanes in self._lanes.items()
        }


def _add(totals: dict[str, float], name: str, seconds: float) -> None:
    totals[name] = totals.get(name, 0.0) + seconds


def _cpu_seconds() -> float:
    """Return processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
