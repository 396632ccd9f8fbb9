from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from fastface.pipeline.clock import Clock
from fastface.pipeline.overlap import run_ahead


def test_items_come_in_order_while_others_are_made() -> None:
    made_by = set()

    def source():
        for i in range(20):
            made_by.add(threading.current_thread().name)
            yield i

    assert list(run_ahead(source(), 3, "maker")) == list(range(20))
    assert made_by == {"maker"}
    assert "maker" not in {thread.name for thread in threading.enumerate()}


def test_a_slow_caller_holds_the_source_up() -> None:
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    items = run_ahead(source(), 2, "maker")
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 5  # one with the caller, two waiting, one in hand
    items.close()
    assert "maker" not in {thread.name for thread in threading.enumerate()}
    assert len(made) <= 5


def test_both_sides_work_at_once() -> None:
    def source():
        for i in range(5):
            time.sleep(0.05)
            yield i

    start = time.perf_counter()
    for _ in run_ahead(source(), 5, "maker"):
        time.sleep(0.05)
    assert time.perf_counter() - start < 0.45  # 0.3 and not 0.5 seconds


def test_an_error_comes_after_what_was_made_before_it() -> None:
    closed = []

    def source():
        try:
            yield 1
            yield 2
            raise KeyboardInterrupt
        finally:
            closed.append(threading.current_thread().name)

    items = run_ahead(source(), 5, "maker")
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert closed == ["maker"]


def test_stopping_early_closes_the_source_where_it_runs() -> None:
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    items = run_ahead(source(), 1, "maker")
    next(items)
    items.close()
    assert closed == ["maker"]


def test_how_busy_each_part_was() -> None:
    clock = Clock()
    with clock.overlapping("both", {"worker": 2, "embed": 1}):
        with clock.busy("embed"):
            time.sleep(0.05)
        clock.add_work("both", {"worker": 0.05}, 0.01)
        time.sleep(0.05)
    stages = clock.summary()["stages"]
    assert stages["embed"]["utilization"] == pytest.approx(0.5, abs=0.1)
    assert stages["worker"]["utilization"] == pytest.approx(0.25, abs=0.05)
    assert stages["worker"]["lanes"] == 2
    assert clock.summary()["timings"]["both"] == pytest.approx(0.1, abs=0.03)


def test_a_job_says_how_busy_its_stages_were(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 40)
    fakes.fake_run(photos, tmp_path / "run", workers=2)
    info = json.loads((tmp_path / "run/run.json").read_text())
    stages = info["stages"]
    assert list(stages) == ["decode", "detect", "align", "encode", "embed", "write"]
    assert [stage["lanes"] for stage in stages.values()] == [2, 2, 2, 2, 1, 1]
    assert stages["encode"]["busy_seconds"] > 0
    assert all(0 <= stage["utilization"] <= 1 for stage in stages.values())
    assert info["timings"]["find and embed"] >= stages["write"]["busy_seconds"]
