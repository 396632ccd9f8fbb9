"""Where a job's time goes: seconds by stage, and how busy the cores were in each."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Wall-clock and processor seconds of the stages of one process's share of a job."""

    def __init__(self) -> None:
        self._wall: dict[str, float] = {}
        self._cpu: dict[str, float] = {}
        self._cores = len(os.sched_getaffinity(0))
        self._start = time.perf_counter()
        self._cpu_start = _cpu_seconds()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as part of a stage."""
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._add(self._wall, name, time.perf_counter() - start)
            self._add(self._cpu, name, time.process_time() - cpu_start)

    def add_cpu(self, name: str, seconds: float) -> None:
        """Count processor time that another process spent for a stage."""
        self._add(self._cpu, name, seconds)

    @staticmethod
    def _add(totals: dict[str, float], name: str, seconds: float) -> None:
        totals[name] = totals.get(name, 0.0) + seconds

    def summary(self) -> dict[str, Any]:
        """Return what ``run.json`` says about time; call it when all workers have ended."""
        wall = max(time.perf_counter() - self._start, 1e-9)
        share = (_cpu_seconds() - self._cpu_start) / (wall * self._cores)
        return {
            "timings": {name: round(seconds, 3) for name, seconds in self._wall.items()},
            "cpu_seconds": {name: round(seconds, 3) for name, seconds in self._cpu.items()},
            "wall_seconds": round(wall, 3),
            "cores": self._cores,
            "share_of_cores_busy": round(min(1.0, share), 3),
        }


def _cpu_seconds() -> float:
    """Return processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
